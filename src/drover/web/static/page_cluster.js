// The cluster at a glance: every node a bar of what is reserved on it, every VM a block; moves are seen crossing over.

import { Chip, Empty, html, useLayoutEffect, useRef, useState, useStore, VmLink, vmLink } from "./ui.js";
import { all, store } from "./store.js";
import { cluster, LIMIT, ROOM_IN_FULL, STATES } from "./model.js";
import { bytes, cores, coresOf, percent, plural } from "./format.js";
import { HeatMap } from "./heatmap.js";

export function Cluster() {
  useStore();
  const { nodes, homeless, moves, running } = cluster();
  const full = nodes.length <= ROOM_IN_FULL;
  return html`<h1 class="hidden">Cluster</h1>
    <${Summary} nodes=${nodes} moves=${moves} running=${running} />
    ${nodes.length === 0
      ? html`<${Empty} title="No node can run VMs yet">Start the lab with <code>drover up</code>, or join a host; it appears here by itself.<//>`
      : full ? html`<${Bars} nodes=${nodes} moves=${moves} />` : html`<${HeatMap} nodes=${nodes} moves=${moves} />`}
    ${store.state.drawn && html`<${Homeless} list=${homeless} />`}
    ${store.state.drawn && all("VirtualMachine").size === 0 && html`<${Empty} title="There is no VM yet">Make one: <code>drover k apply -f examples/linux-vm.yaml</code>.<//>`}`;
}

function Summary({ nodes, moves, running }) {
  const vms = all("VirtualMachine").size;
  const ready = nodes.filter((node) => node.state === "ready").length;
  const sum = (what) => nodes.reduce((total, node) => total + what(node), 0);
  const [cpu, cpuAll, mem, memAll] = [(n) => n.cpu, (n) => n.row.cpuMilli, (n) => n.memory, (n) => n.row.memoryBytes].map(sum);
  const over = nodes.filter((node) => node.cpuShare > LIMIT).length;
  const Figure = ({ big, small, title, tone = "" }) => html`<div class="figure ${tone}" title=${title}><b>${big}</b><span>${small}</span></div>`;
  return html`<section class="figures" aria-label="Summary">
    <${Figure} big=${ready} small=${`of ${plural(nodes.length, "node")} ready`} tone=${ready < nodes.length ? "warn" : ""} />
    <${Figure} big=${running} small=${`of ${plural(vms, "VM")} running`} tone=${running < vms ? "warn" : ""} />
    <${Figure} big=${moves.size} small=${moves.size === 1 ? "VM on the move" : "VMs on the move"} tone=${moves.size ? "move" : ""} />
    <${Figure} big=${cpuAll ? percent(cpu / cpuAll) : "–"} small="of CPU reserved" title=${`${cores(cpu)} of ${cores(cpuAll)}`} />
    <${Figure} big=${memAll ? percent(mem / memAll) : "–"} small="of memory reserved" title=${`${bytes(mem)} of ${bytes(memAll)}`} />
    <${Figure} big=${over} small=${`${over === 1 ? "node" : "nodes"} over ${percent(LIMIT)} CPU`} tone=${over ? "bad" : ""} />
  </section>`;
}

function Bars({ nodes, moves }) {
  const box = useRef(null);
  return html`<section class="bars" ref=${box} aria-label="Nodes">
    <${Legend} />
    ${nodes.map((node) => html`<${NodeRow} key=${node.row.name} node=${node} />`)}
    <${Flights} box=${box} moves=${moves} />
  </section>`;
}

const LEGEND = ["Running", "Migrating", "Starting", "Stopping", "Degraded"];
const Legend = () => html`<div class="legend" aria-hidden="true">
  ${LEGEND.map((phase) => html`<span><i class="block p-${phase}"></i>${phase}</span>`)}
  <span><i class="limit-key"></i>${percent(LIMIT)} of CPU</span>
  <span>thick: CPU reserved; thin: memory</span></div>`;

export function NodeRow({ node }) {
  const { row, state } = node;
  const said = STATES[state];
  const spoken = `${row.name}, ${said.says}: ${cores(node.cpu)} of ${cores(row.cpuMilli)} reserved, ` +
    `${bytes(node.memory)} of ${bytes(row.memoryBytes)} memory, ${plural(node.vms, "VM")}`;
  return html`<article class="node s-${state}" aria-label=${spoken}>
    <header>
      <a href=${`#/node/${row.name}`}><b>${row.name}</b></a>
      ${state !== "ready" && html`<${Chip} tone=${said.tone}>${node.fence ? node.fence.phase.toLowerCase() : said.says}<//>`}
    </header>
    <div class="tracks">
      <${Track} node=${node} of="cpu" />
      <${Track} node=${node} of="memory" />
    </div>
    <p class="amounts"><span class=${node.cpuShare > LIMIT ? "over" : ""}><b>${percent(node.cpuShare)}</b> ${coresOf(node.cpu, row.cpuMilli)}</span>
      <span><b>${percent(node.memoryShare)}</b> ${bytes(node.memory)} of ${bytes(row.memoryBytes)}</span></p>
  </article>`;
}

function Track({ node, of }) {
  const cpu = of === "cpu";
  const total = cpu ? node.row.cpuMilli : node.row.memoryBytes;
  const share = (block) => (total ? (cpu ? block.pod.cpuMilli : block.pod.memoryBytes) / total : 0);
  return html`<div class="track ${of}" aria-hidden=${cpu ? null : "true"}>
    ${node.blocks.map((block) => html`<${Block} key=${block.key} block=${block} share=${share(block)} thin=${!cpu} />`)}
    ${cpu && html`<i class="limit" style=${{ left: `${LIMIT * 100}%` }} aria-hidden="true"></i>`}
    ${cpu && node.pods.length === 0 && html`<span class="nothing">${node.row.gone ? "its Node object is gone" : "nothing runs here"}</span>`}
  </div>`;
}

// A VM on the move stands in both bars: what has been copied fades at its source and fills at its target.
function Block({ block, share, thin }) {
  const { vm, pod, move, part } = block;
  const phase = !pod.vm ? "other" : part ? "Migrating" : vm ? vm.phase : "Pending";
  const style = { width: `${share * 100}%` };
  const name = pod.vm || pod.name;
  const done = move ? move.progress : 0;
  const filled = part === "source" ? 100 - done : part === "target" ? done : 100;
  const inside = part ? html`<i class="fill" style=${{ width: `${filled}%` }}></i>` : null;
  if (thin || !pod.vm) return html`<i class="block p-${phase} ${part}" style=${style} title=${pod.vm ? null : `${pod.ns}/${pod.name}, no VM`}>${inside}</i>`;
  const title = `${block.vmKey}: ${vm ? vm.phase : pod.phase}, ${cores(pod.cpuMilli)}, ${bytes(pod.memoryBytes)}` +
    (move ? `, ${move.source} → ${move.target || "?"}, ${done} %` : "");
  return html`<a class="block p-${phase} ${part}" style=${style} href=${vmLink(pod.ns, pod.vm)} title=${title} aria-label=${title}
    data-vm=${block.vmKey} data-part=${part || "whole"}>${inside}<span>${name}</span>${part === "target" && html`<em>${done} %</em>`}</a>`;
}

// Arrows from where moving VMs leave to where they arrive, drawn over the bars.
function Flights({ box, moves }) {
  const [lines, setLines] = useState([]);
  const key = JSON.stringify(lines);
  const measure = () => {
    if (!box.current) return;
    const frame = box.current.getBoundingClientRect();
    const found = [];
    for (const [vm, move] of moves) {
      const ends = ["source", "target"].map((part) => box.current.querySelector(`[data-vm="${CSS.escape(vm)}"][data-part="${part}"]`));
      if (!ends[0] || !ends[1]) continue;
      const [a, b] = ends.map((one) => one.getBoundingClientRect());
      const down = a.top < b.top;
      found.push({ vm, done: move.progress, x1: Math.round(a.left + a.width / 2 - frame.left), y1: Math.round((down ? a.bottom : a.top) - frame.top),
        x2: Math.round(b.left + b.width / 2 - frame.left), y2: Math.round((down ? b.top : b.bottom) - frame.top) });
    }
    if (JSON.stringify(found) !== key) setLines(found);
  };
  useLayoutEffect(measure);
  useLayoutEffect(() => { addEventListener("resize", measure); return () => removeEventListener("resize", measure); });
  return html`<svg class="flights" aria-hidden="true">
    <defs><marker id="tip" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="6" markerHeight="6" orient="auto"><path d="M0 0 8 4 0 8z" /></marker></defs>
    ${lines.map((one) => {
      const bend = (one.y2 - one.y1) / 2;
      const path = `M${one.x1} ${one.y1} C ${one.x1} ${one.y1 + bend}, ${one.x2} ${one.y2 - bend}, ${one.x2} ${one.y2}`;
      return html`<g key=${one.vm}><path class="way" d=${path} marker-end="url(#tip)" />
        <path class="gone" d=${path} pathLength="100" style=${{ strokeDasharray: `${one.done} 100` }} /></g>`;
    })}</svg>`;
}

function Homeless({ list }) {
  if (!list.length) return null;
  const shown = list.slice(0, 200);
  return html`<section class="homeless" aria-label="VMs on no node">
    <h2>On no node</h2>
    <ul class="chips">${shown.map(({ key, vm }) => html`<li key=${key}><i class="block p-${vm.phase}"></i>
      <${VmLink} ns=${vm.ns} name=${vm.name} /> <small>${vm.phase}</small></li>`)}
      ${list.length > shown.length && html`<li>and ${list.length - shown.length} more</li>`}</ul></section>`;
}
