// The charts of one machine: temperature, load, memory over one axis of time, with who had it, what went wrong and when it
// rebooted. Canvas draws the lines; all else is one SVG behind them, so that the style sheet colours it.

import uPlot from "./vendor/uplot/uPlot.esm.js";
import { all, find } from "./page.js";
import { moment, now, span } from "./times.js";

const AGAIN_MS = 30_000; // a beat
const LEFT = 44, RIGHT = 10, CAPS = 24, AXIS = 26;
const ROOM = 1.06; // above the highest tick of a load
const CLOSE_PX = 4; // marks nearer than this are one
const SVG = "http://www.w3.org/2000/svg";

const PLOTS = [
  {
    key: "temperature", word: "Temperature", height: 126 + CAPS, above: CAPS, below: 0,
    text: (value) => `${value.toFixed(0)}°`,
    range: (low, high) => [Math.min(40, Math.floor(low / 10) * 10), high > 68 ? Math.max(86, Math.ceil(high / 2) * 2 + 2) : Math.max(60, Math.ceil(high / 10) * 10)],
    ticks: (min, max) => steps(min, max, 20),
    told: (last, highest) => `${last}, ${highest} highest`,
  },
  {
    key: "load", word: "Load", height: 82, above: 8, below: 0,
    text: (value) => value.toFixed(2),
    range: (low, high) => [0, round(high) * ROOM],
    ticks: (min, max) => [0, max / ROOM / 2, max / ROOM],
    told: (last, highest, series) => (series.cpus ? `${last}, of ${series.cpus} cores` : last),
  },
  {
    key: "memory", word: "Memory in use", height: 70 + AXIS, above: 8, below: AXIS,
    text: (value) => `${value.toFixed(0)} %`,
    range: (low, high) => [0, high > 48 ? 100 : 50],
    ticks: (min, max) => [0, max / 2, max],
    told: (last, highest) => `${last}, ${highest} highest`,
  },
];

/** A number that is good for a half, and hardly less than this. */
function round(high) {
  const good = [1, 2, 4, 6, 8, 12, 16, 24, 32, 64, 128, 256].find((number) => number * ROOM >= high);
  return good ?? 2 ** Math.ceil(Math.log2(high));
}

function steps(min, max, step) {
  const found = [];
  for (let value = Math.ceil(min / step) * step; value <= max; value += step) found.push(value);
  return found;
}

let figure = null, series = null, drawn = [], askedAt = 0;

// Colours: canvas knows no custom properties, so an element is asked for what they come to

function paint(name) {
  const probe = document.createElement("i");
  probe.className = `paint-${name}`;
  figure.append(probe);
  const colour = getComputedStyle(probe).color;
  probe.remove();
  return colour;
}

// Drawing

function draw() {
  for (const plot of drawn) plot.destroy();
  drawn = [];
  figure.replaceChildren();
  figure.setAttribute("aria-label", series.sentence);
  figure.classList.add("drawn");
  if (!series.at.length) { figure.append(paragraph(series.sentence)); return; }
  const under = figure.appendChild(document.createElementNS(SVG, "svg"));
  under.setAttribute("class", "behind");
  const known = PLOTS.filter((plot) => series[plot.key][0].some((value) => value !== null));
  known.forEach((plot, index) => {
    drawn.push(chart(plot, index === known.length - 1));
    if (index === 0) figure.append(Object.assign(document.createElement("div"), { className: "lane" }));
  });
  requestAnimationFrame(() => background(under)); // when the charts have found their places
}

function paragraph(text) {
  return Object.assign(document.createElement("p"), { className: "nothing-yet mute", textContent: text });
}

function chart(plot, isLast) {
  const box = figure.appendChild(document.createElement("div"));
  box.className = "plot";
  const head = box.appendChild(document.createElement("p"));
  head.className = "plot-head";
  head.append(Object.assign(document.createElement("b"), { textContent: plot.word }), document.createElement("span"));
  const [mean, low, high] = series[plot.key];
  const drawing = new uPlot(options(plot, isLast, head.lastChild), [series.at, mean, low, high], box);
  drawing.told = head.lastChild;
  return drawing;
}

