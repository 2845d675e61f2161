// Words and figures: everything that turns a value into text, and the one way in which elements are made.

const DASH = "\u2013";

// An element with its attributes and children. Children that are no elements become text, never HTML.
function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "class") made.className = value;
    else if (name === "onclick") made.addEventListener("click", value);
    else if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return made;
}

const byId = (id) => document.getElementById(id);

// Writes only what has changed: layout is dear at ten updates a second.
function setText(node, text) {
  if (node.shownText !== text) {
    node.shownText = text;
    node.textContent = text;
  }
}

// 12,345: by hand, because the browser's own formats take a tenth of a second to load.
function count(number) {
  return Math.round(number).toString().replace(/\B(?=(\d{3})+$)/g, ",");
}

// 1,234 · 12.3k · 4.56M
function short(number) {
  if (number < 10000) return count(number);
  const [scaled, unit] = number < 1e6 ? [number / 1e3, "k"] : number < 1e9 ? [number / 1e6, "M"] : [number / 1e9, "G"];
  return (scaled < 10 ? scaled.toFixed(2) : scaled < 100 ? scaled.toFixed(1) : scaled.toFixed(0)) + unit;
}

// The same in a line of small print: 1.2k · 46k
function brief(number) {
  return number < 1000 ? count(number) : short(number).replace(/^(\d\.\d)\d|^(\d\d)\.\d/, "$1$2").replace(/^(\d),(\d)\d\d$/, "$1.$2k");
}

// A figure on a scale: zeros behind the point say nothing there.
const onScale = (text) => text.replace(/(\.\d*?)0+(?!\d)/, "$1").replace(/\.(?!\d)/, "");

// Dollars to the digits that matter: $12.30 · $0.042 · $0.000015
function usd(dollars) {
  if (dollars === 0) return "$0.00";
  if (dollars >= 1000) return "$" + count(dollars);
  if (dollars >= 1) return "$" + dollars.toFixed(2);
  if (dollars >= 0.1) return "$" + dollars.toFixed(3);
  const places = Math.min(9, (dollars < 1e-6 ? 0 : 1) - Math.floor(Math.log10(dollars)));
  return "$" + dollars.toFixed(places);
}

// Dollars on a scale: below a cent in cents, so that they fit beside it.
const usdOnScale = (dollars) => onScale(dollars > 0 && dollars < 0.01 ? (dollars * 100).toFixed(7) + "\u00a2" : usd(dollars));

// What a call cost; one without a price says so.
function cost(event) {
  if (event.cost_nano_usd === null || event.cost_nano_usd === undefined) return "no price";
  return (event.estimated ? "\u2248" : "") + usd(event.cost_nano_usd / 1e9);
}

// 0.4 ms · 123 ms · 1.23 s · 12.3 s · 2:05 min
function span(ms) {
  if (ms === null || ms === undefined) return DASH;
  if (ms < 10) return ms.toFixed(1) + " ms";
  if (ms < 999.5) return ms.toFixed(0) + " ms";
  if (ms < 9995) return (ms / 1000).toFixed(2) + " s";
  if (ms < 59950) return (ms / 1000).toFixed(1) + " s";
  const seconds = Math.round(ms / 1000);
  return Math.floor(seconds / 60) + ":" + String(seconds % 60).padStart(2, "0") + " min";
}

// The clock of something that runs: steady digits.
function clock(ms) {
  return ms < 60000 ? (Math.max(0, ms) / 1000).toFixed(1) + " s" : span(ms);
}

function bytes(number) {
  if (number === null || number === undefined) return DASH;
  if (number < 1024) return number + " B";
  return number < 1048576 ? (number / 1024).toFixed(1) + " KiB" : (number / 1048576).toFixed(1) + " MiB";
}

function timeOfDay(at) {
  const date = new Date(at);
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map((part) => String(part).padStart(2, "0")).join(":");
}

function dateAndTime(at) {
  const date = new Date(at);
  const day = [date.getFullYear(), date.getMonth() + 1, date.getDate()].map((part) => String(part).padStart(2, "0")).join("-");
  return day + " " + timeOfDay(at) + "." + String(date.getMilliseconds()).padStart(3, "0");
}

function percent(part, whole) {
  if (!whole) return DASH;
  const share = (100 * part) / whole;
  return (share === 0 || share >= 10 ? share.toFixed(0) : share.toFixed(1)) + "\u202f%";
}

function plural(number, one, many) {
  return count(number) + " " + (number === 1 ? one : many);
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // No permission, or an address that browsers don't trust: by a selection, as of old.
    const area = element("textarea", { class: "unseen", readonly: true });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

// A button that copies what `text` gives, and says that it has.
function copyButton(label, text) {
  const button = element("button", { type: "button", class: "button" }, label);
  button.addEventListener("click", async () => {
    await copyText(text());
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = label), 1200);
  });
  return button;
}
