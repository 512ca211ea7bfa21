// The list of machines: rows that change in place, a search that answers while one types, and a selection.

import { all, announce, fetchPart, find, isGivenBack, kept, morph, notify, on, parse } from "./page.js";
import { follow } from "./live.js";
import { localise } from "./times.js";

const SEARCH_MS = 200;
const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

// Rows

/** Rows as they are now; those with `data-gone` have left. */
export function rows(html) {
  const table = find("table.pool");
  if (!table) { if (html.trim() && !find("#q-problem")) document.dispatchEvent(new Event("wanted")); return; }
  for (const row of all("tr", parse(`<table><tbody>${html}</tbody></table>`))) {
    const mine = document.getElementById(row.id);
    if (row.dataset.gone !== undefined) { tell(mine, null); mine?.remove(); } else put(table, mine, row);
  }
  localise(table);
  recount(table);
}

function put(table, mine, row) {
  tell(mine, row);
  if (!mine && find(".pages")) return; // on another page of the list, perhaps
  const { state, group } = mine?.dataset ?? {};
  if (mine) holding(mine, () => { morph(mine, row); if (group !== mine.dataset.group) settle(table, mine); });
  else settle(table, row);
  if (state !== row.dataset.state) glow(document.getElementById(row.id));
}

/** Into its group, by name; a list in another order is for the service to put in order. */
function settle(table, row) {
  const group = find(`tbody[data-group="${row.dataset.group}"]`, table);
  const after = all("tr.machine", group).find((other) => collator.compare(other.dataset.name, row.dataset.name) > 0);
  group.hidden = false; // nothing in it could have the focus
  group.insertBefore(row, after ?? null);
  if (table.dataset.sort !== "name") document.dispatchEvent(new Event("wanted"));
}

/** Whatever happens to the row: who was in it with the keyboard is there afterwards, if need be at its new button. */
function holding(row, change) {
  const held = document.activeElement;
  if (!row.contains(held)) { change(); return; }
  change();
  if (document.activeElement === held) return;
  const place = held.isConnected ? held : find("[data-key]", row) ?? row;
  place.focus({ preventScroll: true });
}

function glow(row) {
  if (!row) return;
  row.classList.add("glow");
  row.addEventListener("animationend", () => row.classList.remove("glow"), { once: true });
}

/** Only what happens to one's own machines is announced. */
function tell(mine, row) {
  const was = mine?.dataset.group === "mine", is = row?.dataset.group === "mine";
  const name = (row ?? mine)?.dataset.name;
  if (is && !was && mine) announce(`${name} is yours.`);
  if (was && !is && isGivenBack(name)) announce(`${name} is no longer yours.`);
  if (was && !is && !isGivenBack(name)) lose(name);
  if (was && is && mine.dataset.state !== row.dataset.state) announce(`${name}: ${find(".state .word", row).textContent}.`);
}

const lost = new Set();

/** Said until it has been seen, all of them: a whole rack may go at once. */
function lose(name) {
  lost.add(name);
  const where = lost.size > 1 ? "/activity" : `/m/${encodeURIComponent(name)}/history`;
  notify(`${[...lost].join(", ")} ${lost.size > 1 ? "are" : "is"} no longer yours.`, where, "What happened");
}

function recount(table) {
  for (const group of all("tbody[data-group]", table)) {
    const count = all("tr.machine", group).length;
    group.hidden = !count;
    find(".count", group).textContent = count;
  }
  if (!find("tr.machine", table)) document.dispatchEvent(new Event("wanted"));
  chosen();
}

/** Boards have beaten: {name: [temperature, load, beats]}. */
export function beats(told) {
  for (const [name, cells] of Object.entries(told)) {
    const row = document.getElementById(`m-${name}`);
    if (!row) continue;
    ["temp", "load", "beats"].forEach((key, index) => fill(find(`[data-cell="${key}"]`, row), cells[index]));
  }
}

function fill(cell, html) {
  if (!cell || cell.innerHTML === html) return;
  cell.innerHTML = html;
}

// Searching

let typing = 0, asked = 0;

const terms = (text) => text.toLowerCase().split(/\s+/).filter((term) => term && !/[:<>()"*?]/.test(term));

/** At once, by what the rows say themselves: only plain words; the service knows the rest. */
function sift(text) {
  const words = terms(text);
  for (const row of all("table.pool tr.machine")) {
    const said = row.textContent.toLowerCase();
    row.hidden = words.some((word) => (word.length > 1 && word.startsWith("-") ? said.includes(word.slice(1)) : !said.includes(word)));
  }
}

async function search(text, push = false) {
  const url = new URL(location.href);
  if (text) url.searchParams.set("q", text); else url.searchParams.delete("q");
  url.searchParams.delete("page");
  const number = ++asked;
  const answer = await fetchPart(url);
  if (number !== asked || !answer.html) return;
  const fresh = find("#list", parse(answer.html));
  if (!fresh) return;
  const at = fresh.dataset.at;
  morph(find("#list"), fresh);
  history[push ? "pushState" : "replaceState"]({ q: text }, "", url);
  remember(text);
  mark(text);
  localise();
  chosen();
  const sort = url.searchParams.get("sort") ?? "name";
  follow(`/ui/stream?${new URLSearchParams({ page: "machines", q: text, sort })}`, at);
}

function mark(text) {
  for (const chip of all("[data-chip]")) {
    if (chip.dataset.chip === text.trim()) chip.setAttribute("aria-current", "true"); else chip.removeAttribute("aria-current");
  }
  const box = find("#q");
  if (find("#q-problem")) box.setAttribute("aria-invalid", "true"); else box.removeAttribute("aria-invalid");
}

/** Coming back from another page of this tab, one finds the list as one left it. */
function remember(text) {
  kept.set("search", text, "sessionStorage");
  for (const link of all("a[data-remember]")) link.href = text ? `/?${new URLSearchParams({ q: text })}` : "/";
}

// Selecting

const boxes = () => all("table.pool input[name='machine']");

function chosen() {
  const count = boxes().filter((box) => box.checked).length;
  for (const shown of all("[data-count='chosen']")) shown.textContent = count;
  find("#bulk")?.classList.toggle("some", count > 0);
  const every = find("[data-do='all']");
  if (every) { every.checked = count > 0 && count === boxes().length; every.indeterminate = count > 0 && count < boxes().length; }
}

function choose(is) {
  for (const box of boxes()) box.checked = is && !box.closest("tr").hidden;
  chosen();
}

export function startList() {
  const box = find("#q");
  if (!box) {
    const text = kept.get("search", "sessionStorage");
    if (text) remember(text);
    document.addEventListener("wanted", () => location.reload()); // the first machine brings the page of a list with it
    return;
  }
  remember(box.value);
  document.addEventListener("refreshed", () => { mark(box.value); chosen(); });
  document.addEventListener("wanted", () => search(box.value));
  box.addEventListener("input", () => {
    sift(box.value);
    clearTimeout(typing);
    typing = setTimeout(() => search(box.value), SEARCH_MS);
  });
  on("submit", "[data-search]", (form, event) => { event.preventDefault(); clearTimeout(typing); search(box.value); });
  on("click", "[data-chip]", (chip, event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    box.value = chip.dataset.chip;
    search(box.value, true);
  });
  addEventListener("popstate", () => { box.value = new URLSearchParams(location.search).get("q") ?? ""; search(box.value); });
  on("change", "input[name='machine']", chosen);
  on("click", "[data-do='seen']", () => lost.clear());
  on("change", "[data-do='all']", (every) => choose(every.checked));
  on("click", "[data-do='none'], [data-done]", () => choose(false));
  chosen();
}
