// Places in the queue that this browser keeps: as long as one of its pages is open, it says so at each ping of the
// stream. (A timer would not do: browsers let the timers of hidden pages sleep.) When the turn comes, it tells.

import { fetchPart, kept } from "./page.js";

/** Whose places: somebody else may log in here meanwhile. */
const where = () => `waits.${document.body.dataset.viewer}`;
const known = () => JSON.parse(kept.get(where()) ?? "[]");
const keep = (ids) => kept.set(where(), JSON.stringify([...new Set(ids)]));

/** Whether this tab has begun to wait for something: it says that it is there even while nobody looks at it. */
export const keepsAPlace = () => kept.get("keeps", "sessionStorage") !== null && known().length > 0;

/** From now on this place is kept. */
export function begin(id) { kept.set("keeps", "yes", "sessionStorage"); keep([...known(), id]); }

/** Left, granted or lost. */
export function end(id) { keep(known().filter((other) => other !== id)); }

/** Say that we are still here, for each place; what has come of it is told by `came`. */
export async function stillWaiting() {
  for (const id of known()) {
    const answer = await fetchPart(`/waiting/${id}/still`, { method: "POST", body: new URLSearchParams() });
    const isOpen = answer.status === 204 || answer.status === 401 || !answer.status || answer.status >= 500;
    if (isOpen || !known().includes(id)) continue; // still waiting, or another tab has told it
    end(id);
    document.dispatchEvent(new CustomEvent("came", { detail: { id, answer } }));
  }
}

export function startWaits() {
  stillWaiting();
}
