//! The ledger as a file among processes: killed, locked, damaged, full, shared. Children are this very binary, told by a variable what to do.

use iron_runtime::call::{End, Outcome, Stages};
use iron_runtime::ledger::{Entry, Filter, Ledger, Report};
use iron_runtime::money::{Card, NanoUsd, Price, Rates, Tier, Usage};
use iron_runtime::outbox::{Item, ItemKind, Leases, Outbox, SavedLease};
use iron_runtime::row::{Bill, Books, RequestInfo, Row};
use iron_runtime::{Error, UnixMs};
use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

const DAY: u64 = 86_400_000;
const PATIENCE: Duration = Duration::from_secs(30);
const CHILD: &str = "IRON_LEDGER_CHILD";

/// A directory of one test's own.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("iron-ledger-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        Self(dir)
    }

    fn ledger(&self) -> PathBuf {
        self.0.join("state/ledger.db")
    }

    /// The files there are beside the ledger's own.
    fn journals(&self) -> Vec<String> {
        let names = fs::read_dir(self.0.join("state")).expect("a directory").map(|file| file.expect("a file").file_name());
        names.map(|name| name.to_string_lossy().into_owned()).filter(|name| name.contains(".rows")).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn price() -> Arc<Price> {
    Arc::new(Price {
        provider: "openai".into(),
        model: "gpt-4o-mini".into(),
        source: "test".into(),
        standard: Card { base: Rates { input: 150_000, output: 600_000, ..Rates::default() }, long: Vec::new().into() },
        tiers: Vec::new().into(),
        max_output_tokens: None,
        context_window: None,
        image_tokens: 0,
        reasoning: false,
    })
}

/// A call that cost a thousand nano-dollars and its number.
fn row(serial: u64) -> Row {
    Row::new(
        RequestInfo {
            serial,
            at: UnixMs(20_000 * DAY + serial),
            agent: (!serial.is_multiple_of(3)).then(|| format!("agent-{}", serial % 3).into()),
            upstream: if serial.is_multiple_of(2) { "openai" } else { "anthropic" }.into(),
            method: "POST".into(),
            path: "/v1/chat/completions".into(),
            model: Some("gpt-4o-mini".into()),
            stream: serial.is_multiple_of(2),
            request_bytes: None,
            translated: false,
        },
        Outcome {
            status: 200,
            end: End::Complete,
            reply_bytes: 77,
            first_byte: Some(Duration::from_micros(900)),
            total: Duration::from_millis(3),
            stages: Stages::default(),
        },
        Bill {
            usage: Some(Usage { input: 10, cache_read: 2, output: 5, reasoning: 1, ..Usage::default() }),
            cost: Some(NanoUsd(1000 + serial)),
            ..Bill::default()
        },
        None,
    )
}

fn record(ledger: &Ledger, serials: impl IntoIterator<Item = u64>) {
    serials.into_iter().for_each(|serial| ledger.record(&Arc::new(row(serial))).expect("recorded"));
}

fn all(path: &Path) -> Vec<Entry> {
    let report = Report::open(path).expect("a ledger");
    report.rows(&Filter::default(), usize::MAX).expect("rows").map(|entry| entry.expect("a row")).collect()
}

fn serials(path: &Path) -> Vec<u64> {
    let mut serials: Vec<_> = all(path).iter().map(|entry| entry.serial).collect();
    serials.sort_unstable();
    serials
}

/// How often each number of each run is in the ledger.
fn counts(path: &Path) -> HashMap<(String, u64), u32> {
    let mut counts = HashMap::new();
    all(path).into_iter().for_each(|entry| *counts.entry((entry.run, entry.serial)).or_default() += 1);
    counts
}

/// Figures for a test: how many rows there are.
fn digest(earlier: &str, rows: &mut dyn Iterator<Item = Entry>) -> String {
    (earlier.parse().unwrap_or(0) + rows.count()).to_string()
}

/// How many rows the figures of a ledger have, those counted at this start included, which are few.
fn figures(path: &Path) -> usize {
    let ledger = Ledger::open_with(path, digest).expect("a ledger");
    let earlier = ledger.earlier().expect("once");
    assert!(earlier.rows() == 0, "{} rows to be counted", earlier.rows());
    let mut rows = Vec::new();
    earlier
        .each(|entry| {
            rows.push(entry);
            true
        })
        .expect("readable");
    digest(earlier.text(), &mut rows.into_iter()).parse().expect("a number")
}

/// This binary again, in a role of [`child`].
fn spawn(role: &str, ledger: &Path, wrap: &[&str]) -> Child {
    let exe = std::env::current_exe().expect("this binary");
    let mut words: Vec<_> = wrap.iter().map(Into::into).collect();
    words.push(exe.into_os_string());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).args(["--exact", "child", "--nocapture", "--test-threads=1"]);
    command.env(CHILD, role).env("IRON_LEDGER_PATH", ledger).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().expect("a child")
}

