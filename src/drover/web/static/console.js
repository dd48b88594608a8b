// The serial console: xterm.js on a WebSocket to our server, which attaches to the VM's Pod as the caller.

import { html, useEffect, useRef, useState } from "./ui.js";
import { store } from "./store.js";

const MOST_LINES = 5000;

export function Console({ ns, name, runs }) {
  const [open, setOpen] = useState(false);
  const [says, setSays] = useState("");
  const may = store.session.may.console !== false;
  return html`<section class="card" aria-label="Serial console">
    <div class="head"><h2>Serial console</h2><small role="status">${open ? says : ""}</small><div class="buttons">
      <button type="button" onClick=${() => setOpen(!open)} disabled=${!open && (!runs || !may)}
        title=${may ? (runs ? "" : "The VM does not run") : "Your rights do not allow this"}>${open ? "Close" : "Open"}</button></div></div>
    ${open ? html`<${Terminal} ns=${ns} name=${name} says=${setSays} />`
    : html`<p><small>${runs ? "The guest's serial line; Enter brings its prompt. It follows the VM when it moves." : "A VM that does not run has no console."}</small></p>`}
  </section>`;
}

function Terminal({ ns, name, says }) {
  const box = useRef(null);
  useEffect(() => {
    let end = () => {}, left = false;
    begin(box.current, ns, name, says).then((stop) => { left ? stop() : (end = stop); })
      .catch((error) => says(`no console: ${error.message}`));
    return () => { left = true; end(); };
  }, []);
  return html`<div class="screen" ref=${box}></div>`;
}

async function begin(box, ns, name, says) {
  const [{ Terminal: Xterm }, { FitAddon }] = await Promise.all([import("./vendor/xterm.js"), import("./vendor/xterm-fit.js"), sheet("/static/vendor/xterm.css")]);
  const restore = withoutInlineStyles();
  let term;
  const fit = new FitAddon();
  term = new Xterm({ scrollback: MOST_LINES, fontSize: 13, cursorBlink: true, convertEol: false, screenReaderMode: true, theme: { background: "#0b0f14" } });
  term.loadAddon(fit);
  term.open(box);
  fit.fit();
  const refit = () => fit.fit();
  addEventListener("resize", refit);
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const query = new URLSearchParams({ namespace: ns, name });
  const socket = new WebSocket(`${scheme}://${location.host}/api/console?${query}`, ["drover.console", store.session.token]);
  socket.binaryType = "arraybuffer";
  const typed = new TextEncoder();
  let noted = "";
  says("connecting…");
  socket.onmessage = ({ data }) => {
    if (typeof data === "string") { noted = JSON.parse(data).says; says(noted); }
    else term.write(new Uint8Array(data));
  };
  socket.onclose = () => { says(noted && noted !== "attached" ? noted : "the console has ended; open it again"); term.options.disableStdin = true; };
  term.onData((text) => { if (socket.readyState === WebSocket.OPEN) socket.send(typed.encode(text)); });
  term.focus();
  return () => { removeEventListener("resize", refit); socket.onclose = null; socket.close(); term.dispose(); restore(); };
}

export function sheet(href) {
  if (document.querySelector(`link[href="${href}"]`)) return Promise.resolve();
  return new Promise((resolve) => {
    const link = Object.assign(document.createElement("link"), { rel: "stylesheet", href, onload: resolve, onerror: resolve });
    document.head.append(link);
  });
}

// xterm.js writes its sizes and colours into style elements, which our Content-Security-Policy forbids. While a
// terminal is open, what it makes as such elements feeds sheets of the document instead, which no policy concerns.
function withoutInlineStyles() {
  const real = document.createElement;
  const made = [];
  document.createElement = function (tag, options) {
    if (tag !== "style") return real.call(this, tag, options);
    const stand = real.call(this, "span"), rules = new CSSStyleSheet();
    stand.hidden = true;
    document.adoptedStyleSheets = [...document.adoptedStyleSheets, rules];
    made.push(rules);
    Object.defineProperty(stand, "textContent", { set: (text) => rules.replaceSync(text), get: () => "" });
    return stand;
  };
  return () => {
    document.createElement = real;
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((one) => !made.includes(one));
  };
}
