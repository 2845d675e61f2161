// The line to the router: events over a WebSocket, figures and history over HTTP. Cut, it is made again, with growing pauses.

const PAUSES = [500, 1000, 2000, 4000, 8000, 15000];
const STATS_EVERY_MS = 2000;
const HISTORY_PAGE = 200;

const line = { socket: null, state: "connecting", tries: 0, retryAt: 0, retry: 0, statsAt: 0, statsSeen: -1, historyFrom: null };

const address = (path) => new URL(path, location.href);

function connect() {
  clearTimeout(line.retry);
  line.state = "connecting";
  const url = address("events?since=" + store.last);
  url.protocol = url.protocol.replace("http", "ws");
  const socket = new WebSocket(url);
  line.socket = socket;
  socket.onmessage = (message) => line.socket === socket && hear(message.data);
  socket.onclose = () => line.socket === socket && lost();
}

function hear(text) {
  for (const part of String(text).split("\n")) {
    if (part === "") continue;
    let event;
    try {
      event = JSON.parse(part);
    } catch {
      continue;
    }
    if (event.type === "hello") greet(event);
    else if (event.type === "router_stopped") stopped();
    else see(event);
    if (event.type === "gap") loadHistory(null);
  }
  if (line.historyFrom !== null && store.last >= line.historyFrom) startHistory();
}

function greet(hello) {
  const known = store.hello;
  const other = known !== null && known.started_at !== hello.started_at;
  line.tries = 0;
  line.state = "connected";
  if (other && store.last > 0) {
    // We asked for what follows a number of the run before.
    newRun(hello);
    line.socket.close();
    line.socket = null;
    connect();
    return;
  }
  store.hello = hello;
  if (known === null) line.historyFrom = hello.seq;
  refreshStats(true);
}

// Once what the ring had is here, the ledger tells what came before.
function startHistory() {
  line.historyFrom = null;
  const oldest = store.calls.length > 0 ? store.calls[0].event.at + 1 : null;
  if (store.hello.ledger) loadHistory(oldest);
}

// Calls before `before` (null: the newest), back to an hour ago or until the list is full.
async function loadHistory(before) {
  if (!store.hello || !store.hello.ledger) return;
  for (let page = 0; page < MAX_CALLS / HISTORY_PAGE; page++) {
    const reply = await fetch(address("history?limit=" + HISTORY_PAGE + (before === null ? "" : "&before=" + before))).catch(() => null);
    if (!reply || !reply.ok) return;
    const { calls, more } = await reply.json();
    addHistory(calls);
    if (!more || calls.length === 0 || store.calls.length >= MAX_CALLS) return;
    before = calls[calls.length - 1].at;
    if (before < Date.now() - 3600000) return;
  }
}

// Nothing runs in a router that has stopped.
function stopped() {
  line.state = "stopped";
  loseRunning();
  store.changed = true;
}

function lost() {
  line.socket = null;
  const stopped = line.state === "stopped";
  if (!stopped) line.state = "lost";
  const pause = stopped ? PAUSES[PAUSES.length - 1] : PAUSES[Math.min(line.tries, PAUSES.length - 1)] * (0.8 + 0.4 * Math.random());
  line.tries++;
  line.retryAt = Date.now() + pause;
  line.retry = setTimeout(tryAgain, pause);
}

// A handshake that fails does not say why: a plain request does.
async function tryAgain() {
  clearTimeout(line.retry);
  const stopped = line.state === "stopped";
  line.state = "connecting";
  const reply = await fetch(address("stats")).catch(() => null);
  if (reply && (reply.status === 401 || reply.status === 403)) signedOut();
  else if (reply && reply.ok) connect();
  else {
    if (stopped) line.state = "stopped";
    lost();
  }
}

// Somebody is back, or the network is: no need to wait any longer.
function hurry() {
  if (line.socket === null && (line.state === "lost" || line.state === "stopped")) tryAgain();
}

// Spend and limits: asked for while events come, seldom otherwise.
async function refreshStats(now) {
  const due = store.seen === line.statsSeen ? 5 * STATS_EVERY_MS : STATS_EVERY_MS;
  if (line.state !== "connected" || (!now && Date.now() - line.statsAt < due)) return;
  line.statsAt = Date.now();
  line.statsSeen = store.seen;
  const reply = await fetch(address("stats")).catch(() => null);
  if (reply && reply.ok) {
    store.stats = await reply.json().catch(() => store.stats);
    if (store.stats) seeLimit(store.stats.limit_usd ?? Infinity, line.statsAt);
  } else if (reply && reply.status === 401) signedOut();
}

// What becomes of calls is no longer told to us, nor whether it is still the same run.
function signedOut() {
  line.state = "signed out";
  loseRunning();
  store.changed = true;
  if (line.socket) {
    const socket = line.socket;
    line.socket = null;
    socket.close();
  }
}
