// How a copy goes: what remains and what the guest writes meanwhile, over time, by uPlot. Samples are those that came
// over the live line since this page was opened.

import { html, useEffect, useRef } from "./ui.js";
import { store } from "./store.js";
import { remainingS } from "./model.js";
import { bytes, seconds } from "./format.js";
import { sheet } from "./console.js";

const MIB = 2 ** 20, HEIGHT = 190;

export function CopyChart({ id, copy }) {
  const samples = store.samples.get(id) || [];
  const left = remainingS(copy || {});
  return html`<p>${copy && copy.ramTotalBytes ? html`${bytes(copy.ramTransferredBytes || 0)} copied, ${bytes(copy.ramRemainingBytes || 0)} to go,
      the guest writes ${bytes(copy.dirtyBytesPerSecond || 0)}/s, pass ${copy.iteration || 0}${copy.throttlePercent ? `, slowed down by ${copy.throttlePercent} %` : ""}, ${left === null ? "not converging yet" : `about ${seconds(left)} left`}` : "The copy has not begun."}</p>
    ${samples.length > 1 && html`<${Plot} samples=${samples} last=${samples[samples.length - 1].at} />`}`;
}

function Plot({ samples, last }) {
  const box = useRef(null), plot = useRef(null);
  const data = () => [samples.map((s) => s.at), samples.map((s) => s.remaining / MIB), samples.map((s) => s.dirty / MIB), samples.map((s) => s.rate / MIB)];
  useEffect(() => {
    let gone = false;
    Promise.all([import("./vendor/uplot.js"), sheet("/static/vendor/uplot.css")]).then(([{ default: UPlot }]) => {
      if (gone) return;
      plot.current = new UPlot(options(box.current), data(), box.current);
      latest(plot.current);
    });
    const resize = () => plot.current && plot.current.setSize({ width: box.current.clientWidth, height: HEIGHT });
    const redraw = () => plot.current && plot.current.redraw();
    const dark = matchMedia("(prefers-color-scheme: dark)"), button = new MutationObserver(redraw);
    dark.addEventListener("change", redraw);
    button.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    addEventListener("resize", resize);
    return () => {
      gone = true;
      removeEventListener("resize", resize);
      dark.removeEventListener("change", redraw);
      button.disconnect();
      plot.current?.destroy();
    };
  }, []);
  useEffect(() => { if (plot.current) { plot.current.setData(data()); latest(plot.current); } }, [last]);
  return html`<div class="chart" ref=${box} role="img" aria-label="Chart of the copy: memory that remains, and what the guest writes"></div>`;
}

// Under no pointer the legend tells the last sample.
const latest = (plot) => { if (plot.cursor.left < 0) plot.setLegend({ idx: plot.data[0].length - 1 }); };

const clock = (s) => new Date(s * 1000).toLocaleTimeString([], { hour12: false });

function options(box) {
  // Asked at each drawing: dark may have become light.
  const colour = (name) => () => getComputedStyle(box).getPropertyValue(name).trim();
  const ink = colour("--soft"), grid = { stroke: colour("--line"), width: 1 };
  const axis = { stroke: ink, grid, ticks: grid };
  const rate = (_, v) => (v == null ? "–" : `${v.toFixed(1)} MiB/s`);
  return {
    width: box.clientWidth, height: HEIGHT,
    scales: { x: { time: true }, MiB: { range: (_, low, high) => [0, Math.max(1, high)] }, rate: { range: (_, low, high) => [0, Math.max(1, high)] } },
    axes: [{ ...axis, space: 90, incrs: [1, 2, 5, 10, 15, 30, 60, 120, 300, 600], values: (_, all) => all.map(clock) }, { ...axis, scale: "MiB", size: 70, values: (_, all) => all.map((v) => `${v} MiB`) },
      { ...axis, scale: "rate", side: 1, size: 76, grid: { show: false }, values: (_, all) => all.map((v) => `${v} MiB/s`) }],
    series: [{ label: "at", value: (_, v) => (v == null ? "–" : clock(v)) },
      { label: "remaining", scale: "MiB", stroke: colour("--move"), width: 2, fill: () => `${colour("--move")()}22`, value: (_, v) => (v == null ? "–" : `${v.toFixed(0)} MiB`) },
      { label: "written by the guest", scale: "rate", stroke: colour("--warn"), width: 2, value: rate },
      { label: "copied", scale: "rate", stroke: colour("--good"), width: 2, value: rate }],
  };
}
