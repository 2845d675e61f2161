// Figures over time: rings of buckets of fixed size, so that an hour at any rate takes the same memory.

// Times are counted in logarithmic bins, 0.1 ms to 20 min, each 13 % wide.
const BINS = 128;
const BIN_BASE = Math.log(1.13);

function binOf(ms) {
  return Math.max(0, Math.min(BINS - 1, Math.floor(Math.log(Math.max(ms, 0.1) / 0.1) / BIN_BASE)));
}

// The quantile of a histogram, in its bin by its share; null: it is empty.
function quantile(bins, share) {
  let total = 0;
  for (let bin = 0; bin < BINS; bin++) total += bins[bin];
  if (total === 0) return null;
  let left = share * total;
  for (let bin = 0; bin < BINS; bin++) {
    if (bins[bin] > 0 && left <= bins[bin]) return 0.1 * Math.exp((bin + left / bins[bin]) * BIN_BASE);
    left -= bins[bin];
  }
  return 0.1 * Math.exp(BINS * BIN_BASE);
}

function emptyBucket() {
  return { slot: -1, calls: 0, failed: 0, refused: 0, input: 0, cached: 0, output: 0, nano: 0, unpriced: 0,
    latency: new Uint32Array(BINS), first: new Uint32Array(BINS) };
}

function reset(bucket, slot) {
  bucket.slot = slot;
  bucket.calls = bucket.failed = bucket.refused = bucket.input = bucket.cached = bucket.output = bucket.nano = bucket.unpriced = 0;
  bucket.latency.fill(0);
  bucket.first.fill(0);
}

// The last `length` steps of `step` milliseconds.
function newSeries(step, length) {
  return { step, length, buckets: Array.from({ length }, emptyBucket) };
}

function addToSeries(series, event, now) {
  const slot = Math.floor((event.at + event.duration_ms) / series.step);
  if (slot <= Math.floor(now / series.step) - series.length) return;
  const bucket = series.buckets[slot % series.length];
  if (bucket.slot > slot) return;
  if (bucket.slot !== slot) reset(bucket, slot);
  bucket.calls++;
  if (event.refused) bucket.refused++;
  else if (event.type === "llm_request_failed") bucket.failed++;
  bucket.input += event.input_tokens;
  bucket.cached += event.cached_tokens;
  bucket.output += event.output_tokens;
  if (event.cost_nano_usd === null) bucket.unpriced++;
  else bucket.nano += event.cost_nano_usd;
  // A refusal takes no time and a failure any: only what was answered says how long answers take.
  if (event.type !== "llm_request_completed") return;
  bucket.latency[binOf(event.duration_ms)]++;
  // The first byte of a stream comes with its first token; that of any other reply with its last.
  if (event.stream && event.first_byte_ms !== null) bucket.first[binOf(event.first_byte_ms)]++;
}

// The buckets in order of time, the one of `now` last; null where nothing happened.
function bucketsUntil(series, now) {
  const last = Math.floor(now / series.step);
  return Array.from({ length: series.length }, (_, at) => {
    const slot = last - series.length + 1 + at;
    const bucket = series.buckets[slot % series.length];
    return bucket.slot === slot ? bucket : null;
  });
}

// Everything in some buckets, added up.
function sum(buckets) {
  const whole = emptyBucket();
  for (const bucket of buckets) {
    if (bucket === null) continue;
    for (const name of ["calls", "failed", "refused", "input", "cached", "output", "nano", "unpriced"]) whole[name] += bucket[name];
    for (let bin = 0; bin < BINS; bin++) {
      whole.latency[bin] += bucket.latency[bin];
      whole.first[bin] += bucket.first[bin];
    }
  }
  return whole;
}
