// Keys for those who keep their hands on them; `?` shows which. Nothing here is the only way to do something.

export function keys() {
  const dialog = document.getElementById("keys");
  document.addEventListener("keydown", (event) => {
    const at = event.target;
    const writes = at.matches?.("input, select, textarea") && at.type !== "checkbox";
    if (writes || event.ctrlKey || event.metaKey || event.altKey || dialog.open) return;
    const isEntry = at.matches?.("[data-entry]");
    const act = {
      j: () => step(1),
      k: () => step(-1),
      ArrowDown: isEntry && (() => step(1)),
      ArrowUp: isEntry && (() => step(-1)),
      "/": () => document.querySelector("form[data-live] input")?.select(),
      x: () => at.closest("tr, li")?.querySelector("input[type=checkbox]")?.click(),
      u: () => document.querySelector("#toast form button")?.click(),
      "?": () => dialog.showModal(),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
}

// To the next entry from where the focus is; from the edge it stays.
function step(by) {
  const entries = [...document.querySelectorAll("main [data-entry]")].filter((entry) => entry.checkVisibility());
  const focused = document.activeElement;
  const index = entries.indexOf(focused);
  const home = index < 0 ? focused.closest("article, tr, li")?.querySelector("[data-entry]") : null;
  const from = home ? entries.indexOf(home) : index;
  const next = entries[Math.min(Math.max(from + by, 0), entries.length - 1)];
  if (!next) return;
  next.focus({ preventScroll: true });
  next.closest("article, tr, li")?.scrollIntoView({ block: "nearest" });
}
