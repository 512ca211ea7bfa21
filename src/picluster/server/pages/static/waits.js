// Places in the queue that this browser keeps: as long as one of its pages is open, it says so at each ping of the
// stream. (A timer would not do: browsers let the timers of hidden pages sleep.) When the turn comes, it tells.

import { announce, fetchPart, find, kept, parse } from "./page.js";

const known = () => JSON.parse(kept.get("waits") ?? "[]");
const keep = (ids) => kept.set("waits", JSON.stringify([...new Set(ids)]));

/** From now on this place is kept. */
export function begin(id) { keep([...known(), id]); }

/** Left, granted or lost. */
export function end(id) { keep(known().filter((other) => other !== id)); }

/** Say that we are still here, for each place. */
export async function stillWaiting() {
  for (const id of known()) {
    const answer = await fetchPart(`/waiting/${id}/still`, { method: "POST", body: new URLSearchParams() });
    if (answer.status === 204 || !answer.status || answer.status >= 500 || answer.status === 401) continue;
    end(id);
    tell(answer);
  }
}

function tell(answer) {
  const dialog = find("#dialog"), body = find("#dialog-body");
  const title = find("#dialog-title", parse(answer.html))?.textContent ?? "Your turn has come.";
  announce(title);
  document.title = `● ${title}`;
  if (dialog.open || !answer.html) return;
  body.replaceChildren(parse(answer.html));
  dialog.showModal();
}

export function startWaits() {
  document.addEventListener("refreshed", () => { if (known().length) stillWaiting(); });
  if (known().length) stillWaiting();
}
