// Everything around the list: the router's state, the budget, tiles, health by provider and model, notices.

const STATE_TEXTS = {
  connecting: () => (store.hello === null ? "Connecting" : "Reconnecting"),
  connected: () => "Connected",
  lost: () => "Reconnecting in " + Math.max(0, Math.ceil((line.retryAt - Date.now()) / 1000)) + " s",
  stopped: () => "Router stopped",
  "signed out": () => "Signed out",
};

const panels = { window: "five" };

function renderState() {
  const node = byId("state");
  if (node.dataset.state !== line.state) {
    node.dataset.state = line.state;
    // Said once, not at each second of a countdown.
    setText(byId("state-said"), STATE_TEXTS[line.state]());
  }
  setText(byId("state-text"), STATE_TEXTS[line.state]());
  byId("retry").hidden = line.state !== "lost" && line.state !== "stopped";
  byId("signed-out").hidden = line.state !== "signed out";
  if (store.hello) {
    setText(byId("version"), store.hello.router || "");
    byId("capture").hidden = !store.hello.capture;
  }
}

function renderBudget() {
  const { stats } = store;
  const node = byId("budget");
  node.hidden = !stats;
  if (!stats) return;
  const limit = stats.limit_usd;
  const limited = typeof limit === "number";
  node.classList.toggle("unlimited", !limited);
  setText(byId("spent"), usd(stats.spent_usd || 0));
  setText(byId("limit"), limited ? "of " + usd(limit) : "spent, no budget");
  if (!limited) return;
  const spent = limit > 0 ? Math.min(1, stats.spent_usd / limit) : 1;
  const held = limit > 0 ? Math.min(1 - spent, (stats.held_usd || 0) / limit) : 0;
  byId("bar-spent").style.width = 100 * spent + "%";
  byId("bar-held").style.width = 100 * held + "%";
  node.dataset.level = spent >= 0.95 ? "bad" : spent >= 0.8 ? "warn" : "calm";
  // Rounded down: a budget is not spent before it is.
  setText(byId("share"), (spent < 0.1 ? Math.floor(1000 * spent) / 10 : Math.floor(100 * spent)) + "\u202f%");
  byId("bar").setAttribute("aria-valuenow", Math.round(100 * spent));
  renderThresholds(Array.isArray(stats.thresholds) ? stats.thresholds : [...store.reached]);
}

function renderThresholds(percents) {
  const wanted = percents.filter((at) => at > 0 && at < 100).join();
  const bar = byId("bar");
  if (bar.dataset.marks === wanted) return;
  bar.dataset.marks = wanted;
  bar.querySelectorAll(".mark").forEach((mark) => mark.remove());
  for (const at of wanted.split(",").filter(Boolean)) {
    const mark = element("i", { class: "mark", title: at + " %" });
    mark.style.left = at + "%";
    bar.append(mark);
  }
}

function tile(name, value, below) {
  const node = byId("tile-" + name);
  setText(node.querySelector("b"), value);
  setText(node.querySelector("small"), below);
}

const optional = (number, words) => (number > 0 ? " \u00b7 " + count(number) + " " + words : "");

function renderTiles(now) {
  const whole = sum(bucketsUntil(WINDOWS[panels.window], now));
  const minute = sum(bucketsUntil(WINDOWS.five, now).slice(-10));
  const oldest = [...store.running].reduce((least, call) => Math.min(least, call.event.at), now);
  tile("rate", count(minute.calls), plural(whole.calls, "call", "calls") + (panels.window === "five" ? " in 5 min" : " in 1 h"));
  tile("flight", count(store.running.size), store.running.size > 0 ? "longest " + clock(now - oldest) : "nothing running");
  tile("tokens", short(whole.input + whole.output), `${brief(whole.input)} in \u00b7 ${brief(whole.output)} out` + (whole.cached > 0 ? ` \u00b7 ${percent(whole.cached, whole.input)} cached` : ""));
  const answered = whole.calls - whole.refused;
  tile("cost", usd(whole.nano / 1e9), (answered > 0 ? usd(whole.nano / 1e9 / answered) + " a call" : "no calls") + optional(whole.unpriced, "unpriced"));
  tile("failures", count(whole.failed), (answered > 0 ? percent(whole.failed, answered) + " of calls" : "no calls") + optional(whole.refused, "refused"));
  byId("tile-failures").classList.toggle("bad", whole.failed >= 0.05 * answered && whole.failed > 0);
  const p50 = quantile(whole.first, 0.5);
  tile("first", p50 === null ? DASH : span(p50), p50 === null ? "no streams yet" : "median \u00b7 95th " + span(quantile(whole.first, 0.95)));
}

// What a call says about its provider: nothing while it is open, where it was refused, or where the client hung up.
const saysNothing = (call) => !["ok", "failed"].includes(call.kind) || ["client_gone", "abandoned"].includes(call.event.end);

// Health by provider and its models, from the calls that are kept.
function healthOf(calls) {
  const groups = new Map();
  const at = (map, key) => map.get(key) || map.set(key, { calls: 0, failed: 0, times: [], last: null, models: new Map() }).get(key);
  for (const call of calls) {
    if (saysNothing(call)) continue;
    const provider = at(groups, call.event.provider);
    for (const group of [provider, at(provider.models, call.event.model || "no model")]) {
      group.calls++;
      if (call.kind === "failed") group.failed++;
      else group.times.push(call.event.duration_ms);
      group.last = call;
    }
  }
  return groups;
}

const MAX_MODELS = 12;
const busiest = (groups) => [...groups].sort(([one, a], [other, b]) => b.calls - a.calls || (one < other ? -1 : 1)).slice(0, MAX_MODELS);

function renderHealth() {
  const since = Date.now() - (panels.window === "five" ? 300000 : 3600000);
  const recent = store.calls.filter((call) => call.event.at >= since);
  const rows = [];
  for (const [name, provider] of busiest(healthOf(recent))) {
    rows.push(healthRow(name, provider, "provider"));
    for (const [model, group] of busiest(provider.models)) rows.push(healthRow(model, group, "model"));
  }
  byId("health-rows").replaceChildren(...rows);
  byId("health-none").hidden = rows.length > 0;
}

function healthRow(name, group, level) {
  const times = group.times.sort((one, other) => one - other);
  const median = times.length > 0 ? times[Math.floor(times.length / 2)] : null;
  const last = group.last;
  const rate = group.failed / group.calls;
  return element("tr", { class: level },
    element("th", { scope: "row", title: name }, element("i", { class: "dot " + last.kind, "aria-hidden": "true" }), element("span", {}, name)),
    element("td", { class: last.kind }, last.event.end === "upstream_cut" ? "cut" : String(last.event.status || DASH)),
    element("td", { class: rate >= 0.05 ? "failed" : "" }, percent(group.failed, group.calls)),
    element("td", {}, span(median)),
    element("td", {}, count(group.calls)));
}

function renderNotices() {
  const wanted = [...store.notices.values()].map((each) => each.at + each.text).join();
  const node = byId("notices");
  if (node.dataset.shown === wanted) return;
  node.dataset.shown = wanted;
  node.replaceChildren(...[...store.notices].map(([about, { level, text }]) => {
    const close = element("button", { type: "button", class: "close", "aria-label": "Dismiss", onclick: () => store.notices.delete(about) && renderNotices() }, "\u00d7");
    return element("p", { class: "notice " + level }, element("span", {}, text), close);
  }));
}
