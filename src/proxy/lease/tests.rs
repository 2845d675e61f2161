//! Leases and the background thread against a control server on loopback that keeps books of its own, or is slow, down, denies, expires,
//! revokes and lies.

mod bank;
mod rig;

use super::*;
use crate::proxy::keys::{REFUSED, UNREACHABLE};
use crate::proxy::scripted::{Request, Server, answer};
use bank::{Bank, failing, serving};
use rig::{Rig, Store, row};
use std::io::Read;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;

const TOKEN: &str = "ic_TOKENCANARY";

/// Far longer than anything here takes: a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until it is so.
fn until(what: &str, reached: impl Fn() -> bool) {
    let start = Instant::now();
    while !reached() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        thread::yield_now();
    }
}

/// What was asked, events aside: whether they come depends on the features.
fn paths(server: &Server) -> Vec<String> {
    let last = |request: &Request| request.path().rsplit('/').next().unwrap_or_default().to_owned();
    server.requests().iter().map(last).filter(|path| path != "events").collect()
}

/// A deadline that a stop does not reach, unless the server is at fault.
const STOP: Duration = PATIENCE;
const CENT: u64 = 10_000_000;
const DIME: u64 = 100_000_000;

// ---- the handshake

#[test]
fn a_lease_from_handshake_to_return() {
    let bank = Bank::of(100_000_000);
    let server = serving(&bank);
    let rig = Rig::of(&format!("{}/", server.url));
    assert_eq!(server.count(), 0, "nothing is asked before it is needed");
    assert_eq!((rig.ensure(), rig.ensure()), (Ok(true), Ok(true)));
    assert_eq!(rig.account.status().map(|status| status.0), Some(NanoUsd::from_micro_usd(10_000_000)));
    [400, 400, 400, 2_799].iter().for_each(|nano| rig.call(*nano));
    rig.leases.stop(STOP);
    rig.leases.stop(STOP);
    assert_eq!(paths(&server), ["handshake", "report", "report", "report", "report", "return"]);
    let mut sent = server.requests();
    sent.retain(|request| !request.path().ends_with("events"));
    assert!(sent.iter().all(|request| request.text.contains(&format!("authorization: Bearer {TOKEN}\r\n"))));
    assert_eq!(sent[0].json(), json!({"ic_token": TOKEN, "provider": "openai"}));
    let mut report = sent[3].json();
    assert!(report["request_id"].take().as_str().is_some_and(|id| !id.is_empty()));
    let expected =
        json!({"lease_id": "lease_1", "request_id": null, "tokens": 12, "cost_microdollars": 1, "model": "gpt-4o", "provider": "openai"});
    assert_eq!(report, expected);
    assert_eq!(sent[5].json(), json!({"lease_id": "lease_1", "spent_microdollars": 4}));
    let bank = bank.lock().expect("bank");
    assert_eq!((bank.reported(), bank.spent, bank.remaining, bank.open()), (3, 4, 99_999_996, 0));
    assert_eq!(*rig.store.closed.lock().expect("store"), ["lease_1"]);
    assert_eq!(rig.waiting(), 0);
}

fn storm(rig: &Rig, threads: usize) -> Vec<Result<bool, Refusal>> {
    let barrier = std::sync::Barrier::new(threads);
    thread::scope(|scope| {
        let one = || {
            barrier.wait();
            rig.ensure()
        };
        let started: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        started.into_iter().map(|thread| thread.join().expect("thread")).collect()
    })
}

#[test]
fn many_calls_one_handshake() {
    let bank = Bank::of(100_000_000);
    let server = serving(&bank);
    assert!(storm(&Rig::of(&server.url), 32).iter().all(|one| *one == Ok(true)));
    let down = failing(&bank, |_, _| Some((503, "")));
    let refused = storm(&Rig::of(&down.url), 32);
    assert!(refused.iter().all(|one| one.as_ref().is_err_and(|refusal| refusal.reason == UNREACHABLE)));
    assert_eq!((server.count(), down.count()), (1, 1));
}

