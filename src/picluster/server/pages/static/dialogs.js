// Dialogs, menus and the buttons of rows: the pages of the same addresses, shown in place. Never optimistic: what is on
// the page changes when the service has said so.

import { all, announce, fetchPart, find, givesBack, kept, on, parse, quoted } from "./page.js";
import { localise, moment, now } from "./times.js";
import { begin, end } from "./waits.js";

const UNDO_S = 10;
const LENGTHS = { s: 1, m: 60, h: 3600, d: 86400 };

const dialog = find("#dialog"), body = find("#dialog-body"), popup = find("#popup");
let opener = null, row = null;

// Opening and closing

async function open(url) {
  const menu = popup.contains(document.activeElement);
  if (!dialog.open && !menu) from(document.activeElement);
  popup.hidePopover?.();
  show(await fetchPart(url));
}

/** Where one was, to be back there afterwards. */
function from(element) {
  opener = element;
  row = element?.closest("tr.machine")?.id;
}

/** A button that is gone has had its row change meanwhile: there is a new one in its place. */
function back() {
  const known = opener?.isConnected && opener !== document.body ? opener : document.getElementById(row);
  const place = known && known !== opener ? find("[data-key]", known) ?? known : known;
  place?.focus({ preventScroll: true });
}

function show(answer) {
  if (answer.redirect) { location.assign(answer.redirect); return; }
  if (!answer.status) answer.html = away();
  if (!answer.html) return;
  const fresh = parse(answer.html), told = find("[data-announce]", fresh);
  if (told) { announce(told.textContent); if (dialog.open) close(); return; }
  body.replaceChildren(fresh);
  arrived(body);
  if (!dialog.open) dialog.showModal();
  (find("[autofocus]", body) ?? find("[data-main]", body) ?? find("a, button", body))?.focus();
}

const away = () => `<section class="sheet"><header class="answer st-offline"><div><h1 id="dialog-title">The service did not answer.</h1><p class="mute">Nothing was changed, as far as is known here. Try again in a moment; the same form is the same request.</p></div></header><footer class="dialog-foot bare"><span class="room"></span><a class="btn btn-ink" href="/" data-close data-main>Close</a></footer></section>`;

function close() {
  dialog.close();
}

/** New HTML has come into the dialog: its command, its times, what it counts. */
function arrived(within) {
  localise(within);
  for (const form of all("form[data-command]", within)) { recall(form); compose(form); ends(form); }
  for (const wait of all("[data-wait]", within)) if (document.body.dataset.viewer) begin(wait.dataset.wait);
  for (const keys of all("[data-remember-keys] [name='keys']", within)) keys.value ||= kept.get("keys") ?? "";
  for (const undo of all("[data-undo]", within)) countDown(undo);
}

// What was typed

const draftOf = (form) => `draft.${form.getAttribute("action")}`;
const texts = (form) => all("input.form-control, textarea.form-control", form).filter((field) => field.name !== "keys");

/** Kept in this tab until it is sent or cancelled: the back button and a slip to Esc lose nothing. */
function draft(form) {
  kept.set(draftOf(form), JSON.stringify(texts(form).map((field) => [field.name, field.value])), "sessionStorage");
}

function recall(form) {
  const typed = new Map(JSON.parse(kept.get(draftOf(form), "sessionStorage") || "[]"));
  for (const field of texts(form)) field.value = typed.get(field.name) ?? field.value;
}

const forget = (form) => kept.set(draftOf(form), "", "sessionStorage");

function countDown(button, left = UNDO_S) {
  if (!button.isConnected) return;
  find("[data-left]", button).textContent = `${left} s`;
  if (left) setTimeout(countDown, 1000, button, left - 1); else button.closest("form").remove();
}

// The same in a terminal

