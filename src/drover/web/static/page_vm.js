// One VM: how it is, in words; what can be done; what has happened; its console.

import { Act, Empty, html, NodeLink, Phase, Progress, useEffect, useState, useStore, When } from "./ui.js";
import { all, ask, get, store } from "./store.js";
import { cluster, operationsOf, sentence } from "./model.js";
import { bytes, moment, plural } from "./format.js";
import { Console } from "./console.js";
import { Screen } from "./screen.js";
import { CopyChart } from "./chart.js";

export function Vm({ ns, name }) {
  useStore();
  const key = `${ns}/${name}`;
  const vm = get("VirtualMachine", key);
  const move = cluster().moves.get(key);
  if (!vm) {
    return html`<${Empty} title=${`There is no VM ${key}`}>It was deleted, or your rights hide it. <a href="#/cluster">The cluster</a> shows those that are there.<//>`;
  }
  return html`<${Known} vm=${vm} move=${move} />`;
}

// What is told of it beyond the live rows is asked for, and again when they say that something has changed.
function Known({ vm, move }) {
  const { ns, name } = vm;
  const of = [vm, ...stamps(ns, name), store.state.synced, store.tellings];
  const told = useAnswer("/api/about", { name, namespace: ns }, of);
  const about = told && told.status === 200 ? told.body : null;
  return html`<div class="head"><h1>${name}</h1><small>${ns}</small><${Phase} is=${vm.phase} /><${Buttons} vm=${vm} move=${move} /></div>
    ${move && html`<${Move} move=${move} />`}
    <section class="card"><dl class="facts">
      <${Fact} is="Node"><${NodeLink} name=${vm.node} /><//>
      ${about && html`<${Fact} is="Address">${about.ip || "none yet"}<//>
      <${Fact} is="CPU">${plural(about.cores, "core")}${about.fraction ? `, ${about.fraction} reserved` : ""}<//>
      <${Fact} is="Memory">${bytes(about.memoryBytes)}<//>
      <${Fact} is="Class">${about.class || "the default"}<//>
      <${Fact} is="Run policy">${about.policy}<//>
      <${Fact} is="QEMU">${about.qemu || "–"}<//>`}
    </dl>${told && !about && html`<p class="mark bad">${told.body.error}</p>`}</section>
    <div class="two">
      <${Why} name=${name} ns=${ns} of=${vm} />
      <${Conditions} list=${about ? about.conditions : null} />
    </div>
    <${Console} ns=${ns} name=${name} runs=${Boolean(vm.pod)} />
    <${Screen} ns=${ns} name=${name} pod=${vm.pod} />
    <${Timeline} ns=${ns} name=${name} events=${about ? about.events : []} />`;
}

// Of the newest Event about the VM and about each of its operations.
const stamps = (ns, name) => [["VirtualMachine", name], ...operationsOf(`${ns}/${name}`).map((one) => ["VirtualMachineOperation", one.name])]
  .map(([kind, of]) => get("Event", `${kind} ${ns}/${of}`)?.version || "");

const Fact = ({ is, children }) => html`<div><dt>${is}</dt><dd>${children}</dd></div>`;

function Buttons({ vm, move }) {
  const act = (name, more = {}) => ({ act: name, namespace: vm.ns, name: vm.name, ...more });
  const off = vm.phase === "Stopped" || vm.phase === "Stopping";
  const busy = operationsOf(`${vm.ns}/${vm.name}`).find((one) => !one.finished);
  const abort = busy && (busy.type === "Evict" || busy.type === "Migrate");
  const ask = (title, body, yes, tone) => ({ title, body, yes, tone });
  return html`<div class="buttons">
    ${off ? html`<${Act} act=${act("start")} right="operate" kind="strong" disabled=${vm.phase === "Stopping"}>Start<//>` : html`
      ${abort ? html`<${Act} act=${{ act: "abort", namespace: busy.ns, name: busy.name }} right="abort" kind="bad" title="The VM stays on its node">Abort the move<//>`
      : html`<${Act} act=${act("evict")} right="operate" title="Move it to another node while it runs">Evict<//>`}
      <${Act} act=${act("restart")} right="operate" confirm=${ask(`Restart ${vm.name}?`, "Its guest is shut down and started anew; what it holds in memory is lost.", "Restart")}>Restart<//>
      <${Act} act=${act("stop")} right="operate" confirm=${ask(`Stop ${vm.name}?`, "Its guest is shut down.", "Stop", "bad")}>Stop<//>`}
  </div>`;
}

function Move({ move }) {
  return html`<section class="card" aria-label="Move under way">
    <div class="head"><h2>Moves from <${NodeLink} name=${move.source} /> to <${NodeLink} name=${move.target} /></h2><b>${move.progress} %</b></div>
    <${Progress} value=${move.progress} label="Progress of the move" />
    <p>${sentence(move.vmop)}</p>
    <${CopyChart} id=${move.key} copy=${move.vmm.copy} /></section>`;
}

// An answer of the server, asked for again when something in `of` has changed, twice a second at most.
function useAnswer(path, asked, of) {
  const [told, setTold] = useState(null);
  useEffect(() => {
    let here = true;
    const timer = setTimeout(() => {
      ask("GET", `${path}?${new URLSearchParams(asked)}`).then((answer) => { if (here) setTold(answer); }).catch(() => {});
    }, told ? 500 : 0);
    return () => { here = false; clearTimeout(timer); };
  }, [JSON.stringify(of)]);
  return told;
}

// The answers of `drover why`.
export function Why({ name, ns, of }) {
  const told = useAnswer("/api/why", { name, ...(ns ? { namespace: ns } : {}) }, of);
  const answers = told && told.status === 200 ? told.body.answers : [];
  return html`<section class="card" aria-label="Why"><h2>Why it is so</h2>
    ${told === null ? html`<p>Thinking…</p>` : told.status !== 200 ? html`<p>${told.body.error}</p>`
    : answers.length === 0 ? html`<p>Nothing is to be told of it.</p>`
    : html`<ul class="list">${answers.map((one) => html`<li class="because"><p><b>${one.says}.</b></p><p class="rule">Rule: ${one.rule}.</p>
        ${one.wayOut && html`<p class="way">Way out: <${Commands} text=${one.wayOut} /></p>`}</li>`)}</ul>`}</section>`;
}

// Text with `commands` in it.
const Commands = ({ text }) => text.split("`").map((part, number) => (number % 2 ? html`<code>${part}</code>` : part));

// What each condition means when True and when False, and which of both is well.
const WORDS = {
  Running: ["The guest runs", "The guest does not run", true],
  Migratable: ["It can be moved while it runs", "It cannot be moved while it runs", true],
  Migrating: ["It is being moved", "It is not being moved", null],
  EvictionRequired: ["It is asked to leave its node", "Nobody asks it to leave its node", false],
  EvacuationBlocked: ["It cannot leave its node now", "Nothing keeps it on its node", false],
  FirmwareUpToDate: ["It runs on the wanted QEMU", "It runs on another QEMU than the wanted one", true],
  VirtualMachineIPAddressReady: ["Its address is its own", "It has no address yet", true],
  VirtualMachineClassReady: ["Its class is ready", "Its class is not ready", true],
  BlockDevicesReady: ["Its disks are ready", "Its disks are not ready", true],
  ProvisioningReady: ["Its user data is at hand", "Its user data is missing", true],
  AgentReady: ["The guest agent answers", "The guest agent does not answer", null],
  ConfigurationApplied: ["Its configuration is applied", "Its configuration is not applied yet", true],
  AwaitingRestartToApplyConfiguration: ["It waits for a restart to take its new configuration", "It needs no restart", false],
  SizingPolicyMatched: ["Its class allows its size", "Its class does not allow its size", true],
};

export function Conditions({ list, words = WORDS }) {
  const known = (list || []).map((one) => {
    const [yes, no, good] = words[one.type] || [`${one.type}: yes`, `${one.type}: no`, null];
    const holds = one.status === "True";
    const says = one.status === "Unknown" ? `${one.type} is not known` : holds ? yes : no;
    const tone = one.status === "Unknown" ? "warn" : good === null ? "idle" : holds === good ? "good" : "bad";
    return { ...one, says, tone };
  });
  const order = { bad: 0, warn: 1, idle: 2, good: 3 };
  known.sort((a, b) => order[a.tone] - order[b.tone]);
  const marks = { good: "✓", bad: "✗", warn: "?", idle: "·" };
  return html`<section class="card" aria-label="Conditions"><h2>Conditions</h2>
    ${list === null ? html`<p>Reading…</p>` : known.length === 0 ? html`<p>The controllers have not looked at it yet.</p>` : html`<ul class="list signs">${known.map((one) => html`<li title=${`${one.type}=${one.status}, reason ${one.reason || "none"}`}>
      <span class="mark ${one.tone}" aria-hidden="true">${marks[one.tone]}</span>
      <span>${one.says}${one.message && one.tone !== "good" ? html`<br /><small>${one.message}</small>` : ""}</span></li>`)}</ul>`}</section>`;
}

const MOST_SHOWN = 200;

function Timeline({ ns, name, events }) {
  const found = [];
  for (const one of operationsOf(`${ns}/${name}`)) {
    found.push({ at: one.created, tone: "move", says: `${one.type} asked for`, more: `operation ${one.name}${one.origin !== "Person" ? `, by ${one.origin.toLowerCase()}` : ""}` });
    if (one.finished) found.push({ at: one.at, tone: one.phase === "Completed" ? "good" : "bad", says: `${one.type} ${one.phase.toLowerCase()}`, more: one.message });
  }
  for (const move of all("VirtualMachineMigration").values()) {
    if (move.ns !== ns || move.vm !== name || !move.final) continue;
    if (move.phase !== "Succeeded") found.push({ at: endOf(move), tone: "warn", says: `Move ${move.phase.toLowerCase()}`, more: `it stayed on ${move.source}. ${move.message}` });
    else found.push({ at: endOf(move), tone: "good", says: `Host changed: ${move.source} → ${move.target}`, more: move.copy.downtimeMs != null ? `guest paused for ${move.copy.downtimeMs} ms` : "" });
  }
  for (const one of events) {
    found.push({ at: one.at, tone: one.type === "Warning" ? "warn" : "idle", says: one.reason.replace(/^VirtualMachineOperation/, "Operation "), more: one.message + (one.count > 1 ? ` (${one.count} times)` : "") });
  }
  for (const fence of all("NodeFence").values()) {
    for (const vm of fence.vms) {
      if (vm.namespace === ns && vm.name === name) found.push({ at: vm.restarted || fence.created, tone: "bad", says: `Its node ${fence.node} was lost`, more: vm.restarted ? `started again on ${vm.node}` : "not started again yet" });
    }
  }
  found.sort((a, b) => moment(b.at) - moment(a.at));
  return html`<section class="card" aria-label="History"><h2>History</h2>
    ${found.length === 0 ? html`<p>Nothing has happened to it, or its Events are too old (the API keeps them for an hour).</p>`
    : html`<ol class="timeline tall" tabindex="0">${found.slice(0, MOST_SHOWN).map((one) => html`<li class=${one.tone}><${When} at=${one.at} /><b>${one.says}</b> <small>${one.more}</small></li>`)}</ol>`}</section>`;
}

function endOf(move) {
  const vmop = get("VirtualMachineOperation", `${move.ns}/${move.operation}`);
  return (vmop && vmop.at) || move.created;
}
