//! A million rows through the ledger: what a row costs its request, what the file costs the disk, and whether memory grows.
//!
//! `cargo bench --bench ledger [-- ROWS]`. Figures, not assertions: they are read by people, on the machine they are about.

use iron_runtime::UnixMs;
use iron_runtime::call::{End, Outcome, Stages};
use iron_runtime::ledger::{Entry, Filter, Ledger, Report};
use iron_runtime::live::metrics::{Closed, Ending, Metrics};
use iron_runtime::money::{NanoUsd, Usage};
use iron_runtime::row::{Bill, Books, RequestInfo, Row};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn main() {
    let rows = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(1_000_000_u64);
    let dir = std::env::temp_dir().join(format!("iron-ledger-bench-{}", std::process::id()));
    let path = dir.join("ledger.db");
    write(&path, rows);
    read(&path);
    (0..3).for_each(|_| start(&path));
    std::fs::remove_dir_all(&dir).expect("the directory can be removed");
}

fn write(path: &Path, rows: u64) {
    let ledger = Ledger::open_with(path, digest).expect("a ledger");
    let (mut appending, mut appended, mut refused) = (Duration::ZERO, 0, 0);
    let mut first: Vec<_> = (1..=20_000).map(|serial| timed(&ledger, &Arc::new(row(serial)))).collect();
    first.sort_unstable();
    println!("{:?} a record in the middle of 20,000, {:?} at their 99th percentile", first[10_000], first[19_800]);
    let (before, begun) = (resident(), Instant::now());
    for serial in 20_001..=rows {
        let row = Arc::new(row(serial));
        let start = Instant::now();
        // A thread that does nothing else is faster than SQLite, and comes to the journal's bound.
        while ledger.record(&row).is_err() {
            refused += 1;
            std::thread::sleep(Duration::from_millis(1));
        }
        if refused == 0 {
            appending += start.elapsed();
            appended += 1;
        }
    }
    println!(
        "{:.2} µs a record on average ({appended} of them, before the journal's bound made this thread wait, {refused} times)",
        micros(appending, appended)
    );
    ledger.stop(Duration::from_secs(600));
    println!("{:.0} rows a second, folded into SQLite", rows as f64 / begun.elapsed().as_secs_f64());
    println!("{before} KiB resident after 20,000 rows, {} KiB after {rows}", resident());
    println!("{} bytes a row", std::fs::metadata(path).expect("the file").len() / rows);
}

fn timed(ledger: &Ledger, row: &Arc<Row>) -> Duration {
    let start = Instant::now();
    ledger.record(row).expect("recorded");
    start.elapsed()
}

fn read(path: &Path) {
    let (before, start) = (resident(), Instant::now());
    let report = Report::open(path).expect("a ledger");
    let tally = report.tally(&Filter::default()).expect("sums");
    println!("tally of {} rows: {:?}, {} KiB resident before, {} KiB after", tally.all.requests, start.elapsed(), before, resident());
    let start = Instant::now();
    let spent = report.spent(&Filter::default()).expect("a sum");
    println!("spent {spent}: {:?}", start.elapsed());
    let start = Instant::now();
    let count = report.rows(&Filter::default(), usize::MAX).expect("rows").count();
    println!("{count} rows one by one: {:?}, {} KiB resident", start.elapsed(), resident());
}

/// What a start pays: the ledger opened, and its figures brought up to the last row.
fn start(path: &Path) {
    let start = Instant::now();
    let ledger = Ledger::open_with(path, digest).expect("a ledger");
    let opened = start.elapsed();
    let earlier = ledger.earlier().expect("figures");
    let metrics = Metrics::default();
    metrics.restore(earlier.text());
    earlier
        .each(|entry| {
            metrics.count_earlier(&closed(&entry));
            true
        })
        .expect("readable");
    println!("start: opened in {opened:?}, {} rows to count, figures after {:?}", earlier.rows(), start.elapsed());
    let start = Instant::now();
    let count = ledger.report().expect("a ledger").rows(&Filter::default(), 200).expect("rows").count();
    println!("the last {count} rows: {:?}", start.elapsed());
}

fn digest(earlier: &str, rows: &mut dyn Iterator<Item = Entry>) -> String {
    let metrics = Metrics::default();
    metrics.restore(earlier);
    rows.for_each(|entry| metrics.count_earlier(&closed(&entry)));
    metrics.snapshot()
}

fn closed(entry: &Entry) -> Closed<'_> {
    Closed {
        provider: &entry.provider,
        model: entry.model.as_deref(),
        status: entry.status,
        ending: Ending::Completed,
        stream: entry.stream,
        usage: entry.usage,
        cost: entry.cost,
        first_byte_us: entry.first_byte_us,
        total_us: entry.total_us,
        sent_us: entry.sent_us,
        head_us: entry.head_us,
    }
}

fn micros(time: Duration, count: u64) -> f64 {
    time.as_secs_f64() * 1e6 / count as f64
}

/// Resident memory in KiB, as Linux tells it; elsewhere 0.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

fn row(serial: u64) -> Row {
    Row::new(
        RequestInfo {
            serial,
            at: UnixMs(1_790_000_000_000 + serial * 86),
            agent: Some(["planner", "coder", "critic"][serial as usize % 3].into()),
            upstream: "openai".into(),
            method: "POST".into(),
            path: "/v1/chat/completions".into(),
            model: Some(["gpt-4o-mini", "gpt-4.1", "o3-mini"][serial as usize / 7 % 3].into()),
            stream: serial.is_multiple_of(2),
            request_bytes: None,
            translated: false,
        },
        Outcome {
            status: 200,
            end: End::Complete,
            reply_bytes: 2000 + serial % 1000,
            first_byte: Some(Duration::from_millis(300)),
            total: Duration::from_millis(1500 + serial % 1000),
            stages: Stages::default(),
        },
        Bill {
            usage: Some(Usage { input: 900 + serial % 100, cache_read: 512, output: 200 + serial % 50, ..Usage::default() }),
            cost: Some(NanoUsd(250_000 + serial % 1000)),
            ..Bill::default()
        },
        None,
    )
}
