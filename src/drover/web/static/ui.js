// Small pieces that every page is made of.

import { html, useEffect, useLayoutEffect, useRef, useState } from "./vendor/htm-preact.js";
import { ask, changed, listen, store } from "./store.js";
import { ago, clock } from "./format.js";

export { html, useEffect, useLayoutEffect, useRef, useState };

// Draw again when the store changes.
export function useStore() {
  const [, draw] = useState(0);
  useEffect(() => listen(() => draw((n) => n + 1)), []);
  return store;
}

// Draw again each second while something on the page counts time.
export function useSeconds(on = true) {
  const [, draw] = useState(0);
  useEffect(() => {
    if (!on) return undefined;
    const timer = setInterval(() => draw((n) => n + 1), 1000);
    return () => clearInterval(timer);
  }, [on]);
}

export const Chip = ({ tone = "", title, children }) =>
  html`<span class="chip ${tone}" title=${title}>${children}</span>`;

const PHASES = {
  Running: "good", Completed: "good", Succeeded: "good", Done: "good", Rejoined: "good",
  Migrating: "move", InProgress: "move", Copying: "move", Executing: "move", Moving: "move",
  Starting: "warn", Stopping: "warn", Pending: "warn", Suspect: "warn", Proposed: "warn", Pause: "warn",
  Failed: "bad", Degraded: "bad", Condemned: "bad", Fenced: "bad", Released: "bad", Terminating: "bad",
};
export const Phase = ({ is }) => html`<${Chip} tone=${PHASES[is] || ""}>${is}<//>`;

export const When = ({ at }) => (at ? html`<time datetime=${at} title=${ago(at)}>${clock(at)}</time>` : html`<span>–</span>`);

export const Empty = ({ title, children }) => html`<div class="empty"><strong>${title}</strong><p>${children}</p></div>`;

export const Progress = ({ value, label }) => html`
  <div class="progress" role="progressbar" aria-valuemin="0" aria-valuemax="100" aria-valuenow=${value} aria-label=${label}>
    <i style=${{ width: `${value}%` }}></i></div>`;

export const vmLink = (ns, name) => `#/vm/${ns}/${name}`;
export const VmLink = ({ ns, name }) => html`<a href=${vmLink(ns, name)}>${ns === "default" ? name : `${ns}/${name}`}</a>`;
export const NodeLink = ({ name }) => (name ? html`<a href=${`#/node/${name}`}>${name}</a>` : html`<span>–</span>`);

// A button that does one act as the caller. `right` names what it needs; without it the button says so.
export function Act({ act, right, children, confirm, kind = "", disabled, title }) {
  const [busy, setBusy] = useState(false);
  const may = !right || store.session?.may[right] !== false;
  const press = async () => {
    if (confirm && !(await sure(confirm))) return;
    setBusy(true);
    await perform(act);
    setBusy(false);
  };
  const why = may ? title : "Your rights do not allow this";
  return html`<button type="button" class=${kind} disabled=${busy || disabled || !may} title=${why} onClick=${press}>${children}</button>`;
}

export async function perform(act) {
  try {
    const answer = await ask("POST", "/api/act", act);
    if (answer.status === 200) note(answer.body.said);
    else note(answer.body.error || `the server says ${answer.status}`, "bad");
    return answer.status === 200;
  } catch {
    note("the server does not answer; nothing is known of what was asked", "bad");
    return false;
  }
}

// Notices, said to screen readers too.
let notices = [], last = 0;
const MOST_NOTICES = 4;

export function note(says, tone = "good") {
  const one = { id: (last += 1), says, tone };
  notices = [...notices, one].slice(-MOST_NOTICES);
  changed();
  setTimeout(() => dismiss(one.id), tone === "bad" ? 15000 : 6000);
}

function dismiss(id) {
  notices = notices.filter((one) => one.id !== id);
  changed();
}

export const Notices = () => html`
  <div class="notices" role="status" aria-live="polite">
    ${notices.map((one) => html`<div key=${one.id} class="notice ${one.tone}">
      <span>${one.says}</span><button type="button" aria-label="dismiss" onClick=${() => dismiss(one.id)}>×</button></div>`)}
  </div>`;

// A question with yes and no. The browser's dialog keeps the keyboard within and Escape as no.
let question = null;

export const sure = (asked) =>
  new Promise((resolve) => {
    question = { ...asked, resolve };
    changed();
  });

export function Question() {
  const box = useRef(null);
  useEffect(() => { if (question && box.current && !box.current.open) box.current.showModal(); });
  if (!question) return null;
  const close = (yes) => {
    const asked = question;
    question = null;
    box.current?.close();
    asked.resolve(yes);
    changed();
  };
  return html`<dialog ref=${box} aria-labelledby="question" onCancel=${(event) => { event.preventDefault(); close(false); }}>
    <h2 id="question">${question.title}</h2>
    <div>${question.body}</div>
    <div class="buttons">
      <button type="button" onClick=${() => close(false)}>Cancel</button>
      <button type="button" class=${`strong ${question.tone || ""}`} onClick=${() => close(true)}>${question.yes}</button>
    </div></dialog>`;
}
