// Keeps the page fresh, follows its filters and sends its forms, all without a page load. Without this script the page
// works by plain forms and links, and by loading it again.
import { morph } from "./morph.js";
import { keys } from "./keys.js";
import { reading } from "./reading.js";
import { zoom } from "./zoom.js";

const EVERY_MS = 5_000;
const TOAST_MS = 12_000;
const $ = (selector) => document.querySelector(selector);
let [paused, busy, tag] = [false, false, null];

document.documentElement.classList.add("js");

const say = (text) => { $("#status").textContent = text; };
const offline = (is) => document.body.classList.toggle("offline", is);

// Takes what differs from a whole page.
function show(html) {
  const page = new DOMParser().parseFromString(html, "text/html");
  if (!page.querySelector("main")) return null;
  const focused = document.activeElement;
  for (const selector of ["main", "#nav", "#clock"]) {
    const [old, fresh] = [$(selector), page.querySelector(selector)];
    if (old && fresh) morph(old, fresh);
  }
  document.title = page.title;
  // What moved in the tree has lost the focus on the way.
  if (focused !== document.activeElement && focused?.isConnected) focused.focus({ preventScroll: true });
  zoom(swap);
  reading();
  return page;
}

async function load(url) {
  const headers = { accept: "text/html", ...(tag && { "if-none-match": tag }) };
  const response = await fetch(url, { headers, cache: "no-store" });
  if (response.status === 304) return;
  tag = response.headers.get("etag");
  show(await response.text());
}

// An error stays until it is read; a hidden page asks for nothing.
const rests = () => busy || paused || document.hidden || $("main .error");

async function refresh() {
  if (rests()) return;
  busy = true;
  try {
    await load(location.pathname + location.search);
    offline(false);
  } catch {
    offline(true);
  } finally {
    busy = false;
  }
}

// Another state of the same page: a filter, a page of the list, a stretch of time.
async function swap(url, how = "push") {
  tag = null;
  history[how === "push" ? "pushState" : "replaceState"](null, "", url);
  try {
    await load(url);
    offline(false);
  } catch {
    offline(true);
  }
}

// A sentence, and what the page sent to undo it with.
function toast(text, form) {
  const box = document.createElement("div");
  box.className = "toast";
  const line = document.createElement("p");
  line.textContent = text;
  box.append(line);
  if (form) box.append(form);
  $("#toast").replaceChildren(box);
  const leave = () => setTimeout(() => (box.matches(":hover, :focus-within") ? leave() : box.remove()), TOAST_MS);
  leave();
}

// Why not, in the server's words: from its error page, or from what the guard before all pages says.
function reason(response, body) {
  if (response.headers.get("content-type")?.includes("json")) return `Not done: ${JSON.parse(body).detail}`;
  const said = new DOMParser().parseFromString(body, "text/html").querySelectorAll(".error h1, .error .detail");
  return [...said].map((part) => part.textContent.trim()).join(": ") || `The server answered ${response.status}`;
}

async function send(form, button) {
  const body = new URLSearchParams(new FormData(form, button));
  const { done = "Done", focus = "main" } = form.dataset;
  const buttons = [...form.querySelectorAll("button")];
  for (const one of buttons) one.disabled = true;
  busy = true;
  try {
    const response = await fetch(form.getAttribute("action"), { method: "POST", body });
    const html = await response.text();
    if (!response.ok) {
      const text = reason(response, html);
      toast(text);
      say(text);
      return;
    }
    tag = null;
    // What was sent is not a draft any more.
    form.reset();
    const fresh = show(html)?.querySelector("#toast .toast");
    toast(fresh?.querySelector("p").textContent ?? `${done}.`, fresh?.querySelector("form"));
    say(done);
    offline(false);
    const target = document.getElementById(focus) ?? $("main");
    if (!target.hasAttribute("tabindex")) target.setAttribute("tabindex", "-1");
    target.focus({ preventScroll: true });
  } catch {
    offline(true);
    toast("The server did not answer. Nothing was stored.");
    say("The server did not answer. Nothing was stored.");
  } finally {
    for (const one of buttons) one.disabled = false;
    busy = false;
  }
}

// What a form leads to, beside the page instead of in its place.
async function aside(form) {
  try {
    const response = await fetch(form.getAttribute("action"), { method: "POST", body: new URLSearchParams(new FormData(form)) });
    const html = await response.text();
    const part = response.ok && new DOMParser().parseFromString(html, "text/html").getElementById(form.dataset.dialog);
    if (!part) {
      toast(reason(response, html));
      return;
    }
    $("#aside > div").replaceChildren(...part.childNodes);
    $("#aside").showModal();
    offline(false);
  } catch {
    offline(true);
    toast("The server did not answer.");
  }
}

// To the clipboard where the browser lets us (it does over TLS and on this machine); else it is marked, to be copied by hand.
async function copy(button) {
  const field = button.parentElement.querySelector("input");
  field.select();
  try {
    await navigator.clipboard.writeText(field.value);
    button.textContent = "Copied";
  } catch {
    field.focus();
    button.textContent = "Marked: copy it";
  }
  say(button.textContent);
}

// The filter as a URL: what is empty is left out.
function filtered(form) {
  const query = new URLSearchParams([...new FormData(form)].filter(([, value]) => value.trim()));
  return form.getAttribute("action") + (query.size ? `?${query}` : "");
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method === "post") {
    event.preventDefault();
    if (form.dataset.dialog) aside(form);
    else send(form, event.submitter);
  } else if ("live" in form.dataset) {
    event.preventDefault();
    swap(filtered(form));
  }
});

let typing;
document.addEventListener("input", (event) => {
  const form = event.target.form;
  if (!form || !("live" in form.dataset)) return;
  clearTimeout(typing);
  typing = setTimeout(() => swap(filtered(form), "replace"), event.target.type === "search" ? 250 : 0);
});

document.addEventListener("change", (event) => {
  if (!event.target.matches("[data-all]")) return;
  for (const box of document.querySelectorAll("main input[form=choose]")) box.checked = event.target.checked;
});

document.addEventListener("click", (event) => {
  if (event.target.matches("[data-copy]")) copy(event.target);
  const link = event.target.closest("a[data-swap]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  swap(link.getAttribute("href")).then(() => { if (link.closest(".pager")) $("#targets, main")?.scrollIntoView(); });
});
addEventListener("popstate", async () => {
  await swap(location.pathname + location.search, "replace");
  // The filter shows what the URL says, not what was typed last.
  for (const form of document.querySelectorAll("form[data-live]")) form.reset();
});

const pause = document.createElement("button");
pause.className = "small";
pause.textContent = "Pause";
pause.setAttribute("aria-pressed", "false");
pause.title = "Stop refreshing the page";
pause.addEventListener("click", () => {
  paused = !paused;
  pause.setAttribute("aria-pressed", String(paused));
  pause.textContent = paused ? "Paused" : "Pause";
  refresh();
});
$(".bar")?.append(pause);

keys();
zoom(swap);
reading();
setInterval(refresh, EVERY_MS);
document.addEventListener("visibilitychange", refresh);
