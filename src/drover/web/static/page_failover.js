// Lost nodes: how each fencing went, moment by moment, and what became of the node's VMs.

import { Empty, html, NodeLink, Phase, useSeconds, useStore, VmLink, When } from "./ui.js";
import { all } from "./store.js";
import { byAge } from "./model.js";
import { between, clock, moment, seconds } from "./format.js";

const MOMENTS = [
  ["lastSeen", "Last sign of life", "done"],
  ["suspect", "Suspect", "warn"],
  ["condemned", "Condemned", "warn"],
  ["fenced", "Fenced", "bad"],
  ["released", "Released", "bad"],
  ["rejoined", "Back", "done"],
];
const MEANS = {
  Suspect: "It is silent; its peers are asked to vouch for it no more. If it comes back now, nothing has happened.",
  Condemned: "It may not come back as it was. Its VMs are dead, or will be at a known moment.",
  Fenced: "It is proved that nothing of it runs. Its VMs may start elsewhere.",
  Released: "Its Pods and its Node object are gone. When the host comes back, it joins as new.",
  Rejoined: "The host is back, as new.",
};

export function Failover() {
  useStore();
  const fences = [...all("NodeFence").values()].sort(byAge).reverse();
  useSeconds(fences.some((one) => one.phase === "Suspect" || one.phase === "Condemned"));
  return html`<h1>Failover</h1>
    ${fences.length === 0 ? html`<${Empty} title="No node was ever lost">When one falls silent, you see here what is known of it, when its VMs may start elsewhere, and how long each was away. Try it: <code>drover lab power-off virtlab-pt-1</code>.<//>`
    : fences.slice(0, 50).map((fence) => html`<${Fence} key=${fence.name} fence=${fence} />`)}`;
}

function Fence({ fence }) {
  const told = fence.timeline;
  const away = (vm) => (vm.restarted && told.lastSeen ? between(told.lastSeen, vm.restarted) : null);
  const back = fence.vms.filter((vm) => vm.restarted), open = !["Released", "Rejoined"].includes(fence.phase);
  return html`<article class="card" aria-label=${`${fence.node}, ${fence.phase}`}>
    <div class="head"><h2><${NodeLink} name=${fence.node} /></h2><${Phase} is=${fence.phase} /><small>life ${fence.life}${fence.evidence ? `, evidence: ${fence.evidence}` : ""}</small></div>
    <p>${MEANS[fence.phase] || ""}</p>
    ${fence.reason && html`<p><small>${fence.reason}: ${fence.message}</small></p>`}
    <ol class="steps">${MOMENTS.map(([name, title, tone]) => html`<li class=${told[name] ? tone : ""} key=${name}><b>${title}</b>
      ${told[name] ? html`<time datetime=${told[name]}>${clock(told[name])}</time>${name !== "lastSeen" && told.lastSeen ? html`<br /><small>after ${seconds(between(told.lastSeen, told[name]))}</small>` : ""}` : html`<small>${open ? "not yet" : "–"}</small>`}</li>`)}</ol>
    ${fence.vms.length === 0 ? html`<p><small>No VM ran there.</small></p>` : html`<div class="scroll"><table><caption>${back.length} of ${fence.vms.length} VMs started again</caption>
      <thead><tr><th scope="col">VM</th><th scope="col">Started again on</th><th scope="col">At</th><th scope="col" class="number">Away for</th></tr></thead>
      <tbody>${fence.vms.map((vm) => html`<tr key=${`${vm.namespace}/${vm.name}`}><td><${VmLink} ns=${vm.namespace} name=${vm.name} /></td>
        <td>${vm.restarted ? html`<${NodeLink} name=${vm.node} />` : html`<small>not yet</small>`}</td><td><${When} at=${vm.restarted} /></td><td class="number">${away(vm) === null ? "–" : seconds(away(vm))}</td></tr>`)}</tbody></table></div>`}
  </article>`;
}
