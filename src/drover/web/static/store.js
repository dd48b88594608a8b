// What this page knows: the rows that the server tells over its live line, and whether the line is up.
//
// All rows of a kind are in a Map by key. A change raises `version` and wakes the views, at most once a frame. Samples
// of running copies are kept for the charts, at most MOST_SAMPLES of each of the last MOST_COPIES.

const MOST_SAMPLES = 600, MOST_COPIES = 64;

export const store = {
  version: 0,
  rows: new Map(),
  session: null, // {user, token, may}; null: not logged in
  farewell: "", // why the last session ended
  line: "connecting", // connecting, up, lost
  state: { drawn: false, synced: false, alive: true, missing: [] },
  filled: false, // everything was told once
  tellings: 0, // how often everything was told
  samples: new Map(),
};

const listeners = new Set();
let woken = false;

export function listen(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function changed() {
  store.version += 1;
  if (woken) return;
  woken = true;
  const wake = () => { woken = false; for (const one of [...listeners]) one(); };
  // A hidden page is not drawn, so it would never be woken by a frame.
  document.hidden ? setTimeout(wake, 200) : requestAnimationFrame(wake);
}

const NONE = new Map();
export const all = (kind) => store.rows.get(kind) || NONE;
export const get = (kind, key) => all(kind).get(key);

function put(rows, kind, key, row) {
  let of = rows.get(kind);
  if (!of) rows.set(kind, (of = new Map()));
  row === null ? of.delete(key) : of.set(key, named(key, row));
  if (kind === "VirtualMachineMigration" && row) sample(key, row);
}

// A row with the names that are in its key.
function named(key, row) {
  const cut = key.indexOf("/");
  if (cut >= 0) row.ns = key.slice(0, cut);
  row.name = key.slice(cut + 1);
  if (row.vm !== undefined) row.vmKey = row.vm && `${row.ns}/${row.vm}`;
  return row;
}

// Rows of one shape, told by columns.
function unpack(into, { kind, fields, rows }) {
  for (const [key, ...values] of rows) {
    const row = {};
    for (let at = 0; at < fields.length; at += 1) row[fields[at]] = values[at];
    put(into, kind, key, row);
  }
}

function sample(key, row) {
  const copy = row.copy;
  if (!copy || !copy.ramTotalBytes) return;
  let found = store.samples.get(key);
  if (!found) {
    store.samples.set(key, (found = []));
    if (store.samples.size > MOST_COPIES) store.samples.delete(store.samples.keys().next().value);
  }
  const last = found[found.length - 1];
  if (last && last.remaining === copy.ramRemainingBytes && last.copied === copy.ramTransferredBytes) return;
  found.push({
    at: Date.now() / 1000,
    remaining: copy.ramRemainingBytes || 0,
    copied: copy.ramTransferredBytes || 0,
    dirty: copy.dirtyBytesPerSecond || 0,
    rate: ((copy.mbps || 0) * 1e6) / 8,
  });
  if (found.length > MOST_SAMPLES) found.shift();
}

let source = null;

export function connect() {
  disconnect();
  let fresh = null; // rows of a telling that has not ended yet
  source = new EventSource("/api/live");
  const on = (event, act) => source.addEventListener(event, (message) => { act(JSON.parse(message.data)); changed(); });
  source.onopen = () => { store.line = "up"; changed(); };
  source.onerror = () => {
    store.line = "lost";
    changed();
    if (source && source.readyState === EventSource.CLOSED) again();
  };
  on("state", (state) => { store.state = state; });
  on("begin", () => { fresh = new Map(); });
  on("rows", (told) => unpack(fresh, told));
  on("end", () => { store.rows = fresh; fresh = null; store.filled = true; store.tellings += 1; });
  on("changes", (rows) => { for (const [kind, key, row] of rows) put(store.rows, kind, key, row); });
  on("bye", ({ why }) => leave(why));
}

// The server refused the line: its session is gone (it was started again), or it has too many pages.
async function again() {
  const answer = await ask("GET", "/api/session").catch(() => null);
  if (answer && answer.status === 401) leave("the server no longer knows this log-in");
  else if (source) setTimeout(() => { if (store.session) connect(); }, 2000);
}

export function disconnect() {
  if (source) source.close();
  source = null;
}

export function leave(why) {
  disconnect();
  Object.assign(store, { session: null, farewell: why, rows: new Map(), filled: false, line: "connecting" });
  store.samples.clear();
  changed();
}

// One request: {status, body}. Rejects when the server does not answer.
export async function ask(method, path, body) {
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (method !== "GET" && store.session) headers["X-Drover-Token"] = store.session.token;
  const answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  let told = {};
  try { told = await answer.json(); } catch { /* an error page of a proxy */ }
  return { status: answer.status, body: told };
}

export async function begin(credentials) {
  const answer = credentials ? await ask("POST", "/api/login", credentials) : await ask("GET", "/api/session");
  if (answer.status !== 200) return answer.body.error || `the server says ${answer.status}`;
  const endsAt = Date.now() + answer.body.expiresInSeconds * 1000;
  Object.assign(store, { session: { ...answer.body, endsAt }, farewell: "" });
  connect();
  changed();
  return "";
}