/// What the children do; nothing in the parent.
#[test]
fn child() {
    let Ok(role) = std::env::var(CHILD) else { return };
    let path = PathBuf::from(std::env::var_os("IRON_LEDGER_PATH").expect("told"));
    let ledger = Ledger::open_with(&path, digest).expect("a ledger");
    let mut out = std::io::stdout();
    let mut say = |text: String| out.write_all(format!("{text}\n").as_bytes()).expect("the parent reads");
    say(format!("\nrun {}", ledger.run()));
    match role.as_str() {
        "endless" => {
            let mut serial = 0_u64;
            loop {
                serial += 1;
                let item = Item { kind: ItemKind::Event, key: format!("{}-{serial}", ledger.run()), body: "{}".into() };
                let items = if serial.is_multiple_of(100) { vec![item] } else { Vec::new() };
                ledger.record_all(&Arc::new(row(serial)), &items, None).expect("recorded");
                say(format!("kept {serial}"));
            }
        }
        "until-full" => {
            let kept = (1..).take_while(|serial| ledger.record(&Arc::new(row(*serial))).is_ok()).count();
            let why = ledger.record(&Arc::new(row(0))).expect_err("full").to_string();
            say(format!("kept {kept}\nwhy {why}\nready {}", ledger.ready().is_err()));
        }
        "leaser" => {
            let lease =
                SavedLease { lease_id: "lease_a".into(), server: "http://control".into(), granted_micro: 100, ..SavedLease::default() };
            ledger.save_lease(&lease).expect("kept");
            let item = Item { kind: ItemKind::Report, key: "report-1".into(), body: "{\"cost\":7}".into() };
            let spent = SavedLease { spent_micro: 7, ..lease };
            ledger.record_all(&Arc::new(row(1)), &[item], Some(&spent)).expect("kept");
            say("kept 1".into());
            let _ = std::io::stdin().read(&mut [0]);
        }
        count => {
            record(&ledger, 1..=count.parse().expect("a number"));
            ledger.stop(PATIENCE);
        }
    }
}

/// The lines of a child that begin with a word.
fn said(output: impl Read, word: &str) -> Vec<String> {
    let lines = BufReader::new(output).lines().map_while(Result::ok);
    lines.filter_map(|line| line.strip_prefix(word).map(|rest| rest.trim().to_string())).collect()
}

