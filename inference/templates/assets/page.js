// Keeps the page fresh and sends its forms without a page load. Without this script the page works
// by plain forms and links, and by loading it again.
(() => {
  "use strict";
  const EVERY_MS = 10_000;
  const status = document.getElementById("status");
  let paused = false;
  let busy = false;

  const say = (text) => { status.textContent = text; };

  // Takes main and the clock from a whole page; what the reader opened or focused stays so.
  const show = (html) => {
    const page = new DOMParser().parseFromString(html, "text/html");
    const fresh = page.querySelector("main");
    if (!fresh) return false;
    for (const details of document.querySelectorAll("details[id][open]")) {
      fresh.querySelector(`details[id="${CSS.escape(details.id)}"]`)?.setAttribute("open", "");
    }
    const focused = path(document.activeElement);
    document.querySelector("main").replaceWith(fresh);
    for (const selector of ["#clock", "nav"]) {
      const part = page.querySelector(selector);
      if (part) document.querySelector(selector)?.replaceWith(part);
    }
    document.title = page.title;
    focused?.()?.focus({ preventScroll: true });
    return true;
  };

  // How to find an element again: the nth focusable one of the nearest element with an id.
  const path = (element) => {
    const home = element?.closest("main [id]");
    if (!home) return null;
    const list = (root) => [root, ...root.querySelectorAll("a, button, input, summary, [tabindex]")];
    const index = list(home).indexOf(element);
    return () => {
      const again = document.getElementById(home.id);
      return again && list(again)[index];
    };
  };

  const isEdited = () =>
    [...document.querySelectorAll("main input:not([type=hidden])")].some((i) => i.value || i === document.activeElement);

  // An error stays until it is read, and what is being written is not taken away.
  const isBusy = () => busy || paused || document.hidden || document.querySelector("main .error") || isEdited();

  const refresh = async () => {
    if (isBusy()) return;
    busy = true;
    try {
      const response = await fetch(location.pathname, { headers: { accept: "text/html" } });
      const html = await response.text();
      // A form may have been sent or a note begun meanwhile.
      if (!paused && !isEdited()) show(html);
      document.body.classList.remove("offline");
    } catch {
      document.body.classList.add("offline");
    } finally {
      busy = false;
    }
  };

  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (form.method !== "post") return;
    event.preventDefault();
    const body = new URLSearchParams(new FormData(form, event.submitter));
    for (const button of form.querySelectorAll("button")) button.disabled = true;
    busy = true;
    try {
      const response = await fetch(form.getAttribute("action"), { method: "POST", body });
      const html = await response.text();
      const { done, focus } = form.dataset;
      if (!show(html)) throw new Error("no page in the answer");
      if (response.ok) {
        say(done ?? "Done");
        const target = document.getElementById(focus ?? "main");
        if (target && !target.hasAttribute("tabindex")) target.setAttribute("tabindex", "-1");
        target?.focus({ preventScroll: true });
      } else {
        document.getElementById("main")?.focus();
        scrollTo(0, 0);
      }
    } catch {
      for (const button of form.querySelectorAll("button")) button.disabled = false;
      document.body.classList.add("offline");
      say("The server did not answer. Nothing was stored.");
    } finally {
      busy = false;
    }
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
    if (!paused) refresh();
  });
  document.querySelector(".bar")?.append(pause);
  setInterval(refresh, EVERY_MS);
  document.addEventListener("visibilitychange", refresh);
})();
