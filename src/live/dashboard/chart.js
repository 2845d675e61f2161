// Charts over time on canvases: lines or stacked bars over the same buckets, one shared pointer.

const charts = [];
const pointer = { at: null };
// Room around the plot, in pixels at the page's usual size of type.
const gapTop = () => 10 * scale();
const gapBottom = () => 20 * scale();
const gapLeft = () => 50 * scale();

// A chart: `layers` from the bottom up, each a name, a colour (a custom property of the page) and a value of a bucket.
function newChart(id, { bars, format, scaled = (value) => onScale(format(value)), layers }) {
  const figure = byId(id);
  const canvas = figure.querySelector("canvas");
  const legend = figure.querySelector(".legend");
  const chart = { canvas, context: canvas.getContext("2d"), bars, format, scaled, layers, width: 0, height: 0, tip: figure.querySelector(".tip") };
  for (const layer of layers) {
    const key = element("i", { class: bars ? "key bar" : layer.dashed ? "key dashed" : "key" });
    key.style.color = `var(${layer.colour})`;
    legend.append(element("span", {}, key, layer.name));
  }
  new ResizeObserver(([entry]) => fit(chart, entry.contentRect)).observe(canvas);
  canvas.addEventListener("pointermove", (event) => point(chart, event.offsetX));
  canvas.addEventListener("pointerleave", () => point(chart, null));
  charts.push(chart);
}

function fit(chart, { width, height }) {
  const ratio = devicePixelRatio || 1;
  rootSize = 0;
  Object.assign(chart, { width, height });
  chart.canvas.width = Math.round(width * ratio);
  chart.canvas.height = Math.round(height * ratio);
  chart.context.setTransform(ratio, 0, 0, ratio, 0, 0);
  if (chart.buckets) draw(chart);
}

function point(chart, x) {
  const inside = x !== null && x >= gapLeft() && chart.buckets;
  pointer.at = inside ? Math.min(chart.buckets.length - 1, Math.floor((x - gapLeft()) / stride(chart))) : null;
  for (const each of charts) {
    draw(each);
    showTip(each);
  }
}

const stride = (chart) => (chart.width - gapLeft() ) / chart.buckets.length;

// New figures for all charts.
function updateCharts(series, now) {
  const buckets = bucketsUntil(series, now);
  const end = (Math.floor(now / series.step) + 1) * series.step;
  for (const chart of charts) {
    Object.assign(chart, { buckets, step: series.step, end });
    chart.values = chart.layers.map((layer) => buckets.map((bucket) => (bucket === null ? null : layer.value(bucket))));
    draw(chart);
    if (pointer.at !== null) showTip(chart);
    const latest = chart.layers.map((layer, at) => layer.name + " " + written(chart, chart.values[at].findLast((value) => value !== null)));
    chart.canvas.setAttribute("aria-label", chart.canvas.dataset.name + ", latest: " + latest.join(", "));
  }
}

const written = (chart, value) => (value === null || value === undefined ? DASH : chart.format(value));

// The upper end of the scale: 1, 2 or 5 times a power of ten.
function ceiling(most) {
  if (most <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 5, 10].find((step) => step * power >= most) * power;
}

function tallest(chart) {
  if (!chart.bars) return Math.max(0, ...chart.values.flat().filter((value) => value !== null));
  return Math.max(0, ...chart.buckets.map((_, at) => chart.values.reduce((total, values) => total + (values[at] || 0), 0)));
}

let rootSize = 0;

// How much larger than usual type is.
function scale() {
  rootSize = rootSize || parseFloat(getComputedStyle(document.documentElement).fontSize);
  return rootSize / 14;
}

const colours = new Map();

// The colour of a custom property in the theme that is on; asked of the page once a theme.
function colour(name) {
  if (!colours.has(name)) colours.set(name, getComputedStyle(document.documentElement).getPropertyValue(name).trim());
  return colours.get(name);
}

