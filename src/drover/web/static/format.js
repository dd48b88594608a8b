// Numbers and times as people read them. Every amount has its unit.

const GIB = 2 ** 30, MIB = 2 ** 20;

export const bytes = (n) =>
  n >= GIB ? `${trim(n / GIB)} GiB` : n >= MIB ? `${trim(n / MIB)} MiB` : n >= 1024 ? `${trim(n / 1024)} KiB` : `${n || 0} B`;

export const cores = (milli) => {
  const n = trim(milli / 1000, 2);
  return `${n} ${n === "1" ? "core" : "cores"}`;
};

export const coresOf = (milli, all) => `${trim(milli / 1000, 2)} of ${cores(all)}`;

export const percent = (share) => `${Math.round(share * 100)} %`;

function trim(n, digits = 1) {
  return String(Number(n.toFixed(n >= 100 ? 0 : digits)));
}

export function seconds(s) {
  if (s == null || !isFinite(s)) return "unknown";
  if (s < 1) return `${Math.max(0, Math.round(s * 1000))} ms`;
  if (s < 10) return `${trim(s)} s`;
  if (s < 120) return `${Math.round(s)} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  if (s < 172800) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} days`;
}

export const moment = (text) => (text ? Date.parse(text) : NaN);

export const between = (from, to) => (moment(to) - moment(from)) / 1000;

export function clock(text) {
  const at = new Date(text);
  if (isNaN(at)) return "";
  const time = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
  const today = new Date().toDateString() === at.toDateString();
  return today ? time : `${at.toLocaleDateString([], { month: "short", day: "numeric" })} ${time}`;
}

export const ago = (text, now = Date.now()) => {
  const s = (now - moment(text)) / 1000;
  return isNaN(s) ? "" : s < 2 ? "now" : `${seconds(s)} ago`;
};

export const plural = (n, one, many = `${one}s`) => `${n} ${n === 1 ? one : many}`;