#[test]
fn rows_come_back_newest_first_with_their_sums_and_prices() {
    let place = Place::new("roundtrip");
    let ledger = Ledger::open(&place.ledger()).expect("a ledger");
    record(&ledger, 1..=1200);
    let mut priced = row(1201);
    (priced.bill.price, priced.bill.estimated, priced.code) = (Some(price()), true, Some("upstream_timeout"));
    (priced.outcome.end, priced.outcome.status) = (End::UpstreamCut, 504);
    ledger.record(&Arc::new(priced)).expect("recorded");
    let mut refused = row(1202);
    (refused.outcome, refused.bill) = (Outcome::failed(402, End::Refused, Duration::ZERO), Bill::nothing());
    ledger.record(&Arc::new(refused)).expect("recorded");
    for stopped in [false, true] {
        if stopped {
            ledger.stop(PATIENCE);
        }
        let entries = all(&place.ledger());
        assert_eq!(entries.iter().map(|entry| entry.serial).collect::<Vec<_>>(), (1..=1202).rev().collect::<Vec<_>>());
        let Entry { at, agent, usage, cost, code, status, end, estimated, price_id, first_byte_us, total_us, .. } = &entries[1];
        assert_eq!((at.0, agent.as_deref(), *status, end.as_str()), (20_000 * DAY + 1201, Some("agent-1"), 504, "upstream_cut"));
        assert_eq!((*usage, *cost, code.as_deref(), *estimated), (row(1).bill.usage, Some(NanoUsd(2201)), Some("upstream_timeout"), true));
        assert_eq!((*first_byte_us, *total_us), (Some(900), 3000));
        let report = Report::open(&place.ledger()).expect("a ledger");
        let text = report.price(price_id.expect("a price")).expect("readable").expect("known");
        assert!(text.contains("\"input\":150000") && text.contains("gpt-4o-mini") && text.contains("standard"), "{text}");
        let tally = report.tally(&Filter::default()).expect("sums");
        let cost = (1..=1201).map(|serial| 1000 + serial).sum::<u64>();
        assert_eq!((tally.all.requests, tally.all.failed, tally.all.refused, tally.all.cost_nano_usd), (1202, 1, 1, cost));
        assert_eq!((tally.all.input_tokens, tally.all.output_tokens), (1201 * 12, 1201 * 5));
        assert_eq!(tally.by_provider["openai"].requests, 601);
        assert_eq!(tally.by_day().map(|(day, figures)| (day, figures.requests)).collect::<Vec<_>>(), [("2024-10-04".to_string(), 1202)]);
        assert_eq!(ledger.spent_since(None).expect("readable"), NanoUsd(cost));
        let since = UnixMs(20_000 * DAY + 1200);
        assert_eq!(ledger.spent_since(Some(since)).expect("readable"), NanoUsd(2200 + 2201));
        let agents = ledger.spent_since_by_agent(Some(since), &["agent-1", "nobody"]).expect("readable");
        assert_eq!(agents, [NanoUsd(2201), NanoUsd::ZERO]);
        let filter = Filter { until: Some(UnixMs(20_000 * DAY + 11)), agent: Some("agent-2".into()), ..Filter::default() };
        let some: Vec<_> = report.rows(&filter, 3).expect("rows").map(|entry| entry.expect("a row").serial).collect();
        assert_eq!(some, [8, 5, 2]);
        assert_eq!(report.tally(&filter).expect("sums").all.requests, 3);
    }
    assert!(matches!(ledger.record(&Arc::new(row(9))), Err(Error::Stopped)));
    assert!(place.journals().is_empty(), "{:?}", place.journals());
}

#[test]
fn killed_at_any_moment_it_has_every_kept_row_once() {
    let place = Place::new("killed");
    let rounds = std::env::var("IRON_LEDGER_ROUNDS").map_or(20, |text| text.parse().expect("a number"));
    let mut dice = 0x9e37_79b9_7f4a_7c15_u64;
    let (mut kept, mut events) = (Vec::new(), 0);
    for round in 0..rounds {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Mostly a few groups; every fifth round so many that the run turns to new journals.
        let most = if round % 5 == 4 { 25_000 } else { 5_000 };
        let rows = usize::try_from(dice >> 33).expect("31 bits") % most + 1;
        let mut child = spawn("endless", &place.ledger(), &[]);
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        let mut head: Vec<_> = output.by_ref().lines().map_while(Result::ok).take(rows).collect();
        child.kill().expect("SIGKILL");
        child.wait().expect("its end");
        head.extend(output.lines().map_while(Result::ok));
        let run = head.iter().find_map(|line| line.strip_prefix("run ")).unwrap_or_default().to_string();
        let serials: Vec<u64> = head.iter().filter_map(|line| line.strip_prefix("kept ")?.parse().ok()).collect();
        events += serials.len() as u64 / 100;
        kept.extend(serials.into_iter().map(|serial| (run.clone(), serial)));
    }
    let check = |counts: HashMap<(String, u64), u32>| {
        assert!(counts.values().all(|count| *count == 1), "a row is there twice");
        let lost: Vec<_> = kept.iter().filter(|row| !counts.contains_key(row)).collect();
        assert!(lost.is_empty(), "lost: {lost:?}");
        assert!(counts.len() <= kept.len() + rounds, "no more than the one row a round that was kept and not told");
    };
    check(counts(&place.ledger()));
    let ledger = Ledger::open_with(&place.ledger(), digest).expect("a ledger");
    check(counts(&place.ledger()));
    let waiting = ledger.pending(usize::MAX >> 1).expect("readable").len() as u64;
    assert!((events..=events + rounds as u64).contains(&waiting), "{waiting} of {events} events");
    ledger.stop(PATIENCE);
    check(counts(&place.ledger()));
    assert_eq!(figures(&place.ledger()), counts(&place.ledger()).len());
    assert!(place.journals().is_empty(), "{:?}", place.journals());
}