function draw(chart) {
  if (!chart.buckets || chart.width < gapLeft() + 20) return;
  const top = ceiling(tallest(chart));
  const y = (value) => chart.height - gapBottom() - (value / top) * (chart.height - gapTop() - gapBottom());
  chart.context.clearRect(0, 0, chart.width, chart.height);
  drawScale(chart, top, y);
  if (chart.bars) drawBars(chart, y);
  else chart.layers.forEach((layer, at) => drawLine(chart, chart.values[at], layer, y));
  if (pointer.at !== null) drawPointer(chart);
}

function drawScale(chart, top, y) {
  const { context, width, height } = chart;
  context.font = 11 * scale() + "px " + colour("--font");
  context.textBaseline = "middle";
  context.lineWidth = 1;
  for (const value of [0, top / 2, top]) {
    const line = Math.round(y(value)) + 0.5;
    context.strokeStyle = colour("--line");
    context.beginPath();
    context.moveTo(gapLeft(), line);
    context.lineTo(width, line);
    context.stroke();
    context.fillStyle = colour("--muted");
    context.textAlign = "right";
    context.fillText(value === 0 ? "0" : chart.scaled(value), gapLeft() - 8, line);
  }
  const minutes = (chart.step * chart.buckets.length) / 60000;
  context.textBaseline = "alphabetic";
  for (const [share, align] of [[0, "left"], [0.5, "center"], [1, "right"]]) {
    context.textAlign = align;
    const text = share === 1 ? "now" : "\u2212" + minutes * (1 - share) + " min";
    context.fillText(text, gapLeft() + share * (width - gapLeft()), height - 4);
  }
}

function drawBars(chart, y) {
  const { context } = chart;
  const step = stride(chart);
  const ground = chart.buckets.map(() => 0);
  chart.layers.forEach((layer, of) => {
    context.fillStyle = colour(layer.colour);
    chart.values[of].forEach((value, at) => {
      if (!value) return;
      const upper = y(ground[at] + value);
      context.fillRect(gapLeft() + at * step, upper, Math.max(1, step - (step > 4 ? 1 : 0)), Math.max(1, y(ground[at]) - upper));
      ground[at] += value;
    });
  });
}

// A line through the buckets in which something happened. Across a few empty ones it goes on; a longer silence is a gap.
function drawLine(chart, values, layer, y) {
  const { context } = chart;
  const step = stride(chart);
  let before = null;
  context.strokeStyle = colour(layer.colour);
  context.lineWidth = 1.6 * scale();
  context.setLineDash(layer.dashed ? [2, 4] : []);
  context.lineJoin = "round";
  context.beginPath();
  values.forEach((value, at) => {
    if (value === null) return;
    const x = gapLeft() + (at + 0.5) * step;
    if (before === null || at - before > 8) {
      // One that stands alone would be a speck.
      const half = values.slice(at + 1, at + 9).some((next) => next !== null) ? 0 : step / 3;
      context.moveTo(x - half, y(value));
      context.lineTo(x + half + 0.01, y(value));
    } else context.lineTo(x, y(value));
    before = at;
  });
  context.lineCap = "round";
  context.stroke();
  context.setLineDash([]);
}

function drawPointer(chart) {
  const x = Math.round(gapLeft() + (pointer.at + 0.5) * stride(chart)) + 0.5;
  chart.context.strokeStyle = colour("--muted");
  chart.context.lineWidth = 1;
  chart.context.beginPath();
  chart.context.moveTo(x, gapTop());
  chart.context.lineTo(x, chart.height - gapBottom());
  chart.context.stroke();
}

function showTip(chart) {
  chart.tip.hidden = pointer.at === null;
  if (chart.tip.hidden) return;
  const lines = chart.layers.map((layer, of) => element("span", {}, layer.name, element("b", {}, written(chart, chart.values[of][pointer.at]))));
  const from = chart.end - (chart.buckets.length - pointer.at) * chart.step;
  chart.tip.replaceChildren(element("span", { class: "when" }, timeOfDay(from)), ...lines);
  const x = gapLeft() + (pointer.at + 0.5) * stride(chart);
  const right = x > chart.width / 2;
  chart.tip.style.left = right ? "" : x + 10 + "px";
  chart.tip.style.right = right ? chart.width - x + 10 + "px" : "";
}
