// Many nodes: a tile each, coloured by the CPU that is reserved on it, on one canvas, so that a thousand stay smooth.
// The table below it lists what wants attention, for the keyboard and for screen readers too.

import { html, NodeLink, Chip, useLayoutEffect, useRef, useState } from "./ui.js";
import { LIMIT, STATES } from "./model.js";
import { percent, plural } from "./format.js";

const TILE = 26, GAP = 4, PADDING = 14, MOST_LISTED = 50;
const URGENCY = ["fenced", "gone", "suspect", "away", "cordoned", "rejoining", "ready"];
const SIGNS = { fenced: "✗", gone: "✗", suspect: "?", away: "?" };

export function HeatMap({ nodes, moves }) {
  const canvas = useRef(null);
  const [width, setWidth] = useState(0);
  const [hover, setHover] = useState(-1);
  const columns = Math.max(1, Math.floor((width + GAP) / (TILE + GAP)));
  const height = Math.ceil(nodes.length / columns) * (TILE + GAP);
  useLayoutEffect(() => {
    const measure = () => setWidth(canvas.current ? canvas.current.parentElement.clientWidth - 2 * PADDING : 0);
    measure();
    addEventListener("resize", measure);
    return () => removeEventListener("resize", measure);
  }, []);
  useLayoutEffect(() => { if (canvas.current && width) draw(canvas.current, nodes, columns, width, height, busy(moves)); });
  const at = (event) => {
    const column = Math.floor(event.offsetX / (TILE + GAP)), line = Math.floor(event.offsetY / (TILE + GAP));
    const found = column < columns ? line * columns + column : -1;
    return found < nodes.length ? found : -1;
  };
  const over = nodes[hover];
  return html`<section aria-label="Nodes">
    <p class="legend"><span class="scale" aria-hidden="true"></span> 0 to 100 % of CPU reserved; framed: over ${percent(LIMIT)}; dot: a VM leaves or arrives; hatched: maintenance; ? suspect; ✗ fenced
      <output>${over ? `${over.row.name}: ${STATES[over.state].says}, ${percent(over.cpuShare)} CPU, ${percent(over.memoryShare)} memory, ${plural(over.vms, "VM")}` : ""}</output></p>
    <div class="heat"><canvas ref=${canvas} style=${{ width: `${width}px`, height: `${height}px` }} role="img"
      aria-label=${`${plural(nodes.length, "node")} as tiles, coloured by reserved CPU; the table below lists those that want attention`}
      onMouseMove=${(event) => setHover(at(event))} onMouseLeave=${() => setHover(-1)}
      onClick=${(event) => { const found = nodes[at(event)]; if (found) location.hash = `#/node/${found.row.name}`; }}></canvas></div>
    <${Attention} nodes=${nodes} /></section>`;
}

function busy(moves) {
  const found = new Set();
  for (const move of moves.values()) found.add(move.source).add(move.target);
  return found;
}

function draw(canvas, nodes, columns, width, height, moving) {
  const scale = devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const pen = canvas.getContext("2d");
  const colour = (name) => getComputedStyle(canvas).getPropertyValue(name).trim();
  const [bad, warn, note, move, ink, paper] = ["--bad", "--warn", "--note", "--move", "--ink", "--paper"].map(colour);
  pen.font = "bold 17px sans-serif";
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  nodes.forEach((node, number) => {
    const x = (number % columns) * (TILE + GAP), y = Math.floor(number / columns) * (TILE + GAP);
    pen.fillStyle = heat(node.cpuShare);
    const sign = SIGNS[node.state];
    if (sign) pen.fillStyle = sign === "✗" ? bad : warn;
    pen.fillRect(x, y, TILE, TILE);
    if (sign) { pen.fillStyle = paper; pen.fillText(sign, x + TILE / 2, y + TILE / 2 + 1); return; }
    if (node.state === "cordoned") {
      pen.strokeStyle = note; pen.lineWidth = 2;
      pen.beginPath();
      for (let step = 6; step < 2 * TILE; step += 8) { pen.moveTo(x + Math.min(step, TILE), y + Math.max(0, step - TILE)); pen.lineTo(x + Math.max(0, step - TILE), y + Math.min(step, TILE)); }
      pen.stroke();
    }
    if (node.cpuShare > LIMIT) { pen.strokeStyle = ink; pen.lineWidth = 2; pen.strokeRect(x + 1, y + 1, TILE - 2, TILE - 2); }
    if (moving.has(node.row.name)) { pen.fillStyle = move; pen.beginPath(); pen.arc(x + TILE / 2, y + TILE / 2, 4.5, 0, 7); pen.fill(); }
  });
}

// From pale to deep, and to red above the limit.
export const heat = (share) =>
  share > LIMIT ? `hsl(8 70% ${Math.max(38, 60 - (share - LIMIT) * 60)}%)` : `hsl(172 45% ${88 - share * 60}%)`;

function Attention({ nodes }) {
  const odd = nodes.filter((node) => node.state !== "ready" || node.cpuShare > LIMIT);
  odd.sort((a, b) => URGENCY.indexOf(a.state) - URGENCY.indexOf(b.state) || b.cpuShare - a.cpuShare);
  if (!odd.length) return html`<p class="empty">Every node is ready and below ${percent(LIMIT)} of its CPU.</p>`;
  return html`<table><caption>${plural(odd.length, "node")} ${odd.length === 1 ? "wants" : "want"} attention</caption>
    <thead><tr><th scope="col">Node</th><th scope="col">State</th><th scope="col" class="number">CPU</th><th scope="col" class="number">Memory</th><th scope="col" class="number">VMs</th></tr></thead>
    <tbody>${odd.slice(0, MOST_LISTED).map((node) => html`<tr key=${node.row.name}><td><${NodeLink} name=${node.row.name} /></td>
      <td><${Chip} tone=${STATES[node.state].tone}>${STATES[node.state].says}<//></td>
      <td class="number">${percent(node.cpuShare)}</td><td class="number">${percent(node.memoryShare)}</td><td class="number">${node.vms}</td></tr>`)}
    </tbody></table>
    ${odd.length > MOST_LISTED && html`<p>and ${odd.length - MOST_LISTED} more</p>`}`;
}
