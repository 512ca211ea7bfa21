// The queue: what a selector would get is told while one types, and the chart moves on with the clock.

import { fetchPart, find, morph, on, parse, quoted } from "./page.js";
import { refresh } from "./live.js";

const TYPING_MS = 200; // as in the search of the list
const MINUTE_MS = 60_000;

let asking = 0;

/** What the pool has of it now; an answer that was overtaken is not shown. */
async function look(form) {
  const number = (asking += 1);
  await new Promise((done) => setTimeout(done, TYPING_MS));
  if (number !== asking || !form.isConnected) return;
  const said = new URLSearchParams({ selector: form.elements.selector.value, count: form.elements.count.value });
  const answer = await fetchPart(`/queue/outlook?${said}`);
  const fresh = find("#outlook", parse(answer.html)), mine = find("#outlook", form);
  if (number === asking && answer.ok && fresh && mine) morph(mine, fresh);
}

/** The machines stand first in the command, and what is as usual is not said. Before `dialogs.js` puts it together. */
function begin(form) {
  form.dataset.command = `picluster wait ${quoted(form.elements.selector.value.trim() || "*")}`;
  const count = form.elements.count;
  if (count.value === "1") delete count.dataset.flag; else count.dataset.flag = "--count";
}

for (const kind of ["input", "change"]) {
  document.addEventListener(kind, (event) => {
    const form = event.target.closest?.("form[data-waiting]");
    if (form) begin(form);
  }, true);
}
on("input", "form[data-waiting] [name='selector'], form[data-waiting] [name='count']", (field) => look(field.form));
setInterval(() => { if (!document.hidden && find("#coming")) refresh(); }, MINUTE_MS);
