// Rebalancing: is the cluster balanced, which plan is open, what would it change, and may it be carried out.

import { Act, Chip, Empty, html, NodeLink, Phase, useStore, VmLink, When } from "./ui.js";
import { all, get } from "./store.js";
import { byAge, LIMIT, natural } from "./model.js";
import { bytes, percent, plural, seconds } from "./format.js";

export function Rebalance() {
  useStore();
  const module = get("ModuleConfig", "descheduler");
  const on = Boolean(module && module.enabled);
  const mode = (module && module.rebalance.mode) || "Automatic";
  const plans = [...all("RebalancePlan").values()].sort((a, b) => b.number - a.number);
  const open = plans.find((plan) => plan.open), past = plans.filter((plan) => !plan.open);
  return html`<div class="head"><h1>Rebalance</h1><${Chip} tone=${on ? "good" : ""}>${on ? `on, ${mode === "Approve" ? "asks first" : "by itself"}` : "off"}<//>
    <div class="buttons">${on
      ? html`<${Act} act=${{ act: "rebalance", name: "", on: true, mode: mode === "Approve" ? "Automatic" : "Approve" }} right="configure">${mode === "Approve" ? "Act without asking" : "Ask before it acts"}<//>
        <${Act} act=${{ act: "rebalance", name: "", on: false }} right="configure">Switch off<//>`
      : html`<${Act} act=${{ act: "rebalance", name: "", on: true, mode: "Approve" }} right="configure" kind="strong">Switch on, ask before it acts<//>`}</div></div>
    <${Balance} />
    ${open ? html`<${Plan} plan=${open} />` : html`<${Empty} title=${on ? "No plan is open" : "Rebalancing is off"}>
      ${on ? "A plan appears here when a node stays over its limit, or a placement rule is broken." : "Switch it on, and it plans the fewest moves that bring every node below its limit; in the asking mode nothing moves before you approve."}<//>`}
    ${past.length > 0 && html`<section class="card scroll"><table><caption>Former plans</caption><thead><tr><th scope="col">Plan</th><th scope="col">Made</th><th scope="col">Result</th><th scope="col" class="number">Moves</th><th scope="col">Why</th></tr></thead>
      <tbody>${past.slice(0, 30).map((plan) => html`<tr key=${plan.name}><td>${plan.name}</td><td><${When} at=${plan.created} /></td><td><${Phase} is=${plan.phase} /></td><td class="number">${plan.steps.filter((s) => s.state === "Done").length} of ${plan.moves.length}</td><td><small>${plan.message}</small></td></tr>`)}</tbody></table></section>`}`;
}

function Balance() {
  const told = [...all("Descheduler").values()].sort(byAge).flatMap((one) => one.conditions);
  const found = told.find((one) => one.type === "Balanced");
  if (!found) return null;
  const tone = found.status === "True" ? "good" : found.status === "False" ? "warn" : "idle";
  return html`<section class="card"><b class="mark ${tone}">${found.status === "True" ? "✓ Balanced." : found.status === "False" ? "Not balanced." : "Not known yet."}</b> ${found.message}</section>`;
}

function Plan({ plan }) {
  const stepOf = (number) => plan.steps[number];
  return html`<section class="card" aria-label="Open plan">
    <div class="head"><h2>${plan.name}</h2><${Phase} is=${plan.phase} />
      <small>${plural(plan.moves.length, "move")}${plan.movesTotal > plan.moves.length ? ` of ${plan.movesTotal}` : ""}, ${bytes(plan.bytesTotal || 0)} to copy, about ${seconds(plan.secondsTotal)}${plan.proved ? "; proved to be the fewest" : plan.lowerBound ? `; at least ${plan.lowerBound} are needed` : ""}</small>
      <div class="buttons">${!plan.approved && html`<${Act} act=${{ act: "approve", name: plan.name }} right="approve" kind="strong">Approve<//>`}</div></div>
    <${Bars} plan=${plan} />
    <div class="scroll"><table><caption>Moves, in this order</caption><thead><tr><th scope="col">VM</th><th scope="col">From → to</th><th scope="col">Why</th><th scope="col" class="number">Takes</th><th scope="col">State</th></tr></thead>
      <tbody>${plan.moves.map((move, number) => { const [ns, name] = move.virtualMachine.split("/");
        return html`<tr key=${number}><td><${VmLink} ns=${ns} name=${name} /></td><td><${NodeLink} name=${move.source} /> → <${NodeLink} name=${move.target} /></td>
        <td>${move.why}${(move.rejected || []).length > 0 && html`<details><summary>Why not elsewhere</summary><ul>${move.rejected.map((one) => html`<li>${one.node}: ${one.why}</li>`)}</ul></details>`}</td>
        <td class="number">${seconds(move.seconds)}</td><td><${Phase} is=${stepOf(number) ? stepOf(number).state : "Waiting"} /></td></tr>`; })}</tbody></table></div>
    ${(plan.impossible || []).length > 0 && html`<h2>What no move can mend</h2><ul class="list">${plan.impossible.map((one) => html`<li class="because"><p><b>${one.what}</b></p><p class="rule">${one.blockedBy}</p>${one.change && html`<p class="way">${one.change}</p>`}</li>`)}</ul>`}
  </section>`;
}

// What each touched node reserves before the first and after the last move.
function Bars({ plan }) {
  const nodes = new Map();
  for (const move of plan.moves) {
    for (const load of move.load || []) {
      const seen = nodes.get(load.node) || { before: load.before };
      nodes.set(load.node, { ...seen, after: load.after });
    }
  }
  if (!nodes.size) return null;
  const Line = ({ share, kind }) => html`<div class="line ${kind}"><i class=${share > LIMIT * 100 ? "over" : ""} style=${{ width: `${Math.min(100, share)}%` }}></i><u class="limit" style=${{ left: `${LIMIT * 100}%` }}></u></div><span>${kind} <b>${percent(share / 100)}</b></span>`;
  return html`<div class="pairs" aria-label="CPU reserved before and after">${[...nodes].sort(([a], [b]) => natural(a, b)).map(([name, load]) => html`
    <div class="pair" key=${name}><b><${NodeLink} name=${name} /></b><${Line} kind="before" share=${load.before.cpu ?? 0} /><${Line} kind="after" share=${load.after.cpu ?? 0} /></div>`)}</div>`;
}
