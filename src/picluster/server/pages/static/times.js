// Relative times tick in the browser, by the service's clock: a computer that is a minute off shows no nonsense.

import { all } from "./page.js";

let ahead = 0; // the service's clock minus ours, in ms

export const now = () => Date.now() + ahead;

/** The service has said what time it is. */
export function synchronise(theirs) {
  if (theirs) ahead = theirs - Date.now();
}

/** `12 s`, `6 m`, `1 h 12 m`, `3 d`; the pages say the same. */
export function span(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} m`;
  if (whole < 86400) {
    const hours = Math.floor(whole / 3600), minutes = Math.floor((whole % 3600) / 60);
    return minutes && hours < 10 ? `${hours} h ${minutes} m` : `${hours} h`;
  }
  return `${Math.floor(whole / 86400)} d`;
}

/** `1:12:04`, for the one large countdown. */
export function countdown(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const parts = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  const [hours, minutes, rest] = parts.map((part) => String(part).padStart(2, "0"));
  return parts[0] ? `${parts[0]}:${minutes}:${rest}` : `${minutes}:${rest}`;
}

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const DAY = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });

/** `16:42`, `yesterday, 18:40`, `3 Oct, 09:15`. */
export function moment(at, form) {
  const then = new Date(at), today = new Date(now());
  const days = Math.round((new Date(today).setHours(0, 0, 0, 0) - new Date(then).setHours(0, 0, 0, 0)) / 86400000);
  const clock = CLOCK.format(then);
  if (form === "time") return clock;
  if (form === "full") return `${DAY.format(then)} ${then.getFullYear()}, ${clock}`;
  if (days === 0) return form === "day" ? `today, ${clock}` : clock;
  if (days === 1) return `yesterday, ${clock}`;
  if (days === -1) return `tomorrow, ${clock}`;
  return `${DAY.format(then)}, ${clock}`;
}

function tick() {
  const at = now();
  for (const time of all("time[data-at]")) {
    const seconds = (time.dataset.form === "ago" ? at - time.dataset.at : time.dataset.at - at) / 1000;
    const text = time.dataset.form === "countdown" ? countdown(seconds) : (time.dataset.words || "{}").replace("{}", span(seconds));
    if (time.textContent !== text) time.textContent = text;
  }
}

function place(within) {
  for (const time of all("time[data-moment]", within)) put(time);
}

function put(time) {
  const text = moment(time.dateTime, time.dataset.moment);
  if (time.textContent !== text) time.textContent = text;
}

/** After new HTML has come: its times are put into the reader's own. */
export function localise(within = document) {
  place(within);
  tick();
}

export function startTimes() {
  synchronise(Number(document.body.dataset.now));
  localise();
  setInterval(() => { if (!document.hidden) tick(); }, 1000);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) localise(); });
  new MutationObserver((changes) => {
    for (const change of changes) for (const node of change.addedNodes) {
      if (node.nodeType !== Node.ELEMENT_NODE) continue;
      if (node.matches("time[data-moment]")) put(node); else place(node); // of a thousand rows only what is new
    }
  }).observe(document.body, { childList: true, subtree: true });
}