#[test]
fn processes_share_a_ledger() {
    let place = Place::new("shared");
    let children: Vec<_> = (0..4).map(|_| spawn("3000", &place.ledger(), &[])).collect();
    for child in children {
        assert!(child.wait_with_output().expect("its end").status.success());
    }
    let counts = counts(&place.ledger());
    assert_eq!(counts.len(), 12_000);
    assert!(counts.values().all(|count| *count == 1));
    assert_eq!(figures(&place.ledger()), 12_000);
    assert!(place.journals().is_empty(), "{:?}", place.journals());
}

#[test]
fn rows_wait_while_another_program_has_the_lock() {
    let place = Place::new("locked");
    let ledger = Ledger::open(&place.ledger()).expect("a ledger");
    let other = rusqlite::Connection::open(place.ledger()).expect("another program");
    other.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    record(&ledger, 1..=2500);
    ledger.ready().expect("the journal is there");
    assert!(ledger.pending(1).is_err(), "the outbox is behind the lock");
    let before = fs::read(place.ledger()).expect("the file");
    assert_eq!(serials(&place.ledger()), (1..=2500).collect::<Vec<_>>(), "reports read the journal");
    assert_eq!(fs::read(place.ledger()).expect("the file"), before, "and change nothing");
    assert_eq!(ledger.spent_since(Some(UnixMs(20_000 * DAY + 2500))).expect("readable"), NanoUsd(3500));
    other.execute_batch("COMMIT").expect("given back");
    assert!(ledger.pending(1).expect("everything was taken in").is_empty());
    let inside: u64 = other.query_row("SELECT count(*) FROM rows", [], |row| row.get::<_, i64>(0)).expect("readable").cast_unsigned();
    assert_eq!(inside, 2500);
}

#[test]
fn a_ledger_locked_for_good_is_an_error_at_open_and_no_loss_at_stop() {
    let place = Place::new("locked-for-good");
    let ledger = Ledger::open(&place.ledger()).expect("a ledger");
    let other = rusqlite::Connection::open(place.ledger()).expect("another program");
    other.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    record(&ledger, 1..=10);
    ledger.stop(Duration::from_millis(10));
    drop(ledger);
    let error = Ledger::open(&place.ledger()).map(drop).expect_err("locked").to_string();
    assert!(error.contains("ledger.db") && error.contains("locked by another program"), "{error}");
    drop(other);
    drop(Ledger::open(&place.ledger()).expect("free again"));
    assert_eq!(serials(&place.ledger()), (1..=10).collect::<Vec<_>>());
}

#[test]
fn what_is_no_ledger_is_refused_and_left_as_it_is() {
    let place = Place::new("damaged");
    let path = place.ledger();
    Ledger::open(&path).map(|ledger| record(&ledger, 1..=3000)).expect("a ledger");
    let good = fs::read(&path).expect("the file");
    let mut torn = good.clone();
    torn.truncate(good.len() / 2);
    let mut scratched = good.clone();
    scratched[20_000..60_000].fill(0x5a);
    let mut later = good.clone();
    later[60..64].copy_from_slice(&9_u32.to_be_bytes());
    let mut foreign = good.clone();
    foreign[68..72].copy_from_slice(&7_u32.to_be_bytes());
    let cases: [(&str, Vec<u8>, &str); 5] = [
        ("text", b"this is a letter, and no ledger at all, whatever its name says. ".repeat(20), "move it away"),
        ("half", torn, "move it away"),
        ("scratched", scratched, "move it away"),
        ("later", later, "later release (version 9"),
        ("foreign", foreign, "another program"),
    ];
    for (name, bytes, says) in cases {
        fs::write(&path, &bytes).expect("written");
        let error = Ledger::open(&path).map(drop).expect_err(name).to_string();
        assert!(error.contains("ledger.db") && error.contains(says), "{name}: {error}");
        assert_eq!(fs::read(&path).expect("the file"), bytes, "{name}: overwritten");
        assert!(place.journals().is_empty(), "{name}: {:?}", place.journals());
    }
    fs::write(&path, &good).expect("written");
    assert_eq!(serials(&path).len(), 3000);
}