/** The command follows the fields as one types: arguments where `{word}` or `{labels}` stands, options behind. */
function compose(form) {
  const shown = find("#command", form);
  if (!shown) return;
  const options = [];
  let line = form.dataset.command;
  for (const field of all("[data-flag]", form)) {
    if (field.matches("[type='radio'], [type='checkbox']") && !field.checked) continue;
    const { flag, was } = field.dataset, value = field.dataset.value ?? field.value.trim();
    if (flag === "{labels}") line = line.replace(flag, () => labels(value, was));
    else if (flag === "{word}") line = line.replace(flag, () => (value || !field.placeholder ? quoted(value) : field.placeholder));
    else if (value) options.push(`${flag} ${quoted(value)}`);
    else if (field.dataset.value !== undefined) options.push(flag);
  }
  line = line.includes("{options}") ? line.replace("{options}", () => options.join(" ")) : [line, ...options].join(" ");
  find("code", shown).textContent = line;
  find("[data-copy]", shown).dataset.copy = line;
}

/** `rack:b -old` as the command line takes it, `rack=b old-`; and what was there before and is no more. The words are
    quoted as for a shell already. */
function labels(text, was = "") {
  const words = text.match(/(?:[^\s'"]|'[^']*'|"[^"]*")+/g) ?? [];
  const keys = words.map((word) => /[A-Za-z][\w.-]*/.exec(word)?.[0]);
  const gone = was.split(" ").filter((key) => key && !keys.includes(key)).map((key) => `${key}-`);
  return [...words.map((word) => (word.startsWith("-") ? `${word.slice(1)}-` : word.replace(":", "="))), ...gone].join(" ");
}

/** The end as a clock time beside the durations, and what the button will do. */
function ends(form) {
  const chosen = find("[name='for']:checked", form), place = find("[data-ends]", form), button = find("[data-main]", form);
  if (!chosen || !place) return;
  const [, amount, unit] = /^(\d+)([smhd])$/.exec(chosen.value) ?? [];
  place.textContent = amount ? `until ${moment(now() + amount * LENGTHS[unit] * 1000, "clock")}` : "until you unlock it";
  button.dataset.verb ??= button.textContent.trim();
  button.textContent = amount ? `${button.dataset.verb} for ${amount} ${unit}` : `${button.dataset.verb} without an end`;
}

// Sending

async function send(form, button) {
  const said = new URLSearchParams(new FormData(form));
  if (button?.name) said.set(button.name, button.value);
  givesBack(form.getAttribute("action"), said);
  const word = button?.textContent;
  if (button) { button.disabled = true; if (button.dataset.busy) button.textContent = button.dataset.busy; }
  const answer = await fetchPart(form.getAttribute("action"), { method: "POST", body: said });
  if (button?.isConnected) {
    button.disabled = false;
    if (button.textContent === button.dataset.busy) button.textContent = word; // else its row has changed meanwhile
  }
  if (answer.ok || answer.redirect) forget(form);
  if (form.dataset.leaves) end(form.dataset.leaves);
  if (find("[name='keys']", form)?.value) kept.set("keys", find("[name='keys']", form).value);
  return answer;
}

/** A button of a row: its row changes by the stream; only a refusal needs words. */
async function act(form, event) {
  event.preventDefault();
  from(event.submitter);
  show(await send(form, event.submitter));
  if (!dialog.open && document.activeElement === document.body) back();
}

async function inDialog(form, event) {
  event.preventDefault();
  const answer = await send(form, event.submitter ?? find("[data-main]", form));
  const failed = !answer.status || answer.status === 403 || answer.status === 413 || answer.status === 429 || answer.status >= 500;
  if (failed && form.isConnected) complain(form, answer); else show(answer);
}

/** The service could not do it now: said inside the form, where what was typed still stands. */
function complain(form, answer) {
  const said = parse(answer.html || away()), box = find(".trouble", form) ?? document.createElement("div");
  const [what, hint] = [find("h1", said), find(".mute", said)].map((place) => place?.textContent ?? "");
  Object.assign(box, { className: "trouble", role: "alert" });
  const words = document.createElement("div");
  words.append(Object.assign(document.createElement("b"), { textContent: what }), document.createElement("br"), hint);
  box.replaceChildren(words);
  const head = find(".dialog-head", form);
  if (head) head.after(box); else form.prepend(box);
}

let came = null;

/** The turn has come, or the place is lost: told at once, or when the dialog that is open is done with. */
function tell({ id, answer }) {
  const title = find("#dialog-title", parse(answer.html))?.textContent ?? "";
  if (!title) return;
  announce(title);
  document.title = `● ${title}`;
  if (!dialog.open) from(document.activeElement);
  if (!dialog.open || find(`[data-wait="${CSS.escape(id)}"]`, dialog)) show(answer); else came = answer;
}

async function menu(link, event) {
  if (!popup.showPopover || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  const answer = await fetchPart(link.href);
  const found = find(".menu", parse(answer.html));
  if (!found) { show(answer); return; }
  from(link);
  popup.replaceChildren(found);
  popup.showPopover();
  const anchor = link.getBoundingClientRect(), room = popup.getBoundingClientRect();
  popup.style.left = `${Math.max(8, anchor.right - room.width)}px`;
  popup.style.top = `${anchor.bottom + room.height > innerHeight ? Math.max(8, anchor.top - room.height) : anchor.bottom + 4}px`;
  find("a, button", popup)?.focus();
}

async function copy(button) {
  try { await navigator.clipboard.writeText(button.dataset.copy); } catch { byHand(button.dataset.copy); }
  button.classList.add("copied");
  announce("Copied.");
  setTimeout(() => button.classList.remove("copied"), 1500);
}

/** Plain HTTP on a LAN gives pages no clipboard. */
function byHand(text) {
  const field = Object.assign(document.createElement("textarea"), { value: text, className: "visually-hidden" });
  (dialog.open ? dialog : document.body).append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}

export const openDialog = open;

export function startDialogs() {
  on("click", "[data-dialog]", (link, event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    open(link.href);
  });
  on("click", "[data-popup]", menu);
  on("click", ".dialog-foot [data-close], .close", (link) => { const form = link.closest("form"); if (form) forget(form); });
  on("click", "[data-close]", (link, event) => { if (dialog.open) { event.preventDefault(); close(); } });
  on("click", "[data-do='seen']", () => find("#note").hidePopover());
  on("click", "[data-copy]", (button, event) => { event.preventDefault(); copy(button); });
  on("click", ".drop", (details, event) => { event.stopPropagation(); });
  on("submit", "form[data-act]", act);
  document.addEventListener("submit", (event) => { if (dialog.contains(event.target) && event.target.method === "post" && !event.target.matches("[data-plain]")) inDialog(event.target, event); });
  on("submit", "form[data-bulk]", (form, event) => {
    event.preventDefault();
    const said = new URLSearchParams(new FormData(form));
    said.set(event.submitter.name, event.submitter.value);
    open(`${form.getAttribute("action")}?${said}`);
  });
  on("input", "form[data-command] *", (field) => { const form = field.closest("form"); draft(form); compose(form); ends(form); });
  on("change", "form[data-command] *", (field) => { const form = field.closest("form"); compose(form); ends(form); });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) close(); });
  dialog.addEventListener("close", () => { if (find("[data-news]", body)) location.reload(); body.replaceChildren(); back(); if (came) { show(came); came = null; } });
  document.addEventListener("came", (event) => tell(event.detail));
  popup.addEventListener("keydown", (event) => {
    const items = all("a, button", popup), at = items.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: items.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    items[(to + items.length) % items.length].focus();
  });
  popup.addEventListener("toggle", (event) => { if (event.newState === "closed" && popup.contains(document.activeElement)) back(); });
  document.addEventListener("click", (event) => {
    for (const details of all(".drop[open]")) if (!details.contains(event.target)) details.open = false;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") for (const details of all(".drop[open]")) { details.open = false; find("summary", details).focus(); }
  });
  arrived(find("#main"));
}
