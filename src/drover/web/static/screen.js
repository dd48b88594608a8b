// The guest's screen: noVNC on a WebSocket to our server, which opens the VM's VNC stream as the caller.

import { html, useEffect, useRef, useState } from "./ui.js";
import { store } from "./store.js";

const AGAIN_MS = 1500, MOST_TRIES = 8;

export function Screen({ ns, name, pod }) {
  const [open, setOpen] = useState(false);
  const [says, setSays] = useState("");
  const may = store.session.may.screen !== false;
  return html`<section class="card" aria-label="Screen">
    <div class="head"><h2>Screen</h2><small role="status">${open ? says : ""}</small><div class="buttons">
      <button type="button" onClick=${() => setOpen(!open)} disabled=${!open && (!pod || !may)}
        title=${may ? (pod ? "" : "The VM does not run") : "Your rights do not allow this"}>${open ? "Close" : "Open"}</button></div></div>
    ${open ? html`<${Viewer} ns=${ns} name=${name} says=${setSays} />` : html`<p><small>What the guest draws, with your keyboard and mouse (VNC).</small></p>`}
  </section>`;
}

function Viewer({ ns, name, says }) {
  const box = useRef(null);
  useEffect(() => {
    let left = false, rfb = null, tries = 0, timer = 0;
    const begin = async () => {
      const { default: RFB } = await import("./vendor/novnc/core/rfb.js");
      if (left || !store.session) return;
      says("connecting…");
      const scheme = location.protocol === "https:" ? "wss" : "ws";
      const query = new URLSearchParams({ namespace: ns, name });
      const socket = new WebSocket(`${scheme}://${location.host}/api/screen?${query}`, ["drover.console", store.session.token]);
      let why = "it ended";
      socket.addEventListener("close", (event) => { if (event.reason) why = event.reason; });
      rfb = new RFB(box.current, socket, { shared: true });
      rfb.scaleViewport = true;
      rfb.background = "#0b0f14";
      rfb.addEventListener("connect", () => { tries = 0; says("connected"); rfb.focus(); });
      // After a move the screen is elsewhere; a few tries find it.
      rfb.addEventListener("disconnect", () => {
        rfb = null; // it may not be asked to end again
        says(why);
        if (!left && (tries += 1) <= MOST_TRIES) timer = setTimeout(begin, AGAIN_MS);
      });
    };
    begin().catch((error) => says(`no screen: ${error.message}`));
    return () => { left = true; clearTimeout(timer); rfb?.disconnect(); };
  }, []);
  return html`<div class="vnc"><div ref=${box}></div></div>`;
}
