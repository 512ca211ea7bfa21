// The keyboard: `/` search, j k move, x select, l u lock and unlock, w wait, s copy ssh, o open, m more, ? help.

import { all, find } from "./page.js";

const HELP = [
  ["/", "Search"], ["j  k", "Down and up"], ["x", "Select"], ["l", "Lock"], ["u", "Unlock"], ["w", "Wait for it"],
  ["s", "Copy the ssh line"], ["o", "Open the machine"], ["m", "More for the machine"], ["?", "This"], ["Esc", "Leave"],
];

const rows = () => all("table.pool tr.machine").filter((row) => !row.hidden);
const at = () => find("tr.machine.at");

function move(step) {
  const known = rows();
  if (!known.length) return;
  const from = known.indexOf(at());
  const row = known[from < 0 ? (step > 0 ? 0 : known.length - 1) : Math.min(known.length - 1, Math.max(0, from + step))];
  at()?.classList.remove("at");
  row.classList.add("at");
  row.focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
}

const press = (selector) => find(selector, at() ?? document.createElement("tr"))?.click();

const DO = {
  "/": () => find("#q")?.focus(),
  j: () => move(1),
  k: () => move(-1),
  x: () => press("input[name='machine']"),
  l: () => press("[data-key='lock']"),
  u: () => press("[data-key='unlock']"),
  w: () => press("[data-key='wait']"),
  s: () => press("[data-copy]"),
  m: () => press("[data-popup]"),
  o: () => press("a.name"),
  "?": help,
};

function help() {
  const dialog = find("#dialog"), body = find("#dialog-body");
  const section = Object.assign(document.createElement("section"), { className: "sheet" });
  section.innerHTML = `<header class="dialog-head"><h1 id="dialog-title">Keys</h1></header><dl class="facts">${HELP.map(([key, word]) => `<dt><kbd>${key}</kbd></dt><dd>${word}</dd>`).join("")}</dl><footer class="dialog-foot bare"><span class="room"></span><a class="btn btn-ink" href="/" data-close autofocus>Done</a></footer>`;
  body.replaceChildren(section);
  dialog.showModal();
}

export function startKeys() {
  document.addEventListener("keydown", (event) => {
    const writes = event.target.matches("input:not([type='checkbox']), textarea, select");
    if (event.key === "Escape" && event.target.id === "q") { event.preventDefault(); event.target.blur(); } // it would be emptied
    if (writes || event.ctrlKey || event.metaKey || event.altKey || find("#dialog").open) return;
    const act = DO[event.key];
    if (act && !find("#popup:popover-open")) { event.preventDefault(); act(); }
  });
  document.addEventListener("click", (event) => { if (event.target.closest("[data-do='keys']")) help(); });
}
