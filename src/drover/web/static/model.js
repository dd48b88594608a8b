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
  const moves = openMoves();
  for (const row of all("Node").values()) if (row.forVms) nodes.set(row.name, blank(row, moves));
  for (const fence of [...all("NodeFence").values()].sort(byAge)) {
    const node = nodes.get(fence.node) || blank({ name: fence.node, gone: true, cpuMilli: 0, memoryBytes: 0 }, moves);
    if (fence.phase === "Rejoined" && node.row.gone) continue;
    nodes.set(fence.node, node);
    node.fence = fence.phase === "Rejoined" ? null : fence;
  }
  const placed = new Set();
  for (const pod of all("Pod").values()) {
    const node = nodes.get(pod.node);
    if (!node || pod.ended) continue;
    node.pods.push(pod);
    node.cpu += pod.cpuMilli;
    node.memory += pod.memoryBytes;
    if (!pod.vm) continue;
    node.vms += 1;
    placed.add(pod.vmKey);
  }
  for (const node of nodes.values()) {
    node.cpuShare = node.row.cpuMilli ? node.cpu / node.row.cpuMilli : 0;
    node.memoryShare = node.row.memoryBytes ? node.memory / node.row.memoryBytes : 0;
    node.state = stateOf(node);
  }
  const homeless = [];
  let running = 0;
  for (const [key, vm] of all("VirtualMachine")) {
    if (vm.phase === "Running" || vm.phase === "Migrating") running += 1;
    if (!placed.has(key)) homeless.push({ key, vm });
  }
  homeless.sort((a, b) => compare(a.key, b.key));
  return { nodes: inOrder([...nodes.values()]), homeless, moves, running };
}

// `blocks` are made for the nodes that are drawn block by block, and only then.
function blank(row, moves) {
  let made = null;
  return {
    row, pods: [], vms: 0, cpu: 0, memory: 0, fence: null, cpuShare: 0, memoryShare: 0, state: "ready",
    get blocks() { return (made ??= blocksOf(this.pods, moves)); },
  };
}

// What stands on a node, in order, each with its VM and its move.
function blocksOf(pods, moves) {
  const made = pods.map((pod) => {
    const vm = pod.vm ? get("VirtualMachine", pod.vmKey) : null;
    const move = pod.vm ? moves.get(pod.vmKey) : null;
    const part = !move ? "" : pod.node === move.source && !pod.migration ? "source" : pod.node === move.target ? "target" : "";
    return { key: `${pod.ns}/${pod.name}`, vmKey: pod.vmKey, pod, vm, move, part };
  });
  return made.sort((a, b) => compare(a.vmKey || "~", b.vmKey || "~") || compare(a.key, b.key));
}

// By name; the same names are in the same order as the last time, and sorting a thousand of them takes a frame.
let places = new Map();

function inOrder(nodes) {
  if (nodes.length !== places.size || nodes.some((node) => !places.has(node.row.name))) {
    const names = nodes.map((node) => node.row.name).sort(natural);
    places = new Map(names.map((name, place) => [name, place]));
  }
  return nodes.sort((a, b) => places.get(a.row.name) - places.get(b.row.name));
}

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

export const natural = new Intl.Collator(undefined, { numeric: true }).compare;
const { compare } = new Intl.Collator();
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
