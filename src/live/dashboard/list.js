// The list of calls: newest on top, only the rows in sight exist, search and filters over all that is kept.

const CELLS = ["time", "status", "model", "provider", "agent", "path", "tokens", "cost", "first", "took"];
const SPARE_ROWS = 3;

const list = {
  scroller: byId("calls"), spacer: byId("rows"), rows: [], view: [], top: 0, height: 0, rowHeight: 32,
  selected: null, paused: null, begunAtPause: 0, changed: true, holdUntil: 0, terms: [], filters: { status: "", provider: "", agent: "", model: "" },
};

// How long the list holds still for somebody who points at a row, so that it does not slip away under the click.
const HOLD_MS = 1200;

const source = () => list.paused || store.calls;

function startList() {
  list.scroller.addEventListener("scroll", () => {
    list.top = list.scroller.scrollTop;
    renderRows();
    renderNewer();
  }, { passive: true });
  new ResizeObserver(measure).observe(list.scroller);
  list.spacer.addEventListener("click", (event) => {
    const row = event.target.closest(".row");
    const shown = row && list.rows.find((each) => each.node === row);
    if (shown && shown.call) {
      select(shown.call);
      openDetails(shown.call);
    }
  });
  list.spacer.addEventListener("pointermove", () => (list.holdUntil = Date.now() + HOLD_MS), { passive: true });
  list.spacer.addEventListener("pointerleave", () => (list.holdUntil = 0));
  byId("newer").addEventListener("click", () => list.scroller.scrollTo({ top: 0 }));
}

function measure() {
  list.height = list.scroller.clientHeight;
  list.rowHeight = parseFloat(getComputedStyle(list.spacer).getPropertyValue("--row-px")) * parseFloat(getComputedStyle(document.documentElement).fontSize);
  list.changed = true;
  renderList();
}

function matches(call) {
  const { status, provider, agent, model } = list.filters;
  const { event } = call;
  if (status !== "" && call.kind !== status) return false;
  if (provider !== "" && event.provider !== provider) return false;
  if (agent !== "" && event.agent !== agent) return false;
  if (model !== "" && event.model !== model) return false;
  return list.terms.every((term) => call.hay.includes(term));
}

const isFiltered = () => list.terms.length > 0 || Object.values(list.filters).some((value) => value !== "");
const atRow = (index) => list.view[list.view.length - 1 - index];
const rowOf = (call) => list.view.length - 1 - list.view.lastIndexOf(call);

// Computes what is to be seen. Who has scrolled down keeps the rows before his eyes while newer ones come in above them.
function renderList() {
  const held = list.top > 0 ? atRow(Math.floor(list.top / list.rowHeight)) : undefined;
  const within = list.top % list.rowHeight;
  list.view = isFiltered() ? source().filter(matches) : source().slice();
  const height = list.view.length * list.rowHeight + "px";
  if (list.spacer.style.height !== height) list.spacer.style.height = height;
  if (held !== undefined) {
    const at = rowOf(held);
    if (at < list.view.length) list.scroller.scrollTop = list.top = at * list.rowHeight + within;
  }
  list.changed = false;
  renderRows();
  renderFrame();
}

function newRow(at) {
  const node = element("div", { class: "row", role: "row", id: "row-" + at });
  const cells = CELLS.map((name) => node.appendChild(element("span", { class: "cell " + name, role: "gridcell" })));
  list.spacer.append(node);
  return { node, cells, call: null, look: "" };
}

function renderRows() {
  const wanted = Math.min(Math.ceil(list.height / list.rowHeight) + SPARE_ROWS, 200);
  while (list.rows.length < wanted) list.rows.push(newRow(list.rows.length));
  const first = Math.max(0, Math.floor(list.top / list.rowHeight) - 1);
  const now = Date.now();
  let active = null;
  for (let at = first; at < first + list.rows.length; at++) {
    const row = list.rows[at % list.rows.length];
    const call = atRow(at) || null;
    showRow(row, call, at, now);
    if (call !== null && call === list.selected) active = row.node.id;
  }
  if (active === null) list.scroller.removeAttribute("aria-activedescendant");
  else if (list.scroller.getAttribute("aria-activedescendant") !== active) list.scroller.setAttribute("aria-activedescendant", active);
}

function showRow(row, call, at, now) {
  const selected = call !== null && call === list.selected;
  const look = call === null ? "none" : "row " + call.kind + (selected ? " selected" : "");
  if (row.look !== look) {
    row.look = look;
    row.node.className = look === "none" ? "row" : look;
    row.node.hidden = call === null;
    row.node.setAttribute("aria-selected", String(selected));
  }
  row.call = call;
  if (call === null) return;
  if (row.at !== at || row.tall !== list.rowHeight) {
    row.at = at;
    row.tall = list.rowHeight;
    row.node.style.transform = `translateY(${at * list.rowHeight}px)`;
    row.node.setAttribute("aria-rowindex", at + 2);
  }
  cellTexts(call, now).forEach((text, of) => setText(row.cells[of], text));
  if (row.titled !== call.event) {
    // What may not fit its column can be read by pointing at it.
    row.titled = call.event;
    for (const of of [1, 2, 4]) row.cells[of].title = row.cells[of].textContent;
  }
}

