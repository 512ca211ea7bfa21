// What the other modules share: finding, telling, fetching a part of a page, putting HTML into place.

export const find = (selector, within = document) => within.querySelector(selector);
export const all = (selector, within = document) => [...within.querySelectorAll(selector)];

/** Calls `act(element, event)` for events on whatever matches, now or later. */
export function on(kind, selector, act) {
  document.addEventListener(kind, (event) => {
    const element = event.target instanceof Element && event.target.closest(selector);
    if (element) act(element, event);
  });
}

/** Told to those who cannot see it: once, when they have nothing else to listen to. */
export function announce(text) {
  const region = find("#announce");
  region.textContent = "";
  requestAnimationFrame(() => { region.textContent = text; });
}

/** Said until it has been seen, above whatever is open: what one would want to know when one comes back. */
export function notify(text, href, word) {
  const note = find("#note"), link = find("a", note);
  note.hidePopover?.();
  note.showPopover?.(); // a status has to be there before its words are
  find("span", note).textContent = text;
  Object.assign(link, { href, textContent: word });
}

const OWN_MS = 10_000; // longer than the stream takes to tell what one has done oneself
const own = new Map();

/** What is sent from this window gives these machines back; `*` is all of a lease that was left. */
export function givesBack(address, said) {
  const [, name] = /^\/m\/([^/]+)\/(?:unlock|delete)$/.exec(address) ?? [];
  const names = name ? [decodeURIComponent(name)] : address.startsWith("/waiting/") ? ["*"] : [];
  if (address === "/bulk" && said.get("do") === "unlock") names.push(...said.getAll("machine"));
  for (const one of names) own.set(one, Date.now());
}

/** Whether it was given back from here. */
export const isGivenBack = (name) => [name, "*"].some((one) => Date.now() - (own.get(one) ?? 0) < OWN_MS);

/** A part of a page as text: {ok, status, html, redirect, at}. Never throws; no answer at all is status 0. */
export async function fetchPart(url, options = {}) {
  const late = setTimeout(() => busy(true), 400);
  try {
    const headers = { "HX-Request": "true", Accept: "text/html", ...options.headers };
    const answer = await fetch(url, { ...options, headers, credentials: "same-origin" });
    const html = answer.status === 204 ? "" : await answer.text();
    return { ok: answer.ok, status: answer.status, html, redirect: answer.headers.get("HX-Redirect"), at: answer.headers.get("X-Picluster-At") };
  } catch {
    return { ok: false, status: 0, html: "", redirect: null, at: null };
  } finally {
    clearTimeout(late);
    busy(false);
  }
}

/** A line under the top bar, for what takes longer than a moment. */
function busy(is) {
  const line = find(".busy-line");
  if (is && !line) document.body.append(Object.assign(document.createElement("div"), { className: "busy-line" }));
  if (!is && line) line.remove();
}

/** Elements of a piece of HTML; table rows need a table around them to be read as such. What is for pages without script
    goes: a template is read as if there were none, and what stands in it would come to life. */
export function parse(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  for (const other of all("noscript", template.content)) other.remove();
  return template.content;
}

/** Lets an element become like another one, with focus, selection, open menus and what is being typed kept. */
export function morph(element, like) {
  if (element.isEqualNode(like)) return;
  window.Idiomorph.morph(element, like, {
    morphStyle: "outerHTML",
    ignoreActiveValue: isField(document.activeElement), // of anything else it would keep what is in it, of a whole row even
    callbacks: {
      beforeNodeMorphed(old, fresh) {
        if (old.nodeType !== Node.ELEMENT_NODE) return true;
        if (old.tagName === "DETAILS" && old.open) fresh.setAttribute("open", "");
        if (old.matches("input[name='machine']") && old.checked) fresh.checked = true;
        if (old.matches("tr.machine")) keepRow(old, fresh);
        return !(old.matches("form") && isTypedIn(old));
      },
    },
  });
}

/** What only this window knows of a row: where the keyboard is, and what the search has put away. */
function keepRow(old, fresh) {
  for (const mark of ["at", "glow"]) if (old.classList.contains(mark)) fresh.classList.add(mark);
  fresh.hidden = old.hidden;
}

const isField = (element) => Boolean(element?.matches("input, textarea, select"));
const isTypedIn = (form) => form.contains(document.activeElement) && isField(document.activeElement);

/** How one says it in a shell. */
export const quoted = (word) => (/^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`);

/** What is kept for this tab or browser; a browser that keeps nothing is fine, too. */
export const kept = {
  get(key, store = "localStorage") { try { return window[store].getItem(`picluster.${key}`); } catch { return null; } },
  set(key, value, store = "localStorage") { try { window[store].setItem(`picluster.${key}`, value); } catch { /* private mode */ } },
};
