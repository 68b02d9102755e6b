// Reads a chart at one time, in words: where the pointer is, or where the slider below it stands. The words come with the
// page; a fresh page keeps the time that is read.

const wired = new WeakSet();
// In Unix milliseconds; `null`: what was seen last, and nothing is marked.
let at = null;

// Called again after each change of the page.
export function reading() {
  const [chart, slider] = [document.getElementById("chart"), document.getElementById("reading")];
  if (!chart || !slider) {
    at = null;
    return;
  }
  if (!wired.has(slider)) wire(chart, slider);
  show(chart, slider);
}

function wire(chart, slider) {
  wired.add(slider);
  const read = (time) => {
    at = time;
    show(chart, slider);
  };
  const point = ({ clientX, clientY, buttons, pointerType }) => {
    const plot = shownPlot(chart);
    // A pressed button looks closer.
    if (!plot || (buttons && pointerType === "mouse")) return;
    const box = plot.getBoundingClientRect();
    if (clientX < box.left || clientX > box.right || clientY < box.top || clientY > box.bottom) return;
    const { from, to } = plot.dataset;
    read(Number(from) + ((clientX - box.left) / box.width) * (to - from));
  };
  chart.addEventListener("pointermove", point);
  chart.addEventListener("pointerdown", point);
  slider.addEventListener("input", () => read(all()[slider.value]?.[0] ?? null));
  for (const one of [chart, slider]) {
    one.addEventListener("keydown", ({ key }) => {
      if (key === "Escape") read(null);
    });
  }
  addEventListener("resize", () => show(chart, slider));
}

const all = () => JSON.parse(document.getElementById("readings").textContent);
const shownPlot = (chart) => [...chart.querySelectorAll(".fw-plot")].find((one) => one.checkVisibility());

function show(chart, slider) {
  const readings = all();
  const nearest = (time) => readings.reduce((best, [one], i) => (Math.abs(one - time) < Math.abs(readings[best][0] - time) ? i : best), 0);
  const index = at === null ? Number(slider.dataset.newest) : nearest(at);
  const reading = readings[index];
  slider.closest(".reading").hidden = !reading;
  if (!reading) return;
  const [time, height, text] = reading;
  slider.value = index;
  slider.setAttribute("aria-valuetext", text);
  document.getElementById("reading-text").textContent = text;
  mark(chart, at === null ? null : { time, height });
}

// A line over the chart that is shown, and a dot on what was read.
function mark(chart, where) {
  let line = chart.querySelector(".read-at");
  const plot = shownPlot(chart);
  if (!where || !plot) {
    line?.remove();
    return;
  }
  if (!line) {
    line = document.createElement("div");
    line.className = "read-at";
    line.append(document.createElement("i"));
    chart.append(line);
  }
  const [box, home] = [plot.getBoundingClientRect(), chart.getBoundingClientRect()];
  const [from, to] = [Number(plot.dataset.from), Number(plot.dataset.to)];
  const x = box.left - home.left + ((where.time - from) / (to - from)) * box.width;
  Object.assign(line.style, { left: `${x}px`, top: `${box.top - home.top}px`, height: `${box.height}px` });
  line.firstChild.hidden = where.height === null;
  line.firstChild.style.bottom = `${(where.height ?? 0) * 100}%`;
}