#[cfg(unix)]
#[test]
fn its_files_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new("private");
    let ledger = Ledger::open(&place.ledger()).expect("a ledger");
    record(&ledger, 1..=3);
    ledger.pending(1).expect("taken in");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&place.0.join("state")), 0o700);
    let files: Vec<_> = fs::read_dir(place.0.join("state")).expect("a directory").map(|file| file.expect("a file").path()).collect();
    assert!(files.len() >= 2, "{files:?}");
    files.iter().for_each(|file| assert_eq!(mode(file), 0o600, "{}", file.display()));
}

/// The limit stands for a full disk: journal and SQLite alike fail to grow past it.
#[cfg(unix)]
#[test]
fn a_full_disk_is_told_and_loses_nothing_that_was_kept() {
    let place = Place::new("full");
    drop(Ledger::open(&place.ledger()).expect("a ledger, while there is room"));
    let limited = ["sh", "-c", "trap '' XFSZ; ulimit -f 512; exec \"$@\"", "sh"];
    let child = spawn("until-full", &place.ledger(), &limited);
    let output = child.wait_with_output().expect("its end");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let of = |word| said(output.stdout.as_slice(), word).pop().unwrap_or_default();
    let kept: u64 = of("kept ").parse().expect("a number");
    assert!(kept > 100 && of("ready ") == "true" && of("why ").contains(".rows"), "{kept} {} {}", of("ready "), of("why "));
    assert_eq!(serials(&place.ledger()), (1..=kept).collect::<Vec<_>>());
    drop(Ledger::open(&place.ledger()).expect("room again"));
    assert_eq!(serials(&place.ledger()), (1..=kept).collect::<Vec<_>>());
    assert!(place.journals().is_empty(), "{:?}", place.journals());
}

#[test]
fn a_journal_that_comes_back_is_not_taken_in_twice() {
    let place = Place::new("twice");
    let ledger = Ledger::open(&place.ledger()).expect("a ledger");
    record(&ledger, 1..=5);
    let journal = place.0.join("state").join(place.journals().pop().expect("the run's journal"));
    let bytes = fs::read(&journal).expect("the journal");
    ledger.stop(PATIENCE);
    // As if the process had been killed between the commit and the removal; then with a record that was cut, then with one that was changed.
    let mut cut = bytes.clone();
    cut.extend_from_slice(&[80, 0, 0, 0, 1, 2, 3]);
    let mut changed = bytes.clone();
    changed.extend_from_slice(&[2, 0, 0, 0, 1, 2, 3, 4, 5, 6]);
    for (bytes, left) in [(bytes, 0), (cut, 0), (changed, 1)] {
        fs::write(&journal, &bytes).expect("written");
        assert_eq!(serials(&place.ledger()), [1, 2, 3, 4, 5]);
        drop(Ledger::open(&place.ledger()).expect("a ledger"));
        assert_eq!(serials(&place.ledger()), [1, 2, 3, 4, 5]);
        assert_eq!(place.journals().len(), left, "{:?}", place.journals());
    }
    assert!(place.journals()[0].ends_with(".rows.unread"));
}

#[test]
fn items_wait_until_they_are_done_also_across_restarts() {
    let place = Place::new("outbox");
    let item = |n: u64| Item { kind: ItemKind::Event, key: format!("event-{n}"), body: format!("{{\"n\":{n}}}") };
    let ledger = Ledger::open(&place.ledger()).expect("a ledger");
    (1..=3).for_each(|n| ledger.put(item(n)).expect("kept"));
    ledger.put(item(2)).expect("waits already");
    assert_eq!(ledger.pending(10).expect("readable"), [item(1), item(2), item(3)]);
    ledger.done("event-1").expect("kept");
    assert_eq!(ledger.pending(1).expect("readable"), [item(2)]);
    drop(ledger);
    let ledger = Ledger::open(&place.ledger()).expect("a ledger");
    assert_eq!(ledger.pending(10).expect("readable"), [item(2), item(3)]);
    let another = Ledger::open(&place.ledger()).expect("the same ledger, at the same time");
    assert!(another.pending(10).expect("readable").is_empty(), "they are the first one's to send");
}

