// Add a machine: the text follows what is chosen, and the address with it, so that it can be bookmarked or sent.

import { fetchPart, find, morph, on, parse } from "./page.js";
import { localise } from "./times.js";

const TYPING_MS = 200; // as in the search of the list

let asking = 0, way = new URLSearchParams(location.search).get("way") ?? "";

/** The text for what is chosen now; an answer that was overtaken is not shown. */
async function tell(after = 0) {
  const number = (asking += 1);
  await new Promise((done) => setTimeout(done, after));
  if (number !== asking) return;
  const said = new URLSearchParams(new FormData(find("#options")));
  for (const [name, value] of [...said]) if (!value || value === "no") said.delete(name);
  if (way) said.set("way", way);
  const answer = await fetchPart(`/add?${said}`);
  const fresh = find("#told", parse(answer.html));
  if (number !== asking || !fresh) return;
  morph(find("#told"), fresh);
  localise(find("#told"));
  history.replaceState(null, "", `/add?${said}`);
  find(".another [name='next']").value = `/add?${said}`;
}

on("change", "#options [type='radio']", () => tell());
on("input", "#options .form-control", () => tell(TYPING_MS));
on("submit", "#options", (form, event) => { event.preventDefault(); tell(); });
on("click", "[data-way]", (link, event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  way = link.dataset.way;
  tell();
});
