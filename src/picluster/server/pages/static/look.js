// Theme, density and columns change at once; the cookie that the service reads is set by the same form as without script.

import { all, fetchPart, find, on } from "./page.js";

const NEXT = { auto: "light", light: "dark", dark: "auto" };
const root = document.documentElement;

async function choose(button, event) {
  event.preventDefault();
  const form = button.closest("form");
  const answer = await fetchPart(form.getAttribute("action"), { method: "POST", body: new URLSearchParams({ [button.name]: button.value, next: "/" }) });
  if (answer.status !== 204) { form.requestSubmit(button); return; }
  root.dataset[button.name] = button.value;
  if (button.name === "theme") { location.reload(); return; }
  for (const other of all(`button[name="${button.name}"]`, form)) other.removeAttribute("aria-current");
  button.setAttribute("aria-current", "true");
}

export function startLook() {
  on("click", "[data-do='look'], [data-do='theme']", choose);
  root.dataset.next = NEXT[root.dataset.theme];
  find("#main").tabIndex = -1;
}
