// The stream: what changes on the pool changes on the page, and the sign in the top bar says whether it does.

import { all, fetchPart, find, morph, parse } from "./page.js";
import { localise, moment, now, synchronise } from "./times.js";
import { beats, rows } from "./list.js";
import { keepsAPlace, stillWaiting } from "./waits.js";

const SILENT_MS = 40_000; // two pings and a half: the stream is dead, whatever the browser thinks
const CONNECTING_MS = 10_000; // longer than a stream takes to begin, on any network that one can work with
const RECONNECTING_MS = 3_000; // shorter gaps are nobody's business
const FIRST_WAIT_MS = 1_000;
const POLL_MS = 15_000;
const TRIES_BEFORE_POLLING = 3;
const LONGEST_WAIT_MS = 15_000;
const HIDDEN_MS = 5_000; // browsers open six connections to one address for all tabs together, and a form needs one
const SPREAD_MS = 500; // what many pages are told at once, they do not ask for at once
const BEHIND_MS = 250;
const BREATH_MS = 10_000; // each breath draws the page sixty times a second

const WORDS = { live: "Live", reconnecting: "Reconnecting", polling: "Every 15 s" };

let source = null, lastId = "", triedAt = 0, heardAt = 0, breathedAt = 0, failures = 0, lostAt = 0, refreshing = null, again = false, timer = 0, polled = 0;
let mine; // how many machines are mine
let resting = false, rest = 0; // whether nobody looks, so that there is no stream

function sign(state) {
  document.documentElement.dataset.live = state;
  const word = find("#sign .word");
  const text = WORDS[state] ?? `Stale, last news ${moment(heardAt, "clock")}`;
  if (word.textContent !== text) word.textContent = text;
  find("#sign").hidden = false;
}

function connect() {
  const main = find("#main");
  if (!main.dataset.stream) return;
  source?.close();
  clearTimeout(timer);
  triedAt = now();
  const url = new URL(main.dataset.stream, location.href);
  if (lastId) url.searchParams.set("after", lastId);
  source = new EventSource(url);
  source.onerror = lost;
  listen("hello", hello);
  listen("resync", (data) => { hello(data); soon(); });
  listen("ping", (data) => { synchronise(data.now); alive(); stillWaiting(); });
  listen("bye", lost);
  listen("changed", find("#list") ? soon : refresh);
  listen("beats", beats);
  listen("parts", parts, false);
  listen("rows", rows, false);
}

function listen(kind, act, json = true) {
  const from = source;
  from.addEventListener(kind, (event) => {
    if (from !== source) return;
    heardAt = now();
    breathe();
    if (event.lastEventId) lastId = event.lastEventId;
    act(json ? JSON.parse(event.data) : event.data);
  });
}

/** One breath of the sign for news; where there are always some, now and then. */
function breathe() {
  if (heardAt - breathedAt < BREATH_MS) return;
  breathedAt = heardAt;
  find("#sign .dot").classList.add("news");
}

/** The stream begins. It may be for somebody else: in another tab one has logged out, or in as another. */
function hello(data) {
  synchronise(data.now);
  alive();
  if (data.viewer !== undefined && data.viewer !== document.body.dataset.mark) reload();
}

/** The page anew; but a dialog is finished first, since its answer says the same and keeps what was typed. */
function reload() {
  const dialog = find("#dialog");
  if (dialog.open) dialog.addEventListener("close", () => location.reload(), { once: true }); else location.reload();
}

/** The stream is there. Whatever was missed while it was not has come with it, or is fetched. */
function alive() {
  if (polled) { polled = 0; refresh(); }
  failures = 0;
  lostAt = 0;
  sign("live");
}

/** It broke off, or did not come about; only that counts as a failure. */
function lost() {
  source?.close();
  source = null;
  if (lostAt) failures += 1;
  lostAt ||= now();
  clearTimeout(timer);
  timer = setTimeout(connect, Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** Math.min(failures, 4)) * (0.75 + Math.random() / 2));
  look();
}

