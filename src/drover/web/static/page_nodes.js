// Nodes: state, room, firmware, guard, and their maintenance, with a forecast before it begins.

import { Act, Chip, Empty, html, NodeLink, note, perform, Phase, sure, useState, useStore, VmLink } from "./ui.js";
import { all, ask, store } from "./store.js";
import { cluster, sentence, STATES } from "./model.js";
import { bytes, cores, percent, plural, seconds } from "./format.js";
import { NodeRow } from "./page_cluster.js";
import { Why } from "./page_vm.js";

const MOST_CARDS = 60;

export function Nodes() {
  useStore();
  const { nodes } = cluster();
  const odd = nodes.filter((node) => node.state !== "ready");
  const shown = [...odd, ...nodes.filter((node) => node.state === "ready")];
  if (nodes.length > MOST_CARDS) shown.length = MOST_CARDS;
  else shown.sort((a, b) => nodes.indexOf(a) - nodes.indexOf(b));
  return html`<h1>Nodes</h1>
    ${nodes.length === 0 && html`<${Empty} title="No node yet">Start the lab with <code>drover up</code>.<//>`}
    <div class="cards">${shown.map((node) => html`<${Card} key=${node.row.name} node=${node} />`)}</div>
    ${nodes.length > shown.length && html`<p>and ${nodes.length - shown.length} more, all ready; the Cluster page shows them.</p>`}
    <${Groups} />`;
}

function Card({ node }) {
  const { row, state } = node;
  const vms = node.blocks.filter((block) => block.vmKey && !(block.part === "target"));
  return html`<article class="card" aria-label=${row.name}>
    <div class="head"><h2><${NodeLink} name=${row.name} /></h2><${Chip} tone=${STATES[state].tone}>${STATES[state].says}<//></div>
    <${Facts} node=${node} />
    ${node.fence && html`<p><small>${node.fence.reason}: ${node.fence.message}</small></p>`}
    ${state === "cordoned" && html`<${Leaving} vms=${vms} />`}
    <div class="buttons"><${Maintenance} node=${node} /></div></article>`;
}

const Facts = ({ node: { row, cpu, cpuShare, memory, memoryShare, vms } }) => html`<dl class="facts">
  <div><dt>CPU reserved</dt><dd>${percent(cpuShare)} <small>of ${cores(row.cpuMilli)}</small></dd></div>
  <div><dt>Memory reserved</dt><dd>${percent(memoryShare)} <small>of ${bytes(row.memoryBytes)}</small></dd></div>
  <div><dt>VMs</dt><dd>${vms}</dd></div>
  <div><dt>Firmware (QEMU)</dt><dd>${(row.qemu || []).join(", ") || "not told"}</dd></div>
  <div><dt>Guard</dt><dd>${row.watchdogTrouble || row.watchdog || "not told"}</dd></div>
  <div><dt>Address</dt><dd>${row.address || "–"}</dd></div></dl>`;

function Maintenance({ node }) {
  const { row } = node;
  const [busy, setBusy] = useState(false);
  const may = store.session.may.cordon !== false && store.session.may.evict !== false;
  if (row.gone) return html`<small>Bring the host back; it joins as new.</small>`;
  if (row.cordoned) return html`<${Act} act=${{ act: "maintain", name: row.name, on: false }} right="cordon" kind="strong">End maintenance<//>`;
  const begin = async () => {
    setBusy(true);
    try {
      const answer = await ask("GET", `/api/forecast?${new URLSearchParams({ node: row.name })}`);
      if (answer.status !== 200) return note(answer.body.error, "bad");
      const yes = await sure({ title: `Free ${row.name} for maintenance?`, body: html`<${Forecast} of=${answer.body} />`, yes: "Begin maintenance" });
      if (yes) await perform({ act: "maintain", name: row.name, on: true });
    } catch {
      note("the server does not answer", "bad");
    } finally { setBusy(false); }
    return undefined;
  };
  return html`<button type="button" disabled=${busy || !may} title=${may ? "Its VMs move away while they run" : "Your rights do not allow this"} onClick=${begin}>Maintenance…</button>`;
}

