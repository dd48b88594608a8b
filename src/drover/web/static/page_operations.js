// Operations: what goes on, with the course of each copy, and what is over, with what it cost.

import { Act, Empty, html, NodeLink, Phase, Progress, useSeconds, useStore, VmLink, When } from "./ui.js";
import { all } from "./store.js";
import { byAge, sentence } from "./model.js";
import { between, bytes, moment, seconds } from "./format.js";
import { CopyChart } from "./chart.js";

const MOST_PAST = 200, MOST_RUNNING = 60, MOST_CHARTS = 4;

export function Operations() {
  useStore();
  const list = [...all("VirtualMachineOperation").values()].sort(byAge).reverse();
  const running = list.filter((one) => !one.finished), past = list.filter((one) => one.finished);
  useSeconds(running.length > 0);
  const moves = new Map([...all("VirtualMachineMigration")].map(([key, vmm]) => [`${vmm.ns}/${vmm.operation}`, { key, ...vmm }]));
  return html`<h1>Operations</h1>
    ${list.length === 0 && html`<${Empty} title="No operation yet">Open a VM and press Evict, or <code>drover evict linux-vm</code>; it is followed here.<//>`}
    ${running.length > 0 && html`<section aria-label="Under way"><h2>Under way: ${running.length}</h2><div class="list">
      ${running.slice(0, MOST_RUNNING).map((one, number) => html`<${Running} key=${`${one.ns}/${one.name}`} vmop=${one} move=${moves.get(`${one.ns}/${one.name}`)} chart=${number < MOST_CHARTS} />`)}</div></section>`}
    ${list.length > 0 && running.length === 0 && html`<p><small>Nothing is under way.</small></p>`}
    ${past.length > 0 && html`<${Past} list=${past} moves=${moves} />`}`;
}

function Running({ vmop, move, chart }) {
  const migration = vmop.type === "Evict" || vmop.type === "Migrate";
  return html`<article class="card">
    <div class="head"><b>${vmop.type}</b><${VmLink} ns=${vmop.ns} name=${vmop.vm} /><${Phase} is=${vmop.phase} />
      ${move && html`<span><${NodeLink} name=${move.source} /> → ${move.target ? html`<${NodeLink} name=${move.target} />` : "looking for a node"}</span>`}
      <small>${who(vmop)}, for ${seconds((Date.now() - moment(vmop.created)) / 1000)}</small>
      <div class="buttons">${migration && html`<${Act} act=${{ act: "abort", namespace: vmop.ns, name: vmop.name }} right="abort" kind="bad" disabled=${vmop.deleting}>${vmop.deleting ? "Aborting…" : "Abort"}<//>`}</div></div>
    ${migration && html`<${Progress} value=${vmop.progress} label=${`Progress of ${vmop.name}`} />`}
    <p>${migration && html`<b>${vmop.progress} %</b> `}${sentence(vmop)}</p>
    ${move && chart && html`<${CopyChart} id=${move.key} copy=${move.copy} />`}</article>`;
}

const who = (vmop) => (vmop.origin === "Person" ? "asked for by a person" : `by ${vmop.origin.toLowerCase()}`);

function Past({ list, moves }) {
  return html`<section class="card scroll" aria-label="Over"><table><caption>Over: ${list.length}</caption>
    <thead><tr><th scope="col">When</th><th scope="col">Operation</th><th scope="col">VM</th><th scope="col">From → to</th><th scope="col">Result</th>
      <th scope="col" class="number">Took</th><th scope="col" class="number">Copied</th><th scope="col" class="number">Guest paused</th></tr></thead>
    <tbody>${list.slice(0, MOST_PAST).map((vmop) => {
      const move = moves.get(`${vmop.ns}/${vmop.name}`), copy = (move && move.copy) || {};
      return html`<tr key=${`${vmop.ns}/${vmop.name}`}><td><${When} at=${vmop.created} /></td>
        <td title=${vmop.name}>${vmop.type}<br /><small>${who(vmop)}</small></td><td><${VmLink} ns=${vmop.ns} name=${vmop.vm} /></td>
        <td>${move ? html`<${NodeLink} name=${move.source} /> → <${NodeLink} name=${move.target} />` : "–"}</td>
        <td><${Phase} is=${vmop.phase} />${vmop.phase !== "Completed" && html`<br /><small>${vmop.message}</small>`}</td>
        <td class="number">${seconds(between(vmop.created, vmop.at))}</td>
        <td class="number">${copy.ramTransferredBytes ? bytes(copy.ramTransferredBytes) : "–"}</td>
        <td class="number">${move && move.phase === "Succeeded" && copy.downtimeMs != null ? `${copy.downtimeMs} ms` : "–"}</td></tr>`;
    })}</tbody></table></section>`;
}
