//! Pages, events and figures of earlier calls, from memory and from a ledger.

use super::*;
use crate::call::{End, Outcome, Stages};
use crate::live::metrics::Money;
use crate::money::{NanoUsd, Usage};
use crate::row::{Bill, Books, RequestInfo};
use std::time::Duration;

/// A call that began in that millisecond.
fn row(serial: u64, at: u64) -> Arc<Row> {
    let micros = |share: u64| Some(Duration::from_nanos(serial * share * 1_234));
    let info = RequestInfo {
        serial,
        at: UnixMs(1_790_000_000_000 + at),
        agent: None,
        upstream: if serial.is_multiple_of(3) { "anthropic" } else { "openai" }.into(),
        method: "POST".into(),
        path: "/v1/chat/completions".into(),
        model: Some(format!("model-{}", serial % 5)),
        stream: serial.is_multiple_of(2),
        request_bytes: Some(serial),
        translated: false,
    };
    let (status, end) = match serial % 7 {
        0 => (429, End::Complete),
        1 => (402, End::Refused),
        2 => (200, End::ClientGone),
        _ => (200, End::Complete),
    };
    let stages = Stages { sent: micros(1), head: micros(60), received: micros(90) };
    let outcome = Outcome { status, end, reply_bytes: 10, first_byte: micros(61), total: Duration::from_micros(serial * 120), stages };
    let usage = Usage { input: serial, output: 2 * serial, cache_read: 3, reasoning: 1, ..Usage::default() };
    let bill = if end == End::Refused {
        Bill::nothing()
    } else {
        Bill { usage: Some(usage), cost: (!serial.is_multiple_of(11)).then_some(NanoUsd(serial * 1_001)), ..Bill::nothing() }
    };
    Arc::new(Row::new(info, outcome, bill, (end == End::Refused).then_some("budget_exceeded")))
}

fn memory(ats: &[u64]) -> Keeping {
    let memory = crate::ledger::Memory::new();
    for (serial, at) in (1..).zip(ats) {
        memory.record(&row(serial, *at)).expect("kept");
    }
    Keeping::Memory(Arc::new(memory))
}

/// Every call on every page, by who asks for what is before the oldest.
fn walk(keeping: &Keeping, limit: usize) -> Vec<u64> {
    let (mut serials, mut before) = (Vec::new(), None);
    loop {
        let (rows, more) = Ask { limit, before }.rows(keeping).expect("rows");
        serials.extend(rows.iter().map(|row| row.info.serial));
        before = rows.iter().map(|row| row.info.at).min();
        assert!(rows.is_sorted_by_key(|row| std::cmp::Reverse(row.info.at)));
        if !more {
            return serials;
        }
    }
}

const ATS: [u64; 12] = [1, 2, 2, 2, 3, 5, 5, 8, 9, 9, 9, 9];

fn every_page_together_has_every_call_once(keeping: &Keeping) {
    for limit in 1..14 {
        let mut serials = walk(keeping, limit);
        assert_eq!(serials.first(), Some(&12), "{limit}");
        serials.sort_unstable();
        assert_eq!(serials, (1..=12).collect::<Vec<_>>(), "{limit}");
    }
}

