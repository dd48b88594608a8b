// The page: log-in, the frame around every view, and which view is shown. Views are told apart by the address's hash.

import { render } from "./vendor/htm-preact.js";
import { html, Notices, Question, useEffect, useState, useStore } from "./ui.js";
import { all, ask, begin, leave, store } from "./store.js";
import { clock } from "./format.js";
import { Cluster } from "./page_cluster.js";
import { Vm } from "./page_vm.js";
import { Operations } from "./page_operations.js";
import { Nodes, Node } from "./page_nodes.js";
import { Rebalance } from "./page_rebalance.js";
import { Failover } from "./page_failover.js";

const PAGES = [
  ["cluster", "Cluster"],
  ["operations", "Operations"],
  ["nodes", "Nodes"],
  ["rebalance", "Rebalance"],
  ["failover", "Failover"],
];

const route = () => {
  const parts = location.hash.replace(/^#\/?/, "").split("/");
  try { return parts.map(decodeURIComponent); } catch { return ["cluster"]; }
};

function App() {
  useStore();
  const [path, go] = useState(route());
  const [asking, setAsking] = useState(true);
  useEffect(() => {
    const moved = () => go(route());
    addEventListener("hashchange", moved);
    enter().finally(() => { setAsking(false); go(route()); });
    return () => removeEventListener("hashchange", moved);
  }, []);
  useEffect(() => {
    if (!asking && store.session) document.getElementById("main")?.focus({ preventScroll: true });
  }, [path.join("/")]);
  if (asking) return html`<p class="empty">Loading…</p>`;
  if (!store.session) return html`<${Login} />`;
  return html`<a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); document.getElementById("main").focus(); }}>To the content</a>
    <${Bar} page=${path[0]} />
    <${Banners} />
    <main id="main" tabindex="-1"><${View} path=${path} /></main>
    <${Notices} /><${Question} />`;
}

// A link of `drover web` carries its code in the hash; it is taken out of sight at once, before the first drawing: the
// address may have changed again by then, and the code with it. Pasted into a page that is open, it begins anew.
const CODE = /^#login=([\w-]+)$/;
const LINK = CODE.exec(location.hash);
if (LINK) history.replaceState(null, "", "/#/cluster");
addEventListener("hashchange", () => CODE.test(location.hash) && location.reload());

let firstError = "";

async function enter() {
  try {
    const said = await begin(LINK ? { code: LINK[1] } : null);
    if (LINK) firstError = said;
  } catch {
    firstError = "the server does not answer; is `drover web` still running?";
  }
}

function View({ path: [page, ...rest] }) {
  if (!store.filled) return html`<p class="empty">Reading the cluster…</p>`;
  if (page === "vm") return html`<${Vm} key=${rest.join("/")} ns=${rest[0]} name=${rest[1]} />`;
  if (page === "node") return html`<${Node} key=${rest[0]} name=${rest[0]} />`;
  const shown = { operations: Operations, nodes: Nodes, rebalance: Rebalance, failover: Failover }[page] || Cluster;
  return html`<${shown} />`;
}

function Bar({ page }) {
  const here = { vm: "cluster", node: "nodes", "": "cluster" }[page] ?? page;
  return html`<header class="bar">
    <a class="brand" href="#/cluster"><img src="/static/icon.svg" alt="" width="22" height="22" />drover</a>
    <nav aria-label="Pages">${PAGES.map(([name, title], number) => html`
      <a href=${`#/${name}`} aria-current=${here === name ? "page" : null} title=${`${title} (key ${number + 1})`}>${title}</a>`)}</nav>
    <${Find} />
    <span class="who" title=${`Everything here is done with the rights of this user. The log-in ends at ${clock(store.session.endsAt)}`}>${store.session.user || "you"}</span>
    <button type="button" class="quiet" onClick=${turn} title="Dark or light (key d)" aria-label="Dark or light">◐</button>
    <button type="button" class="quiet" onClick=${out}>Log out</button>
  </header>`;
}

function Find() {
  const submit = (event) => {
    event.preventDefault();
    const text = event.target.elements.find.value.trim();
    const key = text.includes("/") ? text : [...all("VirtualMachine").keys()].find((one) => one.endsWith(`/${text}`));
    if (!key || !all("VirtualMachine").has(key)) return;
    location.hash = `#/vm/${key}`;
    event.target.reset();
    event.target.elements.find.blur();
  };
  const names = [...all("VirtualMachine").keys()].slice(0, 500);
  return html`<form class="find" role="search" onSubmit=${submit}>
    <input id="find" name="find" type="search" list="vms" placeholder="Find a VM  ( / )" aria-label="Find a VM" autocomplete="off" />
    <datalist id="vms">${names.map((key) => html`<option value=${key} />`)}</datalist></form>`;
}

function Banners() {
  const { line, state } = store;
  return html`<div aria-live="polite">
    ${line === "lost" && html`<p class="banner bad">The connection to drover web is lost; trying again. What you see is from before.</p>`}
    ${line === "up" && !state.alive && html`<p class="banner bad">The API does not answer. What you see is from before; guests run on without it.</p>`}
    ${line === "up" && state.alive && !state.drawn && store.filled && html`<p class="banner">Still reading the cluster; not all of it is shown yet.</p>`}
    ${state.missing.length > 0 && html`<p class="banner">Your rights hide some of it: ${state.missing.join(", ")}.</p>`}
  </div>`;
}

function Login() {
  const [error, setError] = useState(firstError);
  const [busy, setBusy] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    const { token, namespace } = event.target.elements;
    setBusy(true);
    try {
      setError(await begin({ token: token.value.trim(), namespace: namespace.value.trim() }));
    } catch {
      setError("the server does not answer; is `drover web` still running?");
    }
    setBusy(false);
  };
  return html`<main class="login" id="main">
    <h1><img src="/static/icon.svg" alt="" width="40" height="40" /> drover</h1>
    ${store.farewell && html`<p class="banner" role="status">You were logged out: ${store.farewell}.</p>`}
    <form onSubmit=${submit}>
      <label for="token">Token</label>
      <textarea id="token" name="token" rows="4" required spellcheck="false" autocomplete="off" placeholder="eyJhbGciOi…"></textarea>
      <label for="namespace">Namespace <small>(only if you may not see all of them)</small></label>
      <input id="namespace" name="namespace" autocomplete="off" spellcheck="false" />
      ${error && html`<p class="banner bad" role="alert">${error}</p>`}
      <button type="submit" class="strong" disabled=${busy}>${busy ? "Logging in…" : "Log in"}</button>
    </form>
    <p>You see and do here what Kubernetes lets you, nothing more. A token comes from <code>drover k create token NAME</code>; on the machine of the lab, <code>drover web</code> prints a link that needs none.</p>
  </main>`;
}

async function out() {
  await ask("POST", "/api/logout", {}).catch(() => null);
  leave("you have logged out");
}

// Dark or light: as the system wishes, until the button is used.
function turn() {
  const dark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  theme(dark ? "light" : "dark");
}

function theme(name) {
  document.documentElement.dataset.theme = name;
  try { localStorage.setItem("drover-theme", name); } catch { /* storage is off */ }
}

function keys(event) {
  const typing = event.target.closest?.("input, textarea, select, dialog, .screen, .vnc");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !store.session) return;
  const page = PAGES[Number(event.key) - 1];
  if (page) location.hash = `#/${page[0]}`;
  else if (event.key === "/") { event.preventDefault(); document.getElementById("find")?.focus(); }
  else if (event.key === "d") turn();
}

try {
  const kept = localStorage.getItem("drover-theme");
  if (kept === "dark" || kept === "light") document.documentElement.dataset.theme = kept;
} catch { /* storage is off */ }
addEventListener("keydown", keys);
render(html`<${App} />`, document.getElementById("app"));
