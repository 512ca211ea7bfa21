// The record: days are meant where the reader is, empty fields stay out of the address, and what is new glows once.

import { all, find } from "./page.js";

const form = find("form[data-filter]");
let known = new Set(all("#events li").map((row) => row.id));

form.elements.zone.value = new Date().getTimezoneOffset();
form.addEventListener("submit", () => {
  const dated = form.elements.since.value || form.elements.until.value;
  for (const field of form.elements) if (field.name && (!field.value || (field.name === "zone" && !dated))) field.disabled = true;
});
addEventListener("pageshow", () => { for (const field of form.elements) field.disabled = false; });

document.addEventListener("refreshed", () => {
  const rows = all("#events li");
  for (const row of rows) row.classList.toggle("new", !known.has(row.id));
  known = new Set([...known, ...rows.map((row) => row.id)]);
});
