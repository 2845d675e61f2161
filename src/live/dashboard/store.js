// What the page knows: the last calls, figures over time, notices. Everything here has a bound.

const MAX_CALLS = 2000;
// Characters of details (headers, errors, captured bodies) that are kept over all calls; the oldest go first.
const MAX_DETAIL_CHARS = 16 * 1024 * 1024;
// Names offered in each filter.
const MAX_NAMES = 200;
const MAX_NOTICES = 4;
const WINDOWS = { five: newSeries(6000, 50), hour: newSeries(60000, 60) };

const store = {
  calls: [],             // in the order in which they began
  index: new Map(),      // the same by key
  running: new Set(),
  detailed: [],          // calls that have details, the oldest first
  detailChars: 0,
  names: { provider: new Set(), agent: new Set(), model: new Set() },
  namesChanged: true,
  notices: new Map(),    // by what they are about: the newest of a kind replaces the one before
  reached: new Set(),    // percents of the router's own budget that spending has reached
  reachedOf: null,       // that budget, in nano-dollars
  stats: null,
  hello: null,
  last: 0,               // the last sequence number seen
  seen: 0,               // events since the page was opened
  began: 0,              // calls since the page was opened
  changed: true,
};

// A call's key: serials begin anew with each run, and history goes back to earlier ones.
const keyOf = (event) => event.at + ":" + event.call;

function kindOf(event) {
  if (event.type === "llm_request_started") return "running";
  if (event.type === "llm_request_completed") return "ok";
  return event.refused ? "refused" : "failed";
}

// What a search looks through.
function haystackOf(event) {
  const words = [event.model, event.agent, event.provider, event.method, event.path, event.request_id, event.code, event.status, event.end];
  if (event.details) words.push(event.details.error);
  return words.filter((word) => word !== null && word !== undefined).join(" ").toLowerCase();
}

function learnNames(event) {
  for (const kind of ["provider", "agent", "model"]) {
    const names = store.names[kind];
    if (event[kind] && names.size < MAX_NAMES && !names.has(event[kind])) {
      names.add(event[kind]);
      store.namesChanged = true;
    }
  }
}

function forget(call) {
  store.index.delete(call.key);
  store.running.delete(call);
  call.gone = true;
}

function newCall(event) {
  const call = { key: keyOf(event), event, kind: kindOf(event), hay: haystackOf(event), gone: false };
  store.index.set(call.key, call);
  learnNames(event);
  return call;
}

function addCall(event) {
  const call = newCall(event);
  store.calls.push(call);
  store.began++;
  if (store.calls.length > MAX_CALLS) forget(store.calls.shift());
  return call;
}

function sizeOfDetails(details) {
  const fields = [...(details.request_headers || []), ...(details.reply_headers || [])];
  const texts = [details.error, details.request_body, details.reply_body];
  return fields.reduce((size, [name, value]) => size + name.length + value.length, 0) + texts.reduce((size, text) => size + (text || "").length, 0);
}

function keepDetails(call) {
  if (!call.event.details) return;
  call.detailSize = sizeOfDetails(call.event.details);
  store.detailed.push(call);
  store.detailChars += call.detailSize;
  while (store.detailed.length > 0 && (store.detailChars > MAX_DETAIL_CHARS || store.detailed[0].gone)) {
    const oldest = store.detailed.shift();
    store.detailChars -= oldest.detailSize;
    if (!oldest.gone) oldest.event.details = undefined;
  }
}

function seeStarted(event) {
  if (store.index.has(keyOf(event))) return;
  store.running.add(addCall(event));
}

function seeClosed(event) {
  let call = store.index.get(keyOf(event));
  if (call && call.kind !== "running" && call.kind !== "lost") return;
  if (call) {
    store.running.delete(call);
    Object.assign(call, { event, kind: kindOf(event), hay: haystackOf(event) });
    learnNames(event);
  } else {
    call = addCall(event);
  }
  keepDetails(call);
  const now = Date.now();
  for (const series of Object.values(WINDOWS)) addToSeries(series, event, now);
}

function notice(about, level, text) {
  store.notices.delete(about);
  store.notices.set(about, { level, text, at: Date.now() });
  if (store.notices.size > MAX_NOTICES) store.notices.delete(store.notices.keys().next().value);
}

function seeThreshold(event) {
  const whose = event.agent === null ? "The budget" : "The budget of " + event.agent;
  if (event.agent === null) {
    store.reached.add(event.percent);
    store.reachedOf = event.limit_nano_usd;
  }
  notice("budget of " + event.agent, event.percent >= 100 ? "bad" : event.percent >= 80 ? "warn" : "info", `${whose}, ${usd(event.limit_nano_usd / 1e9)}, is ${event.percent >= 100 ? "spent" : event.percent + "\u202f% spent"} since ${timeOfDay(event.at)}.`);
}

// Another budget: what was reached of the one before is no news.
function seeLimit(usd, askedAt) {
  const noted = store.notices.get("budget of null");
  if (store.reachedOf === null || Math.abs(usd * 1e9 - store.reachedOf) < 1 || (noted && askedAt < noted.at)) return;
  store.notices.delete("budget of null");
  store.reached.clear();
  store.reachedOf = null;
}

// Calls whose end may have been missed are no longer called running; their end still finds them if it comes.
function loseRunning() {
  for (const call of store.running) call.kind = "lost";
  store.running.clear();
}

function seeGap(event) {
  loseRunning();
  notice("gap", "warn", plural(event.missed, "event was", "events were") + " missed: more happened than this page could be sent.");
}

// What each type of event does. A type that is not here is one of a newer router, and ignored.
const SEES = {
  llm_request_started: seeStarted,
  llm_request_completed: seeClosed,
  llm_request_failed: seeClosed,
  budget_threshold_reached: seeThreshold,
  ledger_failed: (event) => notice("ledger", "bad", "The ledger could not keep a call: " + event.error),
  gap: seeGap,
};

function see(event) {
  if (typeof event.seq === "number") {
    if (event.seq <= store.last) return;
    store.last = event.seq;
  }
  const sees = Object.hasOwn(SEES, event.type) ? SEES[event.type] : null;
  if (sees) sees(event);
  store.seen++;
  store.changed = true;
}

// Another run of the router: its numbers begin anew.
function newRun(hello) {
  loseRunning();
  store.reached.clear();
  store.last = 0;
  store.hello = hello;
}

// Calls from the ledger, newest first. Those that are known already only fill in what was missed.
function addHistory(events) {
  const oldest = store.calls.length > 0 ? store.calls[0].event.at : Infinity;
  const earlier = [];
  const now = Date.now();
  for (const event of events) {
    event.type = event.type || (event.end === "complete" && event.status >= 200 && event.status < 300 ? "llm_request_completed" : "llm_request_failed");
    const known = store.index.get(keyOf(event));
    if (known) seeClosed(event);
    else if (event.at > oldest) seeClosed(event);
    else if (store.calls.length + earlier.length < MAX_CALLS) {
      earlier.push(newCall(event));
      for (const series of Object.values(WINDOWS)) addToSeries(series, event, now);
    }
  }
  store.calls = earlier.reverse().concat(store.calls);
  store.calls.sort((one, other) => one.event.at - other.event.at);
  store.changed = true;
}