function options(plot, isLast, told) {
  const faint = paint("faint"), line = paint("line"), ink = paint("ink");
  const [, low, high] = series[plot.key];
  const bounds = plot.range(Math.min(...known(low)), Math.max(...known(high)));
  const font = `11px ${getComputedStyle(figure).fontFamily}`;
  const plain = { points: { show: false }, width: 0 };
  const base = plot.height - plot.below + (isLast ? AXIS : 0);
  const usual = summary(plot);
  told.textContent = usual;
  return {
    width: figure.clientWidth, height: base, padding: [plot.above, RIGHT, isLast ? 0 : 8, 0],
    legend: { show: false },
    cursor: { sync: { key: "machine" }, y: false, drag: { x: false, y: false }, points: { size: 5, fill: ink, width: 0 } },
    scales: { x: { time: true, range: () => [series.since, series.until] }, y: { range: () => bounds } },
    series: [
      {},
      { stroke: ink, width: 1.5, fill: paint("fill"), points: { show: false } },
      plain, plain,
    ],
    bands: [{ series: [3, 2], fill: paint("range") }],
    axes: [
      {
        show: isLast, size: AXIS, font, stroke: faint, grid: { show: false }, ticks: { show: false }, space: 96, gap: 8,
        values: (_, splits) => splits.map(axisWord),
      },
      {
        size: LEFT, font, stroke: faint, gap: 8, grid: { stroke: line, width: 1 }, ticks: { show: false },
        splits: () => plot.ticks(...bounds), values: (_, splits) => splits.map((value) => (plot.key === "load" ? String(value) : plot.text(value))),
      },
    ],
    hooks: { setCursor: [(drawing) => tell(plot, drawing, told, usual)] },
  };
}

const known = (values) => values.filter((value) => value !== null);

/** What stands above a chart while nobody points at it. */
function summary(plot) {
  const [mean, , high] = series[plot.key];
  const last = plot.text(mean.findLast((value) => value !== null)), highest = plot.text(Math.max(...known(high)));
  const isNow = now() / 1000 - series.at[mean.findLastIndex((value) => value !== null)] < 600;
  return plot.told(isNow ? `${last} now` : `${last} when last heard`, highest, series);
}

/** What stands there while somebody does: the time, and the range of that moment. */
function tell(plot, drawing, told, usual) {
  const index = drawing.cursor.idx;
  const [mean, low, high] = series[plot.key].map((values) => values[index ?? -1] ?? null);
  if (mean === null || index === null) { told.textContent = usual; return; }
  const edges = plot.text(low) === plot.text(high) ? "" : `, from ${plot.text(low)} to ${plot.text(high)}`;
  told.textContent = `${moment(series.at[index] * 1000, "day")}: ${plot.text(mean)}${edges}`;
}

function axisWord(at) {
  const then = new Date(at * 1000);
  if (series.until - at < (series.until - series.since) * 0.06) return ""; // there stands "now"
  const midnight = !then.getHours() && !then.getMinutes();
  return series.span === "7d" || midnight ? DAY.format(then) : CLOCK.format(then);
}

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const DAY = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "short" });

// What stands behind the lines

function background(under) {
  const frame = figure.getBoundingClientRect();
  const places = drawn.map((drawing) => {
    const place = drawing.over.getBoundingClientRect();
    return { top: place.top - frame.top, bottom: place.bottom - frame.top };
  });
  const width = figure.clientWidth - LEFT - RIGHT;
  const x = (at) => LEFT + width * Math.min(1, Math.max(0, (at - series.since) / (series.until - series.since)));
  const put = (name, attributes, text) => {
    const shape = under.appendChild(document.createElementNS(SVG, name));
    for (const [key, value] of Object.entries(attributes)) shape.setAttribute(key, value);
    if (text !== undefined) shape.textContent = text;
    return shape;
  };
  leases(put, x, places);
  hotLine(put, places);
  lane(put, x, places);
  put("text", { class: "now-word", x: figure.clientWidth - RIGHT, y: places.at(-1).bottom + 19, "text-anchor": "end" }, "now");
}

function leases(put, x, places) {
  let end = 0; // of the last word
  for (const lease of series.leases) {
    const from = x(lease.since), to = Math.max(from + 1, x(lease.until)), mine = lease.mine ? " mine" : "";
    for (const { top, bottom } of places) put("rect", { class: `band${mine}`, x: from, y: top, width: to - from, height: bottom - top });
    const top = places[0].top;
    put("line", { class: `cap${mine}`, x1: from, x2: to, y1: top - 1, y2: top - 1 });
    if (from < end) continue;
    const word = put("text", { class: `cap-word${mine}`, x: from, y: top - 8 }, lease.holder);
    end = Math.max(to, from + place(word, from, to, end)) + 8;
  }
}

/** The word stands above its lease, or, at the right end, before it; how wide it came to be. */
function place(word, from, to, end) {
  const right = figure.clientWidth - RIGHT;
  if (from + word.getComputedTextLength() > right && to > right - 60) {
    word.setAttribute("x", to);
    word.setAttribute("text-anchor", "end");
    if (to - word.getComputedTextLength() < end) word.remove();
    return to - from;
  }
  const whole = word.textContent, most = Math.max(to - from, 120);
  for (let length = whole.length - 1; length > 1 && word.getComputedTextLength() > most; length -= 1) {
    word.textContent = `${whole.slice(0, length)}…`;
  }
  return word.getComputedTextLength();
}