#[test]
fn a_dead_server_is_named_and_not_hammered() {
    let millis = Arc::new(AtomicU64::new(0));
    let clock = millis.clone();
    let url = "http://127.0.0.1:1";
    let rig = Rig::with(url, Store::default(), |shared| shared.clock = Box::new(move || Duration::from_millis(clock.load(SeqCst))));
    let rounds = || rig.leases.shared.lock().handshakes.rounds;
    for (at, asked) in [(0, 1), (999, 1), (1000, 2)] {
        millis.store(at, SeqCst);
        let refusal = rig.refusal(url);
        assert_eq!((refusal.reason, refusal.retry), (UNREACHABLE, crate::call::Retry::After(1)));
        assert!(refusal.message.contains("refused"), "{}", refusal.message);
        assert_eq!(rounds(), asked, "at {at} ms");
    }
    assert_eq!(rig.account.status(), None);
}

#[test]
fn a_silent_server_costs_no_more_than_the_limit() {
    for start in ["", "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{"] {
        let server = Server::start(move |_, stream| {
            let _ = std::io::Write::write_all(stream, start.as_bytes());
            let _ = stream.read(&mut [0; 1]);
        });
        let rig = Rig::with(&server.url, Store::default(), |shared| shared.call_limit = Duration::from_millis(100));
        assert!(storm(&rig, 4).iter().all(|one| one.as_ref().is_err_and(|refusal| refusal.reason == UNREACHABLE)));
        assert!(rig.refusal(&server.url).message.contains("timeout"));
    }
}