/** How fresh the page is, said in the top bar; and asked for, when no stream comes through. */
function look() {
  if (resting) return;
  const silent = now() - Math.max(triedAt, heardAt);
  if (source && silent > (lostAt ? CONNECTING_MS : SILENT_MS)) { lost(); return; }
  if (!lostAt || now() - lostAt < RECONNECTING_MS) return;
  if (failures < TRIES_BEFORE_POLLING) { sign("reconnecting"); return; }
  if (now() - polled >= POLL_MS) { polled = now(); refresh(); }
}

const soon = () => setTimeout(refresh, Math.random() * SPREAD_MS);

/** Whether an answer is older than what the stream has brought meanwhile: it must not be put over that. */
const behind = (answer) => revision(answer.at) < revision(lastId);
const revision = (at) => Number((at || "0.0").split(".")[1]);

/** The live parts of this page, as they are now. One at a time; what comes meanwhile is one more. */
export async function refresh() {
  if (refreshing) { again = true; return; }
  refreshing = fetchPart(location.href);
  const answer = await refreshing;
  refreshing = null;
  if (answer.ok && behind(answer)) {
    setTimeout(refresh, BEHIND_MS);
  } else if (answer.ok) {
    const fresh = parse(answer.html);
    for (const selector of (find("#main").dataset.polls || "").split(" ").filter(Boolean)) {
      const mine = find(selector), theirs = find(selector, fresh);
      if (mine && theirs) morph(mine, theirs);
    }
    localise();
    document.dispatchEvent(new Event("refreshed"));
    if (failures >= TRIES_BEFORE_POLLING) { heardAt = now(); sign("polling"); }
  } else if (answer.status === 401 || answer.status === 404) { // logged out; or what it shows is no more
    reload();
  } else if (failures >= TRIES_BEFORE_POLLING) {
    sign("stale");
  }
  if (again) { again = false; refresh(); }
}

/** The head of the page: each element takes the place of the one with its id. */
function parts(html) {
  const fresh = parse(html);
  for (const element of all("[id]", fresh)) {
    const mine = document.getElementById(element.id);
    if (mine) morph(mine, element);
  }
  for (const count of all("output[data-count]", fresh)) {
    for (const mine of all(`[data-count="${count.dataset.count}"]`)) mine.textContent = count.textContent;
  }
  if (find("#list")) document.title = find("title", fresh)?.textContent ?? document.title;
  localise();
  const count = find("output[data-count='mine']", fresh)?.textContent ?? "0";
  if (mine !== undefined && count !== mine) stillWaiting();
  mine = count;
  document.dispatchEvent(new Event("refreshed"));
}

/** Another search or page is shown without a new document: its news, from now on. */
export function follow(stream, at = "") {
  find("#main").dataset.stream = stream;
  lastId = at;
  connect();
}

/** A page that nobody looks at has no stream; it goes on from where it was. But a place in the queue is kept. */
function see() {
  clearTimeout(rest);
  if (!document.hidden) {
    if (resting) { resting = false; lostAt = now(); connect(); }
  } else if (!keepsAPlace()) {
    rest = setTimeout(pause, HIDDEN_MS);
  }
}

function pause() {
  resting = true;
  clearTimeout(timer);
  source?.close();
  source = null;
}

export function startLive() {
  if (!find("#main").dataset.stream) return;
  heardAt = lostAt = now();
  lastId = document.body.dataset.at;
  if (document.hidden && !keepsAPlace()) pause(); else connect();
  document.addEventListener("visibilitychange", see);
  find("#sign .dot").addEventListener("animationend", (event) => event.target.classList.remove("news"));
  setInterval(look, 1000);
  addEventListener("online", () => { if (!resting) connect(); });
  addEventListener("pageshow", (event) => { if (event.persisted) { connect(); refresh(); } });
  addEventListener("pagehide", () => source?.close());
}