function hotLine(put, places) {
  const temperature = drawn[0], hot = Number(figure.dataset.hot);
  if (temperature.scales.y.max < hot || !series.temperature[0].some((value) => value !== null)) return;
  const y = places[0].top + temperature.valToPos(hot, "y");
  put("line", { class: "hot-line", x1: LEFT, x2: figure.clientWidth - RIGHT, y1: y, y2: y });
  find(".plot-head", figure).append(Object.assign(document.createElement("span"), { className: "hot-key", textContent: `throttles at ${hot}°` }));
}

/** Throttling and voltage as ticks, reboots as a sign and a line through all charts, each with its word where there is room. */
function lane(put, x, places) {
  const y = places[0].bottom + 20, right = figure.clientWidth - RIGHT;
  put("line", { class: "lane-line", x1: LEFT, x2: right, y1: y, y2: y });
  const taken = [];
  for (const at of series.reboots) {
    const middle = x(at);
    put("line", { class: "reboot", x1: middle, x2: middle, y1: places[0].top, y2: places.at(-1).bottom });
    put("circle", { class: "reboot-sign", cx: middle, cy: y, r: 4.5 });
    taken.push([middle - 8, middle + 8]);
  }
  const ticks = marks(put, x, y);
  taken.push(...ticks.map((at) => [at - 3, at + 3]));
  const said = [[series.throttled, "throttled"], [series.under_voltage, "under-voltage"]].filter(([found]) => found.length).map(([found, word]) => `${word} ${found.length}×`);
  if (ticks.length) words(put, "mark-word", [ticks.at(-1), ticks[0]], y, taken, said.join(", "));
  const reboots = series.reboots.map(x);
  if (reboots.length) words(put, "reboot-word", [reboots.at(-1), reboots[0]], y, taken, reboots.length > 1 ? `rebooted ${reboots.length}×` : "rebooted");
}

/** Where the ticks came to stand. */
function marks(put, x, y) {
  const found = [];
  for (const at of [...series.throttled, ...series.under_voltage].map(x).sort((one, other) => one - other)) {
    if (at - (found.at(-1) ?? -CLOSE_PX) < CLOSE_PX) continue;
    found.push(at);
    put("line", { class: "mark", x1: at, x2: at, y1: y - 7, y2: y + 7 });
  }
  return found;
}

/** Right of the last mark or left of the first, where nothing else stands; the table has it in any case. */
function words(put, kind, [last, first], y, taken, text) {
  const word = put("text", { class: kind, x: last + 10, y: y + 4 }, text), length = word.getComputedTextLength();
  const free = (from) => from > LEFT && from + length < figure.clientWidth - RIGHT && taken.every(([begin, end]) => end < from || begin > from + length);
  const from = [last + 10, first - 10 - length].find(free);
  if (from === undefined) { word.remove(); return; }
  word.setAttribute("x", from);
  taken.push([from, from + length]);
}

// Numbers come, and come again

async function ask() {
  askedAt = Date.now();
  try {
    const answer = await fetch(figure.dataset.series, { headers: { Accept: "application/json" }, credentials: "same-origin" });
    if (!answer.ok) throw new Error(String(answer.status));
    series = await answer.json();
    draw();
  } catch (problem) {
    if (!series) figure.replaceChildren(paragraph("The numbers did not come. They are asked for again with the next beat."));
  }
}

/** The board has beaten, or something about it has changed; whoever points at a chart is not disturbed. */
function news() {
  if (Date.now() - askedAt >= AGAIN_MS && !document.hidden && !figure.matches(":hover")) ask();
}

// The bar of the lease

function shrink() {
  for (const bar of all(".lease-bar")) {
    const { since, until } = bar.dataset;
    const over = 100 * Math.min(1, Math.max(0, (now() - since) / (until - since)));
    find(".left", bar).setAttribute("x", `${over}%`);
    find(".left", bar).setAttribute("width", `${100 - over}%`);
    find("text", bar).setAttribute("x", `${over}%`);
    find("text", bar).classList.toggle("aside", over < 15 || over > 85);
  }
}

function watch() {
  let width = figure.clientWidth;
  new ResizeObserver(() => {
    if (!series || figure.clientWidth === width) return;
    width = figure.clientWidth;
    draw();
  }).observe(figure);
  const redraw = () => { if (series) draw(); };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  new MutationObserver(redraw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  document.fonts.ready.then(redraw);
  document.addEventListener("refreshed", news);
  const beats = find("[data-cell='beats']");
  if (beats) new MutationObserver(news).observe(beats, { childList: true });
}

figure = find(".charts[data-series]");
if (figure) { watch(); ask(); }
setInterval(shrink, 1000);
