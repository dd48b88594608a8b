// What the rows mean together: nodes with what stands on them, moves under way. Pure but for reading the store.

import { all, get, store } from "./store.js";

export const LIMIT = 0.8; // of a node's CPU: above it the rebalancer acts
export const ROOM_IN_FULL = 12; // nodes; more are drawn as a heat map

let cached = { version: -1 };

// {nodes: [...], homeless: [...], moves: [...]}: once per version.
export function cluster() {
  if (cached.version === store.version) return cached.model;
  cached = { version: store.version, model: build() };
  return cached.model;
}

function build() {
  const nodes = new Map();
  for (const row of all("Node").values()) if (row.forVms) nodes.set(row.name, blank(row));
  for (const fence of [...all("NodeFence").values()].sort(byAge)) {
    const node = nodes.get(fence.node) || blank({ name: fence.node, gone: true, cpuMilli: 0, memoryBytes: 0 });
    if (fence.phase === "Rejoined" && node.row.gone) continue;
    nodes.set(fence.node, node);
    node.fence = fence.phase === "Rejoined" ? null : fence;
  }
  const moves = openMoves();
  const placed = new Set();
  for (const pod of all("Pod").values()) {
    const node = nodes.get(pod.node);
    if (!node || pod.ended) continue;
    const vm = pod.vm ? get("VirtualMachine", `${pod.ns}/${pod.vm}`) : null;
    const move = pod.vm ? moves.get(`${pod.ns}/${pod.vm}`) : null;
    const part = !move ? "" : pod.node === move.source && !pod.migration ? "source" : pod.node === move.target ? "target" : "";
    node.blocks.push({ key: `${pod.ns}/${pod.name}`, vmKey: pod.vm ? `${pod.ns}/${pod.vm}` : "", pod, vm, move, part });
    node.cpu += pod.cpuMilli;
    node.memory += pod.memoryBytes;
    if (pod.vm) placed.add(`${pod.ns}/${pod.vm}`);
  }
  for (const node of nodes.values()) {
    node.blocks.sort((a, b) => (a.vmKey || "~").localeCompare(b.vmKey || "~") || a.key.localeCompare(b.key));
    node.cpuShare = node.row.cpuMilli ? node.cpu / node.row.cpuMilli : 0;
    node.memoryShare = node.row.memoryBytes ? node.memory / node.row.memoryBytes : 0;
    node.state = stateOf(node);
  }
  const homeless = [...all("VirtualMachine")].filter(([key]) => !placed.has(key)).map(([key, vm]) => ({ key, vm }));
  homeless.sort((a, b) => a.key.localeCompare(b.key));
  return { nodes: [...nodes.values()].sort((a, b) => natural(a.row.name, b.row.name)), homeless, moves };
}

const blank = (row) => ({ row, blocks: [], cpu: 0, memory: 0, fence: null, cpuShare: 0, memoryShare: 0, state: "ready" });

// One word, which decides how the node looks.
function stateOf({ row, fence }) {
  if (fence && fence.phase !== "Suspect") return "fenced";
  if (fence) return "suspect";
  if (row.gone) return "gone";
  if (!row.ready) return "away";
  if (row.cordoned) return "cordoned";
  if (row.rejoining) return "rejoining";
  return "ready";
}

export const STATES = {
  ready: { says: "ready", tone: "good" },
  cordoned: { says: "maintenance", tone: "note" },
  rejoining: { says: "rejoining", tone: "note" },
  away: { says: "no answer", tone: "warn" },
  suspect: { says: "suspect", tone: "warn" },
  fenced: { says: "fenced", tone: "bad" },
  gone: { says: "gone", tone: "bad" },
};

// Moves that go on, by VM: {source, target, progress, vmm, vmop}.
function openMoves() {
  const found = new Map();
  for (const [key, vmm] of all("VirtualMachineMigration")) {
    if (vmm.final) continue;
    const vmop = get("VirtualMachineOperation", `${vmm.ns}/${vmm.operation}`);
    found.set(`${vmm.ns}/${vmm.vm}`, { key, source: vmm.source, target: vmm.target, progress: vmop ? vmop.progress : 0, vmm, vmop });
  }
  return found;
}

export const natural = (a, b) => a.localeCompare(b, undefined, { numeric: true });
export const byAge = (a, b) => (a.created < b.created ? -1 : a.created > b.created ? 1 : a.name < b.name ? -1 : 1);

export const operationsOf = (key) =>
  [...all("VirtualMachineOperation").values()].filter((one) => `${one.ns}/${one.vm}` === key).sort(byAge).reverse();

// How long the rest of a copy takes at its present rate, in seconds; null: it does not converge, or nothing is told.
export function remainingS(copy) {
  const rate = ((copy.mbps || 0) * 1e6) / 8 - (copy.dirtyBytesPerSecond || 0);
  return copy.ramTotalBytes && rate > 0 ? (copy.ramRemainingBytes || 0) / rate : null;
}

// The message of an operation without the counters at its end, which the charts show better.
export const sentence = (vmop) => (vmop ? vmop.message.replace(/:? TimeElapsed:.*$/s, "") : "");
