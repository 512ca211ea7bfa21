// The charts of one machine: temperature, load, memory over one axis of time, with who had it, what went wrong and when it
// rebooted. Canvas draws the lines; all else is one SVG behind them, so that the style sheet colours it.

import uPlot from "./vendor/uplot/uPlot.esm.js";
import { all, find } from "./page.js";
import { moment, now, span } from "./times.js";

const AGAIN_MS = 30_000; // a beat
const LEFT = 44, RIGHT = 10, CAPS = 24, AXIS = 26;
const CLOSE_PX = 4; // marks nearer than this are one
const SVG = "http://www.w3.org/2000/svg";

const PLOTS = [
  {
    key: "temperature", word: "Temperature", height: 118 + CAPS, above: CAPS, below: 0,
    text: (value) => `${value.toFixed(0)}°`,
    range: (low, high) => [Math.min(40, Math.floor(low / 10) * 10), high > 68 ? Math.max(86, Math.ceil(high / 2) * 2 + 2) : Math.max(60, Math.ceil(high / 10) * 10)],
    ticks: (min, max) => steps(min, max, 20),
    told: (last, highest) => `${last}, ${highest} highest`,
  },
  {
    key: "load", word: "Load", height: 72, above: 4, below: 0,
    text: (value) => value.toFixed(2),
    range: (low, high) => [0, high <= 1 ? 1 : high <= 2 ? 2 : Math.ceil(high / 4) * 4],
    ticks: (min, max) => [0, max / 2, max],
    told: (last, highest, series) => (series.cpus ? `${last}, of ${series.cpus} cores` : last),
  },
  {
    key: "memory", word: "Memory in use", height: 64 + AXIS, above: 4, below: AXIS,
    text: (value) => `${value.toFixed(0)} %`,
    range: (low, high) => [0, high > 48 ? 100 : 50],
    ticks: (min, max) => [0, max],
    told: (last, highest) => `${last}, ${highest} highest`,
  },
];

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
  if (!series.at.length) { figure.append(paragraph(series.sentence)); return; }
  const under = figure.appendChild(document.createElementNS(SVG, "svg"));
  under.setAttribute("class", "under");
  const known = PLOTS.filter((plot) => series[plot.key][0].some((value) => value !== null));
  known.forEach((plot, index) => {
    drawn.push(chart(plot, index === known.length - 1));
    if (index === 0) figure.append(Object.assign(document.createElement("div"), { className: "lane" }));
  });
  background(under);
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
    width: figure.clientWidth, height: base, padding: [plot.above, RIGHT, isLast ? 0 : 2, 0],
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
  if (series.until - at < 60) return "now";
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
    fit(word, Math.max(to - from, 40), LEFT + figure.clientWidth - LEFT - RIGHT - from);
    end = from + word.getComputedTextLength() + 8;
  }
}

/** A word that has no room is cut; it may stand out over its lease as long as nothing follows. */
function fit(word, least, most) {
  const whole = word.textContent;
  for (let length = whole.length; length > 1 && word.getComputedTextLength() > Math.min(Math.max(least, 120), most); length -= 1) {
    word.textContent = `${whole.slice(0, length - 1)}…`;
  }
}

function hotLine(put, places) {
  const temperature = drawn[0], hot = Number(figure.dataset.hot);
  if (temperature.scales.y.max < hot || !series.temperature[0].some((value) => value !== null)) return;
  const y = places[0].top + temperature.valToPos(hot, "y");
  put("line", { class: "hot-line", x1: LEFT, x2: figure.clientWidth - RIGHT, y1: y, y2: y });
}

/** Throttling and voltage as ticks, reboots as a sign and a line through all charts. */
function lane(put, x, places) {
  const y = places[0].bottom + 14, right = figure.clientWidth - RIGHT;
  put("line", { class: "lane-line", x1: LEFT, x2: right, y1: y, y2: y });
  marks(put, x, y, [...series.throttled, ...series.under_voltage].sort((one, other) => one - other));
  for (const at of series.reboots) {
    const middle = x(at);
    put("line", { class: "reboot", x1: middle, x2: middle, y1: places[0].top, y2: places.at(-1).bottom });
    put("circle", { class: "reboot-sign", cx: middle, cy: y, r: 4.5 });
  }
  const last = series.reboots.at(-1);
  if (last) words(put, "reboot-word", x(last), y, right, series.reboots.length > 1 ? `rebooted ${series.reboots.length}×` : "rebooted");
}

function marks(put, x, y, times) {
  let before = -CLOSE_PX;
  for (const at of times) {
    if (x(at) - before < CLOSE_PX) continue;
    before = x(at);
    put("line", { class: "mark", x1: before, x2: before, y1: y - 7, y2: y + 7 });
  }
  const said = [[series.throttled, "throttled"], [series.under_voltage, "under-voltage"]].filter(([found]) => found.length).map(([found, word]) => `${word} ${found.length}×`);
  if (said.length) words(put, "mark-word", before, y, figure.clientWidth - RIGHT, said.join(", "));
}

/** Right of a mark, or left of it where there is no room. */
function words(put, kind, beside, y, right, text) {
  const word = put("text", { class: kind, x: beside + 10, y: y + 4 }, text);
  if (beside + 10 + word.getComputedTextLength() > right) { word.setAttribute("x", beside - 10); word.setAttribute("text-anchor", "end"); }
}

// Numbers come, and come again

async function ask() {
  askedAt = now();
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
  if (now() - askedAt >= AGAIN_MS && !document.hidden && !figure.matches(":hover")) ask();
}

// The bar of the lease

function shrink() {
  for (const bar of all(".lease-bar")) {
    const { since, until } = bar.dataset;
    const over = 100 * Math.min(1, Math.max(0, (now() - since) / (until - since)));
    find(".left", bar).setAttribute("x", `${over}%`);
    find(".left", bar).setAttribute("width", `${100 - over}%`);
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
