// Looks closer at a chart: by dragging over it, by keys, back by a double click. The server draws; this only asks for
// another stretch of time, which is then in the URL.

const LEAST_PX = 8;
const wired = new WeakSet();

// `swap` shows another URL of this page. Called again after each change of the page.
export function zoom(swap) {
  const chart = document.getElementById("chart");
  if (!chart || wired.has(chart)) return;
  wired.add(chart);
  const show = (from, to) => swap(`${chart.dataset.path}?from=${Math.round(from)}&to=${Math.round(to)}`);
  const reset = () => swap(chart.dataset.path);

  chart.addEventListener("pointerdown", (event) => {
    const plot = event.target.closest(".fw-plot");
    if (!plot || event.button !== 0) return;
    const [box, home] = [plot.getBoundingClientRect(), chart.getBoundingClientRect()];
    const start = event.clientX;
    const mark = document.createElement("div");
    mark.className = "dragged";
    const inside = (x) => Math.min(Math.max(x, box.left), box.right);
    const draw = (x) => {
      const [a, b] = [start, inside(x)].sort((a, b) => a - b);
      Object.assign(mark.style, { left: `${a - home.left}px`, width: `${b - a}px`, top: `${box.top - home.top}px`, height: `${box.height}px` });
    };
    const move = ({ clientX }) => { chart.append(mark); draw(clientX); };
    const done = ({ type, clientX }) => {
      for (const name of ["pointermove", "pointerup", "pointercancel"]) removeEventListener(name, name === "pointermove" ? move : done);
      mark.remove();
      const [a, b] = [start, inside(clientX)].sort((a, b) => a - b);
      if (type === "pointercancel" || b - a < LEAST_PX) return;
      const { from, span } = shown(plot);
      const at = (x) => from + ((x - box.left) / box.width) * span;
      show(at(a), at(b));
    };
    addEventListener("pointermove", move);
    addEventListener("pointerup", done);
    addEventListener("pointercancel", done);
    event.preventDefault();
    chart.focus({ preventScroll: true });
  });

  chart.addEventListener("dblclick", reset);
  chart.addEventListener("keydown", (event) => {
    const plot = [...chart.querySelectorAll(".fw-plot")].find((one) => one.checkVisibility());
    if (!plot || event.ctrlKey || event.metaKey || event.altKey) return;
    const { from, span } = shown(plot);
    const act = {
      "+": () => show(from + span / 4, from + (3 * span) / 4),
      "=": () => show(from + span / 4, from + (3 * span) / 4),
      "-": () => show(from - span / 2, from + (3 * span) / 2),
      ArrowLeft: () => show(from - span / 4, from + (3 * span) / 4),
      ArrowRight: () => show(from + span / 4, from + (5 * span) / 4),
      0: reset,
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
}

const shown = (plot) => {
  const [from, to] = [Number(plot.dataset.from), Number(plot.dataset.to)];
  return { from, span: to - from };
};