#[test]
fn leases_of_the_killed_are_found_and_those_of_the_living_left_alone() {
    let place = Place::new("leases");
    let mut child = spawn("leaser", &place.ledger(), &[]);
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    assert!(output.by_ref().lines().map_while(Result::ok).any(|line| line == "kept 1"));
    let ledger = Ledger::open(&place.ledger()).expect("a ledger");
    assert!(ledger.open_leases("http://control").expect("readable").is_empty(), "its owner lives");
    drop(ledger);
    child.kill().expect("SIGKILL");
    child.wait().expect("its end");
    let ledger = Ledger::open(&place.ledger()).expect("a ledger");
    let leases = ledger.open_leases("http://control").expect("readable");
    assert_eq!(leases.iter().map(|lease| (lease.lease_id.as_str(), lease.spent_micro)).collect::<Vec<_>>(), [("lease_a", 7)]);
    assert_eq!(ledger.pending(9).expect("readable").len(), 1);
    ledger.save_lease(&SavedLease { spent_micro: 5, ..leases[0].clone() }).expect("kept");
    assert_eq!(ledger.open_leases("http://control").expect("readable")[0].spent_micro, 7, "it never falls");
    assert!(ledger.open_leases("http://other").expect("readable").is_empty());
    ledger.close_lease("lease_a").expect("kept");
    assert!(ledger.open_leases("http://control").expect("readable").is_empty());
}

#[test]
fn a_ledger_that_is_not_there_is_said_so() {
    let place = Place::new("missing");
    let error = Report::open(&place.ledger()).map(drop).expect_err("none").to_string();
    assert!(error.contains("no ledger at") && error.contains("ledger.db") && error.contains("iron-runtime run"), "{error}");
    assert!(!place.0.exists(), "asking makes nothing");
}

#[test]
fn a_hostile_provider_can_not_break_the_sums() {
    let place = Place::new("sums");
    let ledger = Ledger::open(&place.ledger()).expect("a ledger");
    for serial in 1..=20 {
        let mut row = row(serial);
        row.bill.usage = Some(Usage { input: u64::MAX, cache_read: u64::MAX, output: u64::MAX, ..Usage::default() });
        row.bill.cost = Some(NanoUsd(u64::MAX));
        ledger.record(&Arc::new(row)).expect("recorded");
    }
    ledger.stop(PATIENCE);
    let tally = Report::open(&place.ledger()).expect("a ledger").tally(&Filter::default()).expect("sums");
    assert_eq!((tally.all.requests, tally.all.cost_nano_usd), (20, u64::MAX));
    assert_eq!(ledger.spent_since(None).expect("readable"), NanoUsd(u64::MAX));
}

#[test]
fn a_tier_has_a_price_of_its_own() {
    let place = Place::new("tiers");
    let ledger = Ledger::open(&place.ledger()).expect("a ledger");
    let price = Arc::new(Price {
        tiers: vec![(Tier::Flex, Card { base: Rates { input: 75_000, ..Rates::default() }, long: Vec::new().into() })].into(),
        ..price().as_ref().clone()
    });
    for (serial, tier) in [(1, Tier::Standard), (2, Tier::Flex), (3, Tier::Standard), (4, Tier::Flex)] {
        let mut row = row(serial);
        (row.bill.price, row.bill.tier) = (Some(price.clone()), tier);
        ledger.record(&Arc::new(row)).expect("recorded");
    }
    let ids: Vec<_> = all(&place.ledger()).iter().map(|entry| entry.price_id.expect("a price")).collect();
    assert!(ids[0] == ids[2] && ids[1] == ids[3] && ids[0] != ids[1], "{ids:?}");
    let text = ledger.report().expect("readable").price(ids[0]).expect("readable").expect("known");
    assert!(text.contains("\"input\":75000") && text.contains("flex"), "{text}");
}