function Forecast({ of }) {
  const { steps, stuck, seconds: took, notes } = of;
  if (!steps.length && !stuck.length) return html`<p>No VM runs there; it takes no new ones until maintenance ends.</p>`;
  return html`<p>${plural(steps.length, "VM")} would move${took ? `, in about ${seconds(took)}` : ""}. It takes no new ones until maintenance ends.</p>
    ${stuck.length > 0 && html`<p><b class="mark bad">${plural(stuck.length, "VM")} could not leave:</b></p>
      <ul>${stuck.map((one) => html`<li>${one.vm}: ${one.why}. ${one.wayOut}</li>`)}</ul>`}
    ${steps.length > 0 && html`<ul>${steps.slice(0, 20).map((one) => html`<li>${one.vm} → ${one.target}</li>`)}${steps.length > 20 && html`<li>and ${steps.length - 20} more</li>`}</ul>`}
    ${notes.map((text) => html`<p><small>${text}.</small></p>`)}`;
}

function Leaving({ vms }) {
  if (!vms.length) return html`<p><b class="mark good">✓ No VM runs here.</b> The host can be serviced.</p>`;
  return html`<p>${plural(vms.length, "VM")} still here:</p><ul class="list">${vms.slice(0, 30).map(({ vm, pod, move }) => {
    return html`<li><${VmLink} ns=${pod.ns} name=${pod.vm} /> ${move && move.target ? html`→ ${move.target}, ${move.progress} %` : move ? html`<small>${sentence(move.vmop) || "looking for a node"}</small>` : vm && vm.blocked ? html`<small class="mark bad">${vm.blocked}</small>` : vm && vm.asked ? html`<small>waits for its turn</small>` : html`<small>was not asked to leave</small>`}</li>`;
  })}</ul>`;
}

function Groups() {
  const groups = [...all("NodeGroup").values()];
  if (!groups.length) return html`<${Empty} title="Nothing is fenced">There is no NodeGroup with fencing, so VMs of a lost node wait for it.<//>`;
  return html`<section class="card" aria-label="Fencing"><h2>Fencing of groups</h2><ul class="list">${groups.map((group) => {
    const active = group.conditions.find((one) => one.type === "FencingActive") || {};
    return html`<li><b>${group.name}</b> <${Chip} tone=${active.status === "True" ? "good" : "warn"}>${group.mode || "off"}<//> <small>${active.message || active.reason || ""}</small></li>`;
  })}</ul></section>`;
}

export function Node({ name }) {
  useStore();
  const node = cluster().nodes.find((one) => one.row.name === name);
  if (!node) return html`<${Empty} title=${`There is no node ${name}`}>It has left the cluster, or your rights hide it. <a href="#/nodes">All nodes</a><//>`;
  return html`<div class="head"><h1>${name}</h1><${Chip} tone=${STATES[node.state].tone}>${STATES[node.state].says}<//><div class="buttons"><${Maintenance} node=${node} /></div></div>
    <section class="bars"><${NodeRow} node=${node} /></section>
    <section class="card"><${Facts} node=${node} />
    ${node.state === "cordoned" && html`<${Leaving} vms=${node.blocks.filter((block) => block.vmKey && block.part !== "target")} />`}</section>
    <div class="two"><${Why} name=${name} of=${[node.row, node.fence, node.pods.length]} />
    <section class="card" aria-label="VMs"><h2>VMs here</h2>${node.vms === 0 ? html`<p>None.</p>` : html`<ul class="list">${node.blocks.filter((block) => block.vmKey).map((block) => html`<li class="head" key=${block.key}>
      <${VmLink} ns=${block.pod.ns} name=${block.pod.vm} /><${Phase} is=${block.vm ? block.vm.phase : block.pod.phase} /><small>${cores(block.pod.cpuMilli)}, ${bytes(block.pod.memoryBytes)}</small></li>`)}</ul>`}</section></div>`;
}
