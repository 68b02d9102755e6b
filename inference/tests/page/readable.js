// What a reader would stumble over, as a list of sentences.
const problems = [];
const root = document.documentElement;
// Not innerWidth: a phone widens its viewport to what does not fit.
if (root.scrollWidth > root.clientWidth) problems.push(`the page is ${root.scrollWidth} px wide in a window of ${root.clientWidth}`);
for (const box of document.querySelectorAll("main .card *")) {
  const edge = box.closest(".card").getBoundingClientRect().right;
  const scrolls = box.closest(".scroll, pre, svg, .hidden");
  if (!scrolls && box.getBoundingClientRect().right > edge + 1) problems.push(`<${box.localName}> sticks out of its card: ${box.textContent.trim().slice(0, 40)}`);
}

const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
for (const id of new Set(ids.filter((id, i) => ids.indexOf(id) !== i))) problems.push(`id ${id} is there twice`);
for (const control of document.querySelectorAll("button, a, input:not([type=hidden])")) {
  const name = control.getAttribute("aria-label") || control.textContent || control.labels?.[0]?.textContent;
  if (!name?.trim()) problems.push(`a control has no name: ${control.outerHTML}`);
}

const luminance = ([r, g, b]) => {
  const linear = [r, g, b].map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
};
const parts = (color) => color.match(/[\d.]+/g).map(Number);
const background = (element) => {
  for (let e = element; e; e = e.parentElement) {
    const [r, g, b, a] = parts(getComputedStyle(e).backgroundColor);
    if (a === undefined || a > 0.99) return [r, g, b];
  }
  return [255, 255, 255];
};
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (texts.nextNode()) {
  const element = texts.currentNode.parentElement;
  if (!texts.currentNode.data.trim() || !element.checkVisibility() || element.closest(".hidden, .skip, title, desc, meter, noscript")) continue;
  const style = getComputedStyle(element);
  const ink = parts(element.closest("svg") ? style.fill : style.color);
  const [light, dark] = [luminance(ink), luminance(background(element))].sort((a, b) => b - a);
  const ratio = (light + 0.05) / (dark + 0.05);
  if (ratio < 4.5) problems.push(`contrast ${ratio.toFixed(2)}: ${texts.currentNode.data.trim().slice(0, 40)}`);
}
return [...new Set(problems)];
