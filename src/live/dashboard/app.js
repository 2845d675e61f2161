// The start: wires controls and keys, and draws at a steady beat. A beat that has nothing new to draw draws nothing.

const BEAT_MS = 100;
const THEMES = ["auto", "light", "dark"];

newChart("chart-latency", { bars: false, format: span, layers: [
  { name: "first token", colour: "--muted", dashed: true, value: (bucket) => quantile(bucket.first, 0.5) },
  { name: "95th", colour: "--second", value: (bucket) => quantile(bucket.latency, 0.95) },
  { name: "median", colour: "--accent", value: (bucket) => quantile(bucket.latency, 0.5) },
] });
newChart("chart-tokens", { bars: true, format: short, layers: [
  { name: "output", colour: "--accent", value: (bucket) => bucket.output },
  { name: "input", colour: "--second", value: (bucket) => bucket.input - bucket.cached },
  { name: "cached", colour: "--third", value: (bucket) => bucket.cached },
] });
newChart("chart-cost", { bars: true, format: usd, scaled: usdOnScale, layers: [{ name: "cost", colour: "--accent", value: (bucket) => bucket.nano / 1e9 }] });

function setTheme(theme) {
  const root = document.documentElement;
  if (theme === "auto") delete root.dataset.theme;
  else root.dataset.theme = theme;
  byId("theme").setAttribute("aria-label", "Theme: " + (theme === "auto" ? "as the system" : theme));
  byId("theme").title = "Theme: " + (theme === "auto" ? "as the system" : theme);
  byId("theme").dataset.theme = theme;
  repaint();
}

// Canvases don't follow the style sheet by themselves.
function repaint() {
  colours.clear();
  charts.forEach(draw);
}

// The browser may keep nothing for us; then the theme lasts as long as the page.
function remembered(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

function remember(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch {
    // See above.
  }
}

function nextTheme() {
  const theme = THEMES[(THEMES.indexOf(byId("theme").dataset.theme) + 1) % THEMES.length];
  remember("iron-theme", theme);
  setTheme(theme);
}

function setWindow(name) {
  panels.window = name;
  for (const button of document.querySelectorAll("[data-window]")) button.setAttribute("aria-pressed", String(button.dataset.window === name));
  renderSlow();
}

function renderSlow() {
  const now = Date.now();
  renderTiles(now);
  updateCharts(WINDOWS[panels.window], now);
  renderHealth();
}

let beat = 0;
let beatDue = false;

// At most one waits: a hidden page gets no frames, and must not make up for them later.
function nextBeat() {
  if (beatDue) return;
  beatDue = true;
  requestAnimationFrame(onBeat);
}

function onBeat() {
  beatDue = false;
  beat++;
  renderState();
  refreshStats(false);
  const still = list.paused !== null || Date.now() < list.holdUntil;
  if (list.changed || (store.changed && !still)) {
    renderList();
    store.changed = false;
  } else {
    if (store.changed || store.running.size > 0) renderRows();
    renderPause();
  }
  // The dearer panels take turns, so that no frame pays for all of them.
  const now = Date.now();
  if (beat % 5 === 1) renderTiles(now);
  if (beat % 10 === 3) updateCharts(WINDOWS[panels.window], now);
  if (beat % 10 === 6) renderHealth();
  if (beat % 5 === 4) {
    renderBudget();
    renderNotices();
    if (store.namesChanged) renderFilters();
  }
  renderDetails();
}

const KEYS = {
  "/": () => { byId("search").focus(); byId("search").select(); },
  j: () => move(1),
  ArrowDown: () => move(1),
  k: () => move(-1),
  ArrowUp: () => move(-1),
  Enter: () => openDetails(list.selected),
  p: togglePause,
  t: nextTheme,
  "?": () => byId("keys").showModal(),
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("keys").open) return;
  const into = event.target.closest("input, select, textarea");
  if (event.key === "Escape") {
    if (into) into.blur();
    else closeDetails();
    return;
  }
  if (into && into.id === "search" && event.key === "Enter") {
    event.preventDefault();
    into.blur();
    list.scroller.focus({ preventScroll: true });
    list.selected = null;
    move(1);
    return;
  }
  // Enter on a button is the button's.
  const pressed = event.key === "Enter" && event.target.closest("button, a");
  if (into || pressed || !Object.hasOwn(KEYS, event.key)) return;
  event.preventDefault();
  KEYS[event.key]();
}

function wire() {
  byId("theme").addEventListener("click", nextTheme);
  byId("help").addEventListener("click", () => byId("keys").showModal());
  byId("keys").addEventListener("click", (event) => event.target === byId("keys") && byId("keys").close());
  byId("keys-close").addEventListener("click", () => byId("keys").close());
  byId("pause").addEventListener("click", togglePause);
  byId("clear").addEventListener("click", clearFilters);
  byId("clear-too").addEventListener("click", clearFilters);
  byId("retry").addEventListener("click", hurry);
  byId("search").addEventListener("input", (event) => search(event.target.value));
  for (const kind of Object.keys(list.filters)) byId("filter-" + kind).addEventListener("change", (event) => filterBy(kind, event.target.value));
  for (const button of document.querySelectorAll("[data-window]")) button.addEventListener("click", () => setWindow(button.dataset.window));
  byId("details-close").addEventListener("click", closeDetails);
  byId("details-copy").append(copyButton("Copy as JSON", () => JSON.stringify(details.call.event, null, 2)));
  document.addEventListener("keydown", onKey);
  document.addEventListener("visibilitychange", () => document.hidden || hurry());
  addEventListener("online", hurry);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
}

// How to make a first call through this router, for whoever has none to look at yet.
function renderFirstCall() {
  const { origin } = location;
  const addresses = `export OPENAI_BASE_URL=${origin}/v1\nexport ANTHROPIC_BASE_URL=${origin}\n`;
  byId("first-call-lines").textContent = addresses + "export OPENAI_API_KEY=\u2026\nexport ANTHROPIC_API_KEY=\u2026";
  byId("first-call-copy").append(copyButton("Copy the addresses", () => addresses));
}

setTheme(THEMES.includes(remembered("iron-theme")) ? remembered("iron-theme") : "auto");
renderFirstCall();
wire();
startList();
setWindow("five");
renderState();
connect();
setInterval(nextBeat, BEAT_MS);
