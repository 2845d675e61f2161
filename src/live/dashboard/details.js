// The details of one call, beside the list.

const details = { node: byId("details"), body: byId("details-body"), call: null, shown: null, back: null };

function openDetails(call) {
  if (call === null) return;
  if (details.call === null) details.back = document.activeElement;
  const first = details.call === null;
  details.call = call;
  details.shown = null;
  details.node.hidden = false;
  document.body.classList.add("with-details");
  renderDetails();
  if (first) byId("details-close").focus({ preventScroll: true });
  details.body.scrollTop = 0;
}

function closeDetails() {
  if (details.call === null) return;
  details.call = null;
  details.node.hidden = true;
  document.body.classList.remove("with-details");
  const back = details.back;
  (back && back.isConnected && back !== document.body ? back : list.scroller).focus({ preventScroll: true });
}

// Anew when the call has changed; of a running one only the clock moves.
function renderDetails() {
  const { call } = details;
  if (call === null) return;
  if (details.shown !== call.event || details.shownKind !== call.kind) {
    details.shown = call.event;
    details.shownKind = call.kind;
    const { event } = call;
    byId("details-title").replaceChildren(element("span", { class: "pill " + call.kind }, statusText(call)), event.model || event.path);
    details.body.replaceChildren(...sectionsOf(call).filter((section) => section !== null));
  }
  const running = details.body.querySelector(".running-clock");
  if (running) setText(running, clock(Date.now() - call.event.at));
}

function sectionsOf(call) {
  const { event } = call;
  const kept = event.details || {};
  if (call.kind === "running" || call.kind === "lost") return [factsOf(call)];
  return [
    failureOf(call, kept),
    factsOf(call),
    waterfallOf(event),
    tokensOf(event),
    textOf("Request content", kept.request_body),
    textOf("Reply content", kept.reply_body),
    headersOf("Request headers", kept.request_headers),
    headersOf("Reply headers", kept.reply_headers),
    event.details ? null : element("p", { class: "note" }, "Headers and error texts are kept only of calls that end while somebody looks at this page."),
  ];
}

const section = (title, ...children) => element("section", {}, element("h3", {}, title), ...children);

function pairs(facts) {
  const shown = facts.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return element("dl", {}, shown.map(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
}

// The words for ends that are no answer.
const ENDS = {
  upstream_failed: "The provider could not be reached, or did not answer.",
  upstream_cut: "The provider broke the reply off.",
  client_gone: "The client hung up before the reply was whole.",
  abandoned: "The call was abandoned as the router stopped.",
  refused: "Refused by the router; nothing was sent to the provider.",
};

function failureOf(call, kept) {
  if (call.kind === "ok") return null;
  const text = kept.error || ENDS[call.event.end] || "The provider answered with status " + call.event.status + ".";
  return element("section", { class: "failure " + call.kind }, element("h3", {}, call.kind === "refused" ? "Refused" : "Failed"), element("pre", {}, indented(text)));
}

function factsOf(call) {
  const { event } = call;
  const running = call.kind === "running" ? element("span", { class: "running-clock" }) : null;
  return section("Call",
    pairs([
      ["Began", dateAndTime(event.at)],
      ["Running for", running],
      ["Took", running ? null : span(event.duration_ms)],
      ["Agent", event.agent],
      ["Provider", event.provider],
      ["Request", event.method + " " + event.path],
      ["Kind", [event.stream ? "stream" : "one reply", event.translated ? "translated between protocols" : null].filter(Boolean).join(", ")],
      ["Request id", event.request_id],
      ["Code", event.code],
      ["Sent", event.request_bytes === null ? null : bytes(event.request_bytes)],
      ["Received", running ? null : bytes(event.reply_bytes)],
    ]));
}

function tokensOf(event) {
  if (event.input_tokens + event.output_tokens === 0 && event.cost_nano_usd === 0) return section("Cost", element("p", { class: "note" }, "No tokens, no cost."));
  const reasoning = event.reasoning_tokens > 0 ? ` (${count(event.reasoning_tokens)} of them reasoning)` : "";
  return section("Tokens and cost",
    pairs([
      ["Input", count(event.input_tokens - event.cached_tokens)],
      ["From cache", event.cached_tokens > 0 ? count(event.cached_tokens) : null],
      ["Output", count(event.output_tokens) + reasoning],
      ["Cost", cost(event)],
    ]),
    event.estimated ? element("p", { class: "note" }, "An upper estimate: the provider gave no figures.") : null);
}

// The stages of a call, in the order in which they follow one another.
const STAGES = [
  ["In the router", "sent_ms"],
  ["Waiting for provider", "head_ms"],
  ["To the first byte", "first_byte_ms"],
  ["Receiving", "received_ms"],
  ["Settling", "duration_ms"],
];

function waterfallOf(event) {
  const whole = Math.max(event.duration_ms, 0.001);
  let from = 0;
  let broken = null;
  const rows = [];
  for (const [stage, member] of STAGES) {
    const until = event[member];
    if (until === null || until === undefined) {
      broken = broken || stage;
      continue;
    }
    // A call that broke off spent the rest of its time in the stage that did not end.
    const name = member === "duration_ms" && broken !== null ? broken : stage;
    broken = null;
    const bar = element("i");
    const to = Math.max(from, Math.min(until, whole));
    bar.style.left = (100 * from) / whole + "%";
    bar.style.width = (100 * (to - from)) / whole + "%";
    rows.push(element("li", {}, element("span", {}, name), element("span", { class: "track", "aria-hidden": "true" }, bar), element("b", {}, span(to - from))));
    from = to;
  }
  return section("Where the time went", element("ol", { class: "waterfall" }, rows));
}

function headersOf(title, fields) {
  if (!fields || fields.length === 0) return null;
  return section(title, element("dl", { class: "headers" }, fields.map(([name, value]) => [element("dt", {}, name), element("dd", {}, value)])));
}

const textOf = (title, text) => (text === null || text === undefined ? null : section(title, element("pre", {}, indented(text))));

// JSON on many lines; what is none, or was cut at its bound, as it is.
function indented(text) {
  if (!/^\s*[[{]/.test(text)) return text;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