#[test]
fn pages_of_memory() {
    every_page_together_has_every_call_once(&memory(&ATS));
    let none = Ask { limit: 5, before: Some(UnixMs(3)) }.page(&memory(&ATS)).expect("a page");
    assert_eq!(none, r#"{"calls":[],"more":false}"#);
    let page = Ask { limit: 3, before: None }.page(&memory(&ATS)).expect("a page");
    let page: serde_json::Value = serde_json::from_str(&page).expect("JSON");
    assert_eq!((page["calls"].as_array().map(Vec::len), &page["more"]), (Some(4), &true.into()), "four began in one millisecond");
}

#[test]
fn what_is_asked_for_is_bounded() {
    let ask = |query| Ask::of(Some(query)).map(|ask| (ask.limit, ask.before.map(|at| at.0)));
    assert_eq!(Ask::of(None), Ok(Ask { limit: 200, before: None }));
    assert_eq!(ask("limit=7&before=9&x=y&z"), Ok((7, Some(9))));
    assert_eq!(ask("limit=0"), Ok((1, None)));
    assert_eq!(ask("limit=18446744073709551615"), Ok((1000, None)));
    for wrong in ["limit=", "limit=-1", "before=now", "before=1.5"] {
        assert_eq!(ask(wrong).expect_err(wrong).reason.code(), "invalid_query");
    }
}

#[cfg(feature = "ledger")]
mod file {
    use super::*;
    use crate::config::Config;
    use crate::ledger::Ledger;
    use std::path::{Path, PathBuf};

    /// A directory of a test's own, removed at its end.
    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("iron-history-{name}-{}", std::process::id()));
            std::fs::create_dir(&dir).expect("a new directory");
            Self(dir)
        }

        fn ledger(&self) -> PathBuf {
            self.0.join("ledger.db")
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn open(path: &Path) -> Keeping {
        Keeping::open(&Config { state: Some(path.into()), ..Config::default() }).expect("a ledger")
    }

    /// The figures that are kept.
    fn text(metrics: &Metrics) -> String {
        let text = metrics.to_text(&Money::default());
        text.lines().filter(|line| !line.contains("_start_time_")).collect::<Vec<_>>().join("\n")
    }

    /// What a call tells.
    fn tell(metrics: &Metrics, row: &Arc<Row>) {
        if !row.is_refused() {
            metrics.see(&Event::RequestStarted(row.info.clone()));
        }
        metrics.see(&Event::closing(row.clone()));
    }

    #[test]
    fn pages_of_a_ledger_and_its_last_events() {
        let dir = Dir::new("pages");
        let keeping = open(&dir.ledger());
        for (serial, at) in (1..).zip(ATS) {
            keeping.books().record(&row(serial, at)).expect("kept");
        }
        // Rows that wait in the journal are there like those that were taken in.
        every_page_together_has_every_call_once(&keeping);
        keeping.stop();
        let keeping = open(&dir.ledger());
        every_page_together_has_every_call_once(&keeping);
        let events = recent(&keeping, 5).expect("events");
        let names: Vec<_> = events.iter().map(|event| (event.at().0 % 1000, event.name())).collect();
        assert_eq!(names.len(), 5);
        assert!(names.is_sorted_by_key(|(at, _)| *at), "oldest first: {names:?}");
        assert_eq!(names[0], (8, "llm_request_failed"), "refused");
    }

    #[test]
    fn figures_after_a_restart_are_those_before_it() {
        let dir = Dir::new("figures");
        let before = Metrics::default();
        let mut serials = 1..;
        for run in [1, 300, 2_500] {
            let keeping = open(&dir.ledger());
            let live = Live::start(false).expect("a thread");
            let restoring = restore(&keeping, &live);
            assert!(live.metrics().is_whole());
            assert_eq!(text(live.metrics()), text(&before));
            for serial in serials.by_ref().take(run) {
                let row = row(serial, serial);
                tell(&before, &row);
                keeping.books().record(&row).expect("kept");
            }
            restoring.end();
            keeping.stop();
            live.stop();
        }
        let live = Live::start(false).expect("a thread");
        let _restoring = restore(&open(&dir.ledger()), &live);
        assert_eq!(text(live.metrics()), text(&before));
    }

    #[test]
    fn many_rows_that_nobody_counted_are_counted_beside_the_start() {
        let dir = Dir::new("beside");
        let before = Metrics::default();
        let ledger = Ledger::open(&dir.ledger()).expect("a ledger");
        for serial in 1..=FEW + 2_000 {
            let row = row(serial, serial);
            tell(&before, &row);
            ledger.record(&row).expect("kept");
        }
        ledger.stop(Duration::from_secs(60));
        let keeping = open(&dir.ledger());
        let live = Live::start(false).expect("a thread");
        let restoring = restore(&keeping, &live);
        let now = row(9_999_999, 1);
        tell(&before, &now);
        tell(live.metrics(), &now);
        keeping.books().record(&now).expect("kept");
        while !live.metrics().is_whole() {
            std::thread::yield_now();
        }
        restoring.end();
        let sorted = |text: String| {
            let mut lines: Vec<_> = text.lines().map(str::to_string).collect();
            lines.sort_unstable();
            lines
        };
        assert_eq!(sorted(text(live.metrics())), sorted(text(&before)), "in whatever order groups were met");
    }
}