#[test]
fn no_budget_and_no_token_are_told_apart() {
    for (status, body, reason) in [
        (403, r#"{"error":"Budget limit exceeded"}"#, Reason::BudgetExceeded),
        (403, r#"{"error":"provider key disabled"}"#, REFUSED),
        (401, r#"{"error":"ic_TOKENCANARY is revoked"}"#, REFUSED),
        (400, r#"{"error":"malformed"}"#, REFUSED),
    ] {
        let server = failing(&Bank::of(0), move |_, _| Some((status, body)));
        let rig = Rig::of(&server.url);
        let refusal = rig.refusal(&server.url);
        assert_eq!((refusal.reason, refusal.retry), (reason, crate::call::Retry::Never), "{body}");
        assert_eq!(rig.account.status(), None);
    }
}

#[test]
fn a_lie_grants_nothing_and_its_lease_is_returned() {
    let bank = Bank::of(1);
    let lie = r#"{"lease_id":"lease_x","budget_granted":-1}"#;
    let server = failing(&bank, move |_, request| request.path().ends_with("handshake").then_some((200, lie)));
    let rig = Rig::of(&server.url);
    let refusal = rig.refusal(&server.url);
    assert!(refusal.message.contains("budget_granted is not a whole number"), "{}", refusal.message);
    assert_eq!(rig.account.status(), None);
    rig.leases.stop(STOP);
    assert_eq!(server.requests()[1].json(), json!({"lease_id": "lease_x", "spent_microdollars": 0}));
}

#[test]
fn a_server_without_budgets_is_asked_once() {
    let server = failing(&Bank::of(0), |_, _| Some((404, "Not Found")));
    let rig = Rig::of(&server.url);
    assert_eq!((rig.ensure(), rig.ensure()), (Ok(false), Ok(false)));
    rig.leases.stop(STOP);
    assert_eq!(server.count(), 1);
}

#[test]
fn a_handshake_that_panics_releases_those_who_wait() {
    let rig = Rig::of("http://127.0.0.1:1");
    thread::scope(|scope| {
        let flight = Flight::begin(&rig.leases.shared, &mut rig.leases.shared.lock());
        let waiting: Vec<_> = (0..4).map(|_| scope.spawn(|| rig.ensure())).collect();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _flight = flight;
            std::panic::resume_unwind(Box::new("in the handshake"));
        }));
        assert!(panicked.is_err());
        for thread in waiting {
            assert!(thread.join().expect("thread").is_err_and(|refusal| refusal.reason == UNREACHABLE));
        }
    });
}

// ---- spending

#[test]
fn a_lease_is_renewed_before_it_runs_dry() {
    let bank = Bank::of(25_000_000);
    let server = serving(&bank);
    let rig = Rig::of(&server.url);
    assert_eq!(rig.ensure(), Ok(true));
    assert!(rig.account.hold(DIME));
    // With what is held, 80 % of 10 dollars.
    (0..79).for_each(|_| rig.call(DIME));
    until("another lease", || rig.account.status().is_some_and(|(_, spent, _)| spent.0 < 79 * DIME));
    let refresh = server.requests().into_iter().find(|request| request.path().ends_with("refresh")).expect("a refresh").json();
    assert_eq!(refresh, json!({"ic_token": TOKEN, "current_lease_id": "lease_1", "requested_budget": 10_100_000}));
    (0..60).for_each(|_| rig.call(DIME));
    rig.account.settle(DIME, 0);
    rig.leases.stop(STOP);
    let bank = bank.lock().expect("bank");
    assert_eq!((bank.reported(), bank.spent, bank.open()), (13_900_000, 13_900_000, 0));
    assert_eq!(bank.remaining, 25_000_000 - 13_900_000);
    assert!(rig.store.open.lock().expect("store").is_empty());
}

#[test]
fn a_denied_refresh_leaves_the_rest_of_the_lease() {
    let bank = Bank::of(1_000_000);
    let server = serving(&bank);
    let rig = Rig::of(&server.url);
    assert_eq!(rig.ensure(), Ok(true));
    assert!(rig.account.lock().exhausted, "the server said that nothing remains");
    (0..100).for_each(|_| rig.call(CENT));
    assert!(!rig.account.hold(1));
    rig.leases.ask_more();
    until("a refusal", || paths(&server).iter().any(|path| path == "refresh"));
    assert_eq!(rig.ensure(), Ok(true), "the rest may still be spent, if there is any");
    bank.lock().expect("bank").remaining = 5_000_000;
    rig.leases.stop(STOP);
    let bank = bank.lock().expect("bank");
    assert_eq!((bank.spent, bank.remaining, bank.open()), (1_000_000, 5_000_000, 0));
}

#[test]
fn spending_goes_on_while_the_server_is_down() {
    let bank = Bank::of(100_000_000);
    let down = Arc::new(AtomicU64::new(0));
    let is_down = down.clone();
    let server = failing(&bank, move |_, request| {
        (is_down.load(SeqCst) == 1 && !request.path().ends_with("handshake")).then_some((503, r#"{"error":"x"}"#))
    });
    let rig = Rig::of(&server.url);
    assert_eq!(rig.ensure(), Ok(true));
    down.store(1, SeqCst);
    (0..100).for_each(|_| rig.call(DIME));
    assert!(!rig.account.hold(1), "up to the last nano-dollar, and no further");
    assert_eq!((rig.ensure(), bank.lock().expect("bank").reported()), (Ok(true), 0));
    down.store(0, SeqCst);
    until("another lease", || rig.account.hold(CENT));
    rig.account.settle(CENT, 0);
    rig.leases.stop(STOP);
    let bank = bank.lock().expect("bank");
    assert_eq!((bank.reported(), bank.spent), (10_000_000, 10_000_000));
}

#[test]
fn a_report_is_booked_once_however_often_it_is_sent() {
    let bank = Bank::of(100_000_000);
    let books = bank.clone();
    // Every second report is booked, and its answer lost.
    let server = failing(&bank, move |number, request| {
        if !request.path().ends_with("report") || number % 2 == 0 {
            return None;
        }
        books.lock().expect("bank").answer(request);
        Some((500, ""))
    });
    let rig = Rig::of(&server.url);
    assert_eq!(rig.ensure(), Ok(true));
    rig.call(CENT);
    rig.call(CENT);
    rig.leases.stop(STOP);
    let bank = bank.lock().expect("bank");
    assert_eq!((bank.reported(), bank.spent, bank.reports.len(), bank.open()), (20_000, 20_000, 2, 0));
}

#[test]
fn a_lease_that_the_server_has_ended_is_replaced() {
    for (path, status, body, returned) in [
        ("report", 403, r#"{"error":"lease expired"}"#, true),
        ("report", 404, r#"{"error":"unknown lease"}"#, true),
        ("report", 401, r#"{"error":"revoked"}"#, false),
        ("refresh", 404, r#"{"error":"unknown lease"}"#, true),
        ("refresh", 401, r#"{"error":"revoked"}"#, false),
    ] {
        let bank = Bank::of(100_000_000);
        let once = AtomicU64::new(0);
        let server =
            failing(&bank, move |_, request| (request.path().ends_with(path) && once.fetch_add(1, SeqCst) == 0).then_some((status, body)));
        let rig = Rig::of(&server.url);
        assert_eq!(rig.ensure(), Ok(true));
        rig.call(CENT);
        if path == "refresh" {
            rig.leases.ask_more();
        }
        until("the end of the lease", || rig.account.status().is_none());
        assert_eq!(rig.ensure(), Ok(true), "{path} {status}");
        rig.leases.stop(STOP);
        assert_eq!(paths(&server).iter().filter(|path| *path == "handshake").count(), 2);
        let bank = bank.lock().expect("bank");
        assert_eq!((bank.leases["lease_1"].active, bank.leases["lease_2"].active), (!returned, false), "{path} {status}");
        let reported = if path == "refresh" { 10_000 } else { 0 };
        assert_eq!(bank.spent, if returned { 10_000 } else { reported }, "{path} {status}: a return counts what was refused");
        assert_eq!(rig.waiting(), 0);
    }
}

#[test]
fn a_revoked_token_is_told_to_the_next_call() {
    let bank = Bank::of(100_000_000);
    let server = failing(&bank, |number, _| (number > 0).then_some((401, r#"{"error":"token is not valid"}"#)));
    let rig = Rig::of(&server.url);
    assert_eq!(rig.ensure(), Ok(true));
    rig.call(CENT);
    until("the end of the lease", || rig.account.status().is_none());
    let refusal = rig.refusal(&server.url);
    assert_eq!(refusal.reason, REFUSED);
    assert!(refusal.message.contains("IC token"), "{}", refusal.message);
    assert_eq!(rig.store.open.lock().expect("store").get("lease_1"), Some(&0), "a token that works may return it");
}

#[test]
fn a_lease_about_to_end_is_returned_and_replaced_before_a_call() {
    let bank = Bank::of(10_000_000);
    let books = bank.clone();
    let server = Server::hearing(move |_, request, stream| {
        let (status, mut body) = books.lock().expect("bank").answer(request);
        if request.path().ends_with("handshake") {
            body["expires_at"] = (unix() + 3600).into();
        }
        answer(stream, status, &body.to_string());
    });
    let seconds = Arc::new(AtomicU64::new(0));
    let clock = seconds.clone();
    let rig = Rig::with(&server.url, Store::default(), |shared| shared.clock = Box::new(move || Duration::from_secs(clock.load(SeqCst))));
    assert_eq!(rig.ensure(), Ok(true));
    rig.call(CENT);
    until("the report", || rig.waiting() == 0);
    seconds.store(3500, SeqCst);
    assert_eq!((rig.ensure(), bank.lock().expect("bank").grants), (Ok(true), 1));
    seconds.store(3599, SeqCst);
    assert_eq!(rig.ensure(), Ok(true), "the rest of the old lease is all there is: it must be back before the handshake");
    assert_eq!(bank.lock().expect("bank").grants, 2);
    assert_eq!(rig.account.status().map(|status| status.0), Some(NanoUsd::from_micro_usd(9_990_000)));
    assert_eq!(rig.leases.ensure(Protocol::Anthropic), Ok(true));
    assert_eq!(server.requests().last().expect("a request").json()["provider"], "anthropic");
}

/// Threads that hold, settle and report for as long as there is money, while leases come and go: nothing is lost, no lease overspent.
#[test]
fn many_calls_and_many_leases() {
    for allocated in [3_000_000, 60_000_000] {
        let bank = Bank::of(allocated);
        let server = serving(&bank);
        let rig = Rig::of(&server.url);
        let total = AtomicU64::new(0);
        thread::scope(|scope| {
            for worker in 0..4u64 {
                let (rig, total) = (&rig, &total);
                scope.spawn(move || {
                    for turn in 0..150u64 {
                        assert_eq!(rig.ensure(), Ok(true));
                        let cost = 40_000_000 + (worker * 7 + turn * 131) % 9_999_999;
                        let start = Instant::now();
                        while !rig.account.hold(60_000_000) {
                            if rig.account.lock().exhausted {
                                return;
                            }
                            assert!(start.elapsed() < PATIENCE, "no money and no refusal");
                            rig.leases.ask_more();
                            thread::yield_now();
                        }
                        rig.account.settle(60_000_000, cost);
                        total.fetch_add(cost, SeqCst);
                        rig.leases.settled(&row(cost), true);
                    }
                });
            }
        });
        rig.leases.stop(STOP);
        let (bank, total) = (bank.lock().expect("bank"), total.load(SeqCst));
        assert_eq!((bank.reported(), bank.spent, bank.open()), (total / 1000, total.div_ceil(1000), 0));
        assert_eq!(bank.remaining, allocated - bank.spent);
        assert!(bank.leases.values().all(|lent| lent.spent <= lent.granted));
        assert_eq!((rig.waiting(), rig.store.open.lock().expect("store").len()), (0, 0));
    }
}

// ---- ends

#[test]
fn without_an_answer_the_lease_stays_in_the_store() {
    let bank = Bank::of(100_000_000);
    let server = failing(&bank, |number, _| (number > 0).then_some((500, "")));
    let rig = Rig::of(&server.url);
    assert_eq!(rig.ensure(), Ok(true));
    rig.call(CENT);
    rig.leases.stop(Duration::from_millis(300));
    assert_eq!(paths(&server).last().map(String::as_str), Some("return"), "one last try");
    let reports = rig.outbox.0.lock().expect("outbox").iter().filter(|item| item.kind == ItemKind::Report).count();
    assert_eq!((reports, rig.store.open.lock().expect("store").len()), (1, 1));
    assert!(rig.leases.shared.lock().over);
}

#[test]
fn a_server_that_falls_silent_does_not_keep_the_router() {
    let bank = Bank::of(100_000_000);
    let (books, first) = (bank.clone(), AtomicU64::new(0));
    let server = Server::hearing(move |_, request, stream: &mut TcpStream| {
        if first.fetch_add(1, SeqCst) == 0 {
            return answer(stream, 200, &books.lock().expect("bank").answer(request).1.to_string());
        }
        let _ = stream.read(&mut [0; 1]);
    });
    let rig = Rig::with(&server.url, Store::default(), |shared| shared.call_limit = Duration::from_millis(400));
    assert_eq!(rig.ensure(), Ok(true));
    rig.call(CENT);
    rig.leases.stop(Duration::ZERO);
    assert_eq!(rig.store.open.lock().expect("store").len(), 1);
}

#[test]
fn dropped_without_a_stop_nothing_is_sent() {
    let bank = Bank::of(100_000_000);
    let server = serving(&bank);
    let rig = Rig::of(&server.url);
    assert_eq!(rig.ensure(), Ok(true));
    let Rig { leases, store, .. } = rig;
    let shared = leases.shared.clone();
    drop(leases);
    until("the end of the thread", || shared.lock().over);
    assert_eq!((paths(&server), store.open.lock().expect("store").len()), (vec!["handshake".into()], 1));
}

#[test]
fn in_a_forked_child_nothing_is_touched() {
    let server = serving(&Bank::of(100_000_000));
    let mut rig = Rig::of(&server.url);
    assert_eq!(rig.ensure(), Ok(true));
    // What a child sees: another process id, and a lock that nobody will ever give back.
    rig.leases.pid = 0;
    let shared = rig.leases.shared.clone();
    let held = shared.lock();
    rig.leases.stop(STOP);
    drop(rig);
    drop(held);
    assert_eq!(server.count(), 1);
    shared.lock().abandoned = true;
    shared.notify();
    until("the end of the thread", || shared.lock().over);
}

#[test]
fn what_a_crash_left_behind_is_reported_and_returned() {
    let bank = Bank::of(100_000_000);
    bank.lock().expect("bank").lend(10_000_000).expect("the lease of the dead");
    let server = serving(&bank);
    let saved = SavedLease {
        lease_id: "lease_1".into(),
        server: server.url.clone(),
        provider: "openai".into(),
        granted_micro: 10_000_000,
        spent_micro: 700,
        token_hash: ids::hash(&[TOKEN]),
    };
    let elsewhere = SavedLease { lease_id: "lease_8".into(), server: "http://elsewhere".into(), ..saved.clone() };
    let anothers = SavedLease { lease_id: "lease_9".into(), token_hash: ids::hash(&["another"]), ..saved.clone() };
    let report =
        json!({"lease_id": "lease_1", "request_id": "dead-7", "tokens": 1, "cost_microdollars": 300, "model": "m", "provider": "openai"});
    let store = Store { found: vec![elsewhere, anothers, saved], ..Store::default() };
    let rig = Rig::with(&server.url, store, |shared| {
        let item = Item { kind: ItemKind::Report, key: "dead-7".into(), body: report.to_string() };
        // More than is read at once, of another server's.
        (0..300).for_each(|n| shared.outbox.put(Item { key: format!("elsewhere:{n}"), ..item.clone() }).expect("memory"));
        shared.outbox.put(shared.keyed(item)).expect("memory");
    });
    until("the return", || bank.lock().expect("bank").open() == 0);
    rig.leases.stop(STOP);
    assert_eq!(paths(&server), ["report", "return"]);
    assert_eq!(server.requests()[1].json(), json!({"lease_id": "lease_1", "spent_microdollars": 700}));
    assert_eq!((bank.lock().expect("bank").spent, rig.waiting()), (700, 300));
    assert_eq!(*rig.store.closed.lock().expect("store"), ["lease_1"]);
}

// ---- events

#[cfg(feature = "analytics")]
mod events {
    use super::*;
    use crate::proxy::scripted::answer_with;
    use serde_json::Value;

    fn told(server: &Server) -> Vec<Value> {
        server.requests().iter().filter(|request| request.path().ends_with("events")).map(Request::json).collect()
    }

    #[test]
    fn an_event_is_sent_with_the_token_which_is_never_kept() {
        let bank = Bank::of(0);
        let server = serving(&bank);
        let rig = Rig::of(&server.url);
        let item = crate::wire::event::event_item(&row(1_000), ids::uuid4());
        assert!(!item.body.contains("CANARY") && !item.body.contains("ic_token"));
        rig.leases.settled(&row(1_000), false);
        rig.leases.stop(STOP);
        let told = told(&server);
        assert_eq!(told.len(), 1);
        assert_eq!((&told[0]["ic_token"], &told[0]["cost_micros"], &told[0]["input_tokens"]), (&json!(TOKEN), &json!(1), &json!(10)));
        assert_eq!(rig.waiting(), 0);
    }

    #[test]
    fn an_event_is_sent_until_a_2xx_and_not_again() {
        // Answers in turn → how often it is sent. (Not taken: dropped.)
        for (answers, sent) in
            [(&[202][..], 1), (&[200], 1), (&[500, 202], 2), (&[429, 503, 302, 202], 4), (&[400], 1), (&[401], 1), (&[403], 1)]
        {
            let server = Server::start(move |number, stream| {
                let status = answers.get(number).copied().unwrap_or(500);
                answer_with(stream, status, "retry-after: 0\r\n", r#"{"error":"x"}"#);
            });
            let rig = Rig::of(&server.url);
            rig.leases.settled(&row(1), false);
            until("its end", || rig.waiting() == 0);
            rig.leases.stop(STOP);
            let told = told(&server);
            assert_eq!(told.len(), sent, "{answers:?}");
            assert!(told.iter().all(|event| event == &told[0]), "the same event");
        }
    }

    #[test]
    fn a_server_without_events_is_asked_once() {
        let server = failing(&Bank::of(0), |_, _| Some((404, "Not Found")));
        let rig = Rig::of(&server.url);
        (0..5).for_each(|_| rig.leases.settled(&row(1), false));
        until("the end of them", || rig.waiting() == 0);
        assert_eq!(server.count(), 1);
    }

    #[test]
    fn trouble_with_events_does_not_hold_up_money() {
        let bank = Bank::of(100_000_000);
        let server = failing(&bank, |_, request| request.path().ends_with("events").then_some((500, "")));
        let rig = Rig::of(&server.url);
        assert_eq!(rig.ensure(), Ok(true));
        // More than is read from the outbox at once.
        (0..300).for_each(|_| rig.leases.settled(&row(1), false));
        rig.call(CENT);
        until("the report", || bank.lock().expect("bank").reported() == 10_000);
        rig.leases.stop(Duration::ZERO);
        assert_eq!((rig.waiting(), bank.lock().expect("bank").open()), (301, 0));
    }
}