function statusText(call) {
  const { event } = call;
  if (call.kind === "running") return event.stream ? "streaming" : "running";
  if (call.kind === "lost") return "end not seen";
  const reason = event.code || (event.end === "complete" || event.end === "refused" ? "" : event.end);
  // The reason first: it says more than its number where there is no room for both. Status 0: there was none.
  return [reason.replaceAll("_", " "), event.status || ""].filter(Boolean).join(" ") || "no answer";
}

// What is too small for its column; the details have every digit.
const briefCost = (event) => (event.cost_nano_usd > 0 && event.cost_nano_usd < 1000 ? "<0.0001\u00a2" : cost(event));

function cellTexts(call, now) {
  const { event } = call;
  const open = call.kind === "running" || call.kind === "lost";
  const none = open ? "" : DASH;
  const used = !open && event.input_tokens + event.output_tokens > 0;
  return [
    timeOfDay(event.at),
    statusText(call),
    event.model || DASH,
    event.provider || DASH,
    event.agent || DASH,
    event.method + " " + event.path,
    used ? short(event.input_tokens) + " \u2192 " + short(event.output_tokens) : none,
    open || (!used && event.cost_nano_usd === 0) ? none : briefCost(event),
    open ? none : span(event.first_byte_ms),
    call.kind === "running" ? clock(now - event.at) : open ? "" : span(event.duration_ms),
  ];
}

// What stands around the rows: counts, the pause, the empty states.
function renderFrame() {
  const all = source().length;
  setText(byId("shown"), isFiltered() ? count(list.view.length) + " of " + plural(all, "call", "calls") : plural(all, "call", "calls"));
  list.scroller.setAttribute("aria-rowcount", list.view.length + 1);
  const empty = store.calls.length === 0;
  document.body.classList.toggle("empty", empty);
  byId("first-call").hidden = !empty;
  byId("no-match").hidden = empty || list.view.length > 0;
  byId("clear").hidden = !isFiltered();
  renderPause();
  renderNewer();
}

function renderPause() {
  const paused = list.paused !== null;
  const button = byId("pause");
  if (button.getAttribute("aria-pressed") !== String(paused)) button.setAttribute("aria-pressed", paused);
  const waiting = paused ? store.began - list.begunAtPause : 0;
  setText(byId("pause-text"), paused ? (waiting > 0 ? "Resume \u00b7 " + count(waiting) + " new" : "Resume") : "Pause");
}

function renderNewer() {
  byId("newer").hidden = list.top < list.rowHeight * 2 || list.paused !== null;
}

function togglePause() {
  list.paused = list.paused === null ? store.calls.slice() : null;
  list.begunAtPause = store.began;
  renderList();
}

function select(call) {
  list.selected = call;
  renderRows();
}

// Moves the selection by so many rows and brings it in sight.
function move(by) {
  if (list.view.length === 0) return;
  const now = list.selected === null ? -1 : rowOf(list.selected);
  const from = now >= list.view.length ? -1 : now;
  const to = from === -1 ? Math.floor(list.top / list.rowHeight) : Math.max(0, Math.min(list.view.length - 1, from + by));
  select(atRow(to));
  const head = list.spacer.offsetTop;
  const upper = to * list.rowHeight;
  const space = list.height - head;
  if (upper < list.top) list.scroller.scrollTop = upper;
  else if (upper + list.rowHeight > list.top + space) list.scroller.scrollTop = upper + list.rowHeight - space;
  if (details.call !== null) openDetails(list.selected);
}

// The names that the filters offer, as far as they have been seen.
function renderFilters() {
  store.namesChanged = false;
  for (const [kind, names] of Object.entries(store.names)) {
    const choice = byId("filter-" + kind);
    const any = choice.options[0];
    choice.replaceChildren(any, ...[...names].sort().map((name) => element("option", { value: name }, name)));
    choice.value = list.filters[kind];
    choice.hidden = names.size === 0;
  }
}

function filterBy(kind, value) {
  list.filters[kind] = value;
  list.scroller.scrollTop = list.top = 0;
  renderList();
}

function search(text) {
  list.terms = text.toLowerCase().split(/\s+/).filter((term) => term !== "");
  list.scroller.scrollTop = list.top = 0;
  renderList();
}

function clearFilters() {
  byId("search").value = "";
  for (const kind of Object.keys(list.filters)) {
    list.filters[kind] = "";
    byId("filter-" + kind).value = "";
  }
  search("");
}
