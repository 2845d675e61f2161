//! Server mode's money through the whole router: leases that are lent, spent, renewed, returned, denied, lost and found.

use super::WAIT;
use super::bank::{Bank, EVENT, HANDSHAKE, REFRESH, REPORT, RETURN};
use super::client::{End, Request};
use super::control::config;
use super::money::{billed, chat};
use super::rig::{self, Router};
use super::upstream::{Upstream, json, reply};
use iron_runtime::config::{Allow, Control, OnBudget};
use iron_runtime::mock::{Mock, MockConfig};
use iron_runtime::money::NanoUsd;
use iron_runtime::{Config, LlmRouter};
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// What a call of [`big`] costs at [`provider`], nano-USD.
const COST: u64 = 7 * 2_500 + 400 * 10_000;

/// A call of 400 tokens.
fn big() -> Request {
    chat("gpt-4o", r#","max_tokens":400"#)
}

/// A provider that bills as many tokens as it may make, 400 where it is not told.
fn provider() -> Upstream {
    Upstream::answering(|request| {
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap_or_default();
        billed(7, body["max_tokens"].as_u64().unwrap_or(400).min(400))
    })
}

/// Server mode without much patience.
fn hasty(bank: &Bank, provider: &Upstream) -> Config {
    let mut config = config(&bank.server, provider);
    config.spending.wait = Duration::from_millis(200);
    config
}

/// Calls until the status is another one; that reply.
fn until_not(router: &Router, request: &Request, status: u16) -> super::client::Reply {
    let start = Instant::now();
    loop {
        let reply = router.call(request);
        if reply.status != status {
            return reply;
        }
        assert!(start.elapsed() < WAIT, "still {status}: {}", reply.text());
    }
}

/// The books of both sides are the same: to the micro-USD that each lease rounds up.
fn balanced(bank: &Bank, nano_usd: u64) {
    let books = bank.books();
    let (exact, slack) = (nano_usd.div_ceil(1000), books.leases.len() as u64);
    assert!(books.spent() >= exact && books.spent() <= exact + slack, "{exact} of {:?}", books.leases);
    assert_eq!(books.open(), 0, "{:?}", books.leases);
}

#[test]
fn the_mocks_books_are_the_routers() {
    let mock = Mock::start(MockConfig::default()).expect("mock");
    let mut router = LlmRouter::create("ic_books", mock.base_url(), 300).expect("router");
    let (port, start) = (router.port(), Arc::new(Barrier::new(32)));
    let clients = (0..32).map(|nth| {
        let start = start.clone();
        thread::spawn(move || {
            let mut client = super::client::Client::connect(port);
            start.wait();
            for turn in 0..8 {
                let request = match (nth + turn) % 4 {
                    0 => chat("gpt-4o-mini", ""),
                    1 => chat("gpt-4o", r#","stream":true"#),
                    2 => Request::messages_stream(),
                    _ => Request::get("/v1/models"),
                };
                let reply = client.call(&request.without_token().field("authorization", "Bearer ic_books"));
                assert_eq!((reply.status, reply.end), (200, End::Whole), "{}", reply.text());
            }
        })
    });
    clients.collect::<Vec<_>>().into_iter().for_each(|client| client.join().expect("client"));
    router.shutdown();
    let (mock, spent) = (mock.stats(), router.total_spent());
    assert_eq!(spent, NanoUsd(mock.nano_usd));
    assert_eq!((mock.books.spent, mock.books.leased), (spent.0.div_ceil(1000), 0));
    assert_eq!((mock.control["budget_handshake"], mock.control["budget_return"], mock.books.reports), (1, 1, 192));
    #[cfg(feature = "analytics")]
    assert_eq!((mock.events, mock.control["analytics_event"]), (256, 256));
}

#[test]
fn a_lease_is_renewed_behind_the_calls_back() {
    let (bank, provider) = (Bank::lending(&[15_000, 21_000, 22_000, 23_000, 24_000, 200_000], 1_000_000), provider());
    let mut router = Router::start(hasty(&bank, &provider));
    bank.stick(REFRESH);
    // Three calls leave less than a fifth of it, also once they are settled.
    for _ in 0..3 {
        assert_eq!(router.call(&big()).status, 200);
    }
    bank.wait("a refresh at 20 % left", |books| books.count(REFRESH) == 1);
    // It is not answered; what fits goes on.
    let small = router.call(&big());
    assert_eq!(small.status, 200);
    assert!(small.head.get("x-iron-clamped").is_some(), "it is lowered to what is left");
    bank.mend();
    bank.wait("another lease", |books| books.leases.len() == 2);
    for _ in 0..10 {
        let reply = until_not(&router, &big(), 503);
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    router.stop();
    assert!(bank.books().leases.len() > 2);
    balanced(&bank, router.inner().total_spent().0);
}

#[test]
fn what_is_denied_is_refused_when_the_rest_is_spent() {
    let (bank, provider) = (Bank::lending(&[10_000], 10_000), provider());
    let mut router = Router::start(hasty(&bank, &provider));
    let refused = until_not(&router, &big(), 200);
    assert_eq!(refused.error(), (402, "budget_exceeded".into()));
    assert_eq!(refused.head.get("x-should-retry").as_deref(), Some("false"));
    assert!(refused.text().contains("lease of the control server"), "{}", refused.text());
    let spent = router.inner().total_spent().0;
    assert!(spent > 8_000_000 && spent <= 10_000_000, "{spent}");
    // More is lent to who asks again.
    bank.books().left = 50_000;
    let start = Instant::now();
    while router.call(&big()).status != 200 {
        assert!(start.elapsed() < WAIT, "it is asked again");
    }
    router.stop();
    balanced(&bank, router.inner().total_spent().0);
}

#[test]
fn a_dry_lease_and_a_dead_server_are_no_spent_budget() {
    // Room for three: each holds twice what it costs.
    let (bank, provider) = (Bank::lending(&[20_000, 500_000], 1_000_000), provider());
    let mut config = hasty(&bank, &provider);
    config.spending.on_budget = OnBudget::Refuse;
    let mut router = Router::start(config);
    assert_eq!(router.call(&big()).status, 200);
    bank.down();
    for _ in 0..2 {
        assert_eq!(router.call(&big()).status, 200, "spending goes on within the lease");
    }
    for _ in 0..3 {
        let refused = router.call(&big());
        assert_eq!(refused.error(), (503, "control_server_unreachable".into()), "{}", refused.text());
        assert!(refused.text().contains(&bank.server.url()), "{}", refused.text());
        assert!(refused.head.get("retry-after").is_some());
    }
    let told = router.call(&big());
    assert!(told.text().contains("out for lunch"), "{}", told.text());
    bank.mend();
    assert_eq!(until_not(&router, &big(), 503).status, 200);
    router.stop();
    assert_eq!(bank.books().reports.len(), 4);
    balanced(&bank, 4 * COST);
}

#[test]
fn a_server_that_is_silent_about_more_is_named_too() {
    let (bank, provider) = (Bank::lending(&[10_000, 500_000], 1_000_000), provider());
    let mut config = hasty(&bank, &provider);
    config.spending.on_budget = OnBudget::Refuse;
    let router = Router::start(config);
    bank.stick(REFRESH);
    assert_eq!(router.call(&big()).status, 200);
    let refused = router.call(&big());
    assert_eq!(refused.error(), (503, "control_server_unreachable".into()));
    assert!(refused.text().contains(&bank.server.url()) && refused.text().contains("not answered yet"), "{}", refused.text());
    bank.mend();
    let reply = until_not(&router, &big(), 503);
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[test]
fn a_server_that_is_down_at_the_start_is_named() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("address");
    let provider = provider();
    let mut config = config(&provider, &provider);
    let url = format!("http://{free}");
    config.control = config.control.map(|control| Control { server_url: url.parse().expect("url"), ..control });
    let router = Router::start(config);
    assert_eq!(router.inner().provider(), "unknown");
    let refused = router.call(&big());
    assert_eq!(refused.error(), (503, "control_server_unreachable".into()));
    assert!(refused.text().contains(&url) && refused.text().to_lowercase().contains("refused"), "{}", refused.text());
    // The key is there, the budget is not.
    let bank = Bank::lending(&[10_000], 10_000);
    bank.down();
    let router = Router::start(hasty(&bank, &provider));
    let refused = router.call(&big());
    assert_eq!(refused.error(), (503, "control_server_unreachable".into()));
    assert!(refused.text().contains(&bank.server.url()) && refused.text().contains("503 out for lunch"), "{}", refused.text());
    // What costs nothing needs no budget.
    assert_eq!(router.call(&Request::get("/v1/models")).status, 200);
    assert_eq!(provider.requests().len(), 1);
    bank.mend();
    assert_eq!(until_not(&router, &big(), 503).status, 200);
}

#[test]
fn many_first_calls_one_handshake() {
    let (bank, provider) = (Bank::lending(&[10_000_000], 10_000_000), provider());
    let router = Arc::new(Router::start(config(&bank.server, &provider)));
    bank.stick(HANDSHAKE);
    let calls: Vec<_> = (0..24)
        .map(|_| {
            let router = router.clone();
            thread::spawn(move || router.call(&big()).status)
        })
        .collect();
    bank.wait("the handshake", |books| books.count(HANDSHAKE) == 1);
    bank.mend();
    calls.into_iter().for_each(|call| assert_eq!(call.join().expect("call"), 200));
    assert_eq!(bank.books().count(HANDSHAKE), 1);
    let asked = bank.books().bodies.iter().find(|(path, _)| path == HANDSHAKE).map(|(_, body)| body["provider"].clone());
    assert_eq!(asked, Some("openai".into()));
}

#[test]
fn a_lease_that_ends_is_returned_and_replaced() {
    let (bank, provider) = (Bank::lending(&[100_000], 1_000_000), provider());
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    // It counts as ended five seconds before.
    bank.books().expires_at = Some(now() + 7);
    let mut router = Router::start(hasty(&bank, &provider));
    assert_eq!(router.call(&Request::get("/v1/models")).status, 200);
    let (start, mut calls) = (Instant::now(), 0);
    while bank.books().leases.len() < 2 && start.elapsed() < WAIT {
        bank.books().expires_at = if calls > 0 { None } else { Some(now() + 7) };
        assert_eq!(router.call(&big()).status, 200);
        calls += 1;
    }
    router.stop();
    let first = bank.books().leases["lease_000"].clone();
    assert!(!first.open && first.spent > 0, "{first:?}");
    balanced(&bank, calls * COST);
}

#[test]
fn a_call_in_the_line_survives_the_end_of_its_lease() {
    let (bank, gate) = (Bank::lending(&[12_000, 100_000], 200_000), Arc::new(Barrier::new(2)));
    let (holding, first) = (gate.clone(), std::sync::atomic::AtomicBool::new(true));
    let provider = Upstream::answering(move |_| {
        if first.swap(false, std::sync::atomic::Ordering::SeqCst) {
            holding.wait();
        }
        billed(7, 400)
    });
    let mut config = config(&bank.server, &provider);
    config.spending.on_budget = OnBudget::Refuse;
    let mut router = Router::start(config);
    let mut holder = router.client();
    holder.send(&big().bytes());
    provider.wait("the first call", |log| log.requests.len() == 1);
    bank.fault(REFRESH, reply(404, "", r#"{"error":"unknown lease"}"#));
    // It waits for the first one, asks for more, and hears that there is no such lease.
    let reply = router.call(&big());
    assert_eq!(reply.status, 200, "{}", reply.text());
    gate.wait();
    assert_eq!(holder.reply("POST").status, 200);
    router.stop();
    assert_eq!(bank.books().count(HANDSHAKE), 2);
    balanced(&bank, 2 * COST);
}

#[test]
fn a_call_that_needs_more_than_the_usual_lease_gets_it() {
    let (bank, provider) = (Bank::lending(&[10_000_000, 100_000_000], 100_000_000), provider());
    let mut config = config(&bank.server, &provider);
    config.spending.on_budget = OnBudget::Refuse;
    let mut router = Router::start(config);
    let reply = router.call(&chat("gpt-4o", r#","max_tokens":16000,"n":100"#));
    assert_eq!(reply.status, 200, "{}", reply.text());
    router.stop();
    balanced(&bank, COST);
}

#[test]
fn a_revoked_token_is_told() {
    let (bank, provider) = (Bank::lending(&[1_000_000], 1_000_000), provider());
    let router = Router::start(hasty(&bank, &provider));
    assert_eq!(router.call(&big()).status, 200);
    for path in [HANDSHAKE, REPORT, REFRESH, RETURN] {
        bank.fault(path, reply(401, "", r#"{"error":"token is not valid"}"#));
    }
    let refused = until_not(&router, &big(), 200);
    assert_eq!(refused.error(), (503, "control_server_refused".into()));
    assert!(refused.text().contains(&bank.server.url()) && refused.text().contains("IC token"), "{}", refused.text());
}

#[test]
fn lies_lend_nothing() {
    for lie in [r#"{"lease_id":"l","budget_granted":-1}"#, r#"{"lease_id":"l","budget_granted":1e18}"#, r#"{"ip_token":1}"#, "[]", "<html>"]
    {
        let (bank, provider) = (Bank::lending(&[1_000_000], 1_000_000), provider());
        bank.fault(HANDSHAKE, json(lie));
        let router = Router::start(hasty(&bank, &provider));
        let refused = router.call(&big());
        assert_eq!(refused.error(), (503, "control_server_unreachable".into()), "{lie}");
        assert!(refused.text().contains(&bank.server.url()), "{}", refused.text());
        assert!(provider.requests().is_empty());
    }
}

#[test]
fn a_budget_beside_the_lease_is_a_lower_cap() {
    let (bank, provider) = (Bank::lending(&[1_000_000], 1_000_000), provider());
    let mut config = hasty(&bank, &provider);
    config.spending.budget = Some(NanoUsd(3 * COST));
    config.spending.on_budget = OnBudget::Refuse;
    let mut router = Router::start(config);
    let refused = until_not(&router, &big(), 200);
    assert_eq!(refused.error(), (402, "budget_exceeded".into()));
    assert!(refused.text().contains("--budget") && !refused.text().contains("lease"), "{}", refused.text());
    // It may be raised, but not above the lease.
    router.inner().set_budget(Some(NanoUsd(u64::MAX)));
    assert_eq!(router.call(&big()).status, 200);
    router.stop();
    assert_eq!(bank.books().count(REFRESH), 0, "the lease was never short");
    balanced(&bank, router.inner().total_spent().0);
}

#[test]
fn a_lease_is_a_budget() {
    let (bank, provider) = (Bank::lending(&[1_000_000], 9_000_000), provider());
    let router = Router::start(hasty(&bank, &provider));
    assert_eq!(router.call(&chat("gpt-nobody-knows", "")).error(), (402, "unknown_model_price".into()));
    let batch = Request::post("/v1/batches", r#"{"input_file_id":"f"}"#);
    assert_eq!(router.call(&batch).error(), (402, "unmetered_request".into()));
    assert!(provider.requests().is_empty());
    let mut config = hasty(&bank, &provider);
    (config.spending.unknown_model, config.spending.unmetered) = (Allow::Allow, Allow::Allow);
    let router = Router::start(config);
    let reply = router.call(&chat("gpt-nobody-knows", ""));
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(router.call(&batch).status, 200);
}

#[test]
fn a_server_without_budgets_lets_calls_go_on_but_only_one_that_never_lent() {
    let (bank, provider) = (Bank::lending(&[1_000_000], 9_000_000), provider());
    let plain = || reply(404, "", "<h1>Not Found</h1>");
    for path in [HANDSHAKE, REPORT, REFRESH, RETURN, EVENT] {
        bank.fault(path, plain());
    }
    let router = Router::start(hasty(&bank, &provider));
    for _ in 0..3 {
        assert_eq!(router.call(&big()).status, 200);
        let reply = router.call(&chat("gpt-nobody-knows", ""));
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    assert_eq!(bank.books().count(HANDSHAKE), 1);
    drop(router);
    bank.mend();
    let router = Router::start(hasty(&bank, &provider));
    assert_eq!(router.call(&big()).status, 200);
    // Something else stands in its place for a while.
    for path in [HANDSHAKE, REPORT, REFRESH, RETURN] {
        bank.fault(path, plain());
    }
    let refused = until_not(&router, &big(), 200);
    assert_eq!(refused.error(), (503, "control_server_unreachable".into()));
    assert!(refused.text().contains("has lent before"), "{}", refused.text());
    bank.mend();
    assert_eq!(until_not(&router, &big(), 503).status, 200);
}

/// A ledger in a directory of a test's own.
fn ledger(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("iron-lease-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    dir.join("ledger.db")
}

/// What the killed process does: three calls, then nothing.
#[cfg(feature = "ledger")]
#[test]
fn spender() {
    let Ok(urls) = std::env::var("IRON_LEASE_CHILD") else { return };
    let mut words = urls.split(' ');
    let mut next = || words.next().expect("told").to_string();
    let mut config = rig::bare();
    let server_url = next().parse().expect("url");
    config.control = Some(Control { server_url, ic_token: rig::TOKEN.into(), cache_ttl: Duration::from_secs(300) });
    let base = next().parse().expect("url");
    let key = iron_runtime::config::Key::Control;
    config.upstreams.push(iron_runtime::Upstream::new("openai", iron_runtime::Protocol::OpenAi, base, key));
    config.state = Some(next().into());
    let router = Router::start(config);
    for _ in 0..3 {
        assert_eq!(router.call(&big()).status, 200);
    }
    println!("\nspent");
    let _ = std::io::stdin().read(&mut [0]);
}

#[cfg(all(feature = "ledger", unix))]
#[test]
fn what_a_killed_router_owes_is_paid_once_by_the_next() {
    for told_before in [false, true] {
        let (bank, provider, path) = (Bank::lending(&[1_000_000], 2_000_000), provider(), ledger(&format!("kill-{told_before}")));
        if !told_before {
            bank.fault(REPORT, reply(503, "", ""));
            bank.fault(EVENT, reply(503, "", ""));
        }
        let mut child = Command::new(std::env::current_exe().expect("own path"))
            .args(["it::lease::spender", "--exact", "--nocapture", "--test-threads=1"])
            .env("IRON_LEASE_CHILD", format!("{} {} {}", bank.server.url(), provider.url(), path.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        assert!(lines.map_while(Result::ok).any(|line| line == "spent"), "the child has spent");
        if told_before {
            bank.wait("the reports", |books| books.reports.len() == 3);
        }
        child.kill().expect("kill");
        child.wait().expect("its end");
        bank.mend();
        let mut config = hasty(&bank, &provider);
        config.state = Some(path.clone());
        let mut router = Router::start(config);
        bank.wait("the old lease's return", |books| !books.leases["lease_000"].open);
        assert_eq!(router.call(&big()).status, 200);
        router.stop();
        let books = bank.books();
        assert_eq!(books.leases["lease_000"].spent, 3 * COST / 1000, "told before: {told_before}");
        assert_eq!((books.reports.len(), books.leases.len(), books.open(), books.count(RETURN)), (4, 2, 0, 2));
        #[cfg(feature = "analytics")]
        assert_eq!(books.events.len(), 4);
        drop(books);
        balanced(&bank, 4 * COST);
        let _ = std::fs::remove_dir_all(path.parent().expect("a directory"));
    }
}

#[cfg(feature = "ledger")]
#[test]
fn two_routers_on_one_ledger_keep_to_their_own_leases() {
    let (bank, provider, path) = (Bank::lending(&[1_000_000], 5_000_000), provider(), ledger("two"));
    let start = || {
        let mut config = hasty(&bank, &provider);
        config.state = Some(path.clone());
        Router::start(config)
    };
    let mut first = start();
    assert_eq!(first.call(&big()).status, 200);
    let mut second = start();
    assert_eq!(second.call(&big()).status, 200);
    let so_far = |bank: &Bank| {
        let books = bank.books();
        (books.reports.len(), books.open(), books.count(RETURN))
    };
    assert_eq!(so_far(&bank).2, 0);
    assert_eq!(so_far(&bank).1, 2);
    second.stop();
    assert_eq!(first.call(&big()).status, 200);
    first.stop();
    assert_eq!(so_far(&bank), (3, 0, 2));
    balanced(&bank, 3 * COST);
    let _ = std::fs::remove_dir_all(path.parent().expect("a directory"));
}

#[cfg(feature = "analytics")]
#[test]
fn every_call_is_one_event() {
    let bank = Bank::lending(&[1_000_000], 1_000_000);
    let provider = Upstream::start(|conn| {
        while let Some(request) = conn.request() {
            let body = String::from_utf8_lossy(&request.body).into_owned();
            if body.contains("break off") {
                conn.send(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{");
                return conn.shut();
            }
            conn.send(&if body.contains("fail") { reply(500, "", "{}") } else { billed(7, 400) });
        }
    });
    let mut router = Router::start(hasty(&bank, &provider));
    bank.fault(EVENT, reply(503, "retry-after: 1\r\n", ""));
    let saying = |text: &str| {
        Request::post(
            "/v1/chat/completions",
            &format!(r#"{{"model":"gpt-4o","max_tokens":9,"messages":[{{"role":"user","content":"PROMPT {text}"}}]}}"#),
        )
    };
    assert_eq!(router.call(&saying("well")).status, 200);
    assert_eq!(router.call(&saying("fail")).status, 500);
    assert_eq!(router.call(&saying("break off")).end, End::Broken);
    assert_eq!(router.call(&chat("gpt-nobody-knows", "")).status, 402);
    let long = "m".repeat(300_000);
    assert_eq!(router.call(&chat(&format!("gpt-{long}"), "")).status, 402);
    bank.wait("a try", |books| books.count(EVENT) > 0);
    bank.mend();
    router.stop();
    let books = bank.books();
    let mut told: Vec<_> = books
        .events
        .values()
        .map(|event| (event["event_type"].as_str().unwrap_or_default(), event["error_code"].as_str().unwrap_or_default()))
        .collect();
    told.sort_unstable();
    let failed = "llm_request_failed";
    let expected = [
        ("llm_request_completed", ""),
        (failed, "http_500"),
        (failed, "unknown_model_price"),
        (failed, "unknown_model_price"),
        (failed, "upstream_cut"),
    ];
    assert_eq!(told, expected);
    for (path, body) in &books.bodies {
        let text = body.to_string();
        assert!(!text.contains("PROMPT") && text.len() < 2_000, "{path}: {text}");
    }
}

#[cfg(feature = "analytics")]
#[test]
fn an_event_that_is_refused_is_dropped_and_one_that_is_not_taken_does_not_hold_the_stop() {
    let (bank, provider) = (Bank::lending(&[1_000_000], 1_000_000), provider());
    let mut router = Router::start(hasty(&bank, &provider));
    bank.fault(EVENT, reply(400, "", r#"{"error":"VALIDATION_ERROR","message":"x"}"#));
    assert_eq!(router.call(&big()).status, 200);
    bank.wait("the event", |books| books.count(EVENT) == 1);
    assert_eq!(router.call(&big()).status, 200);
    bank.wait("the next", |books| books.count(EVENT) == 2);
    bank.fault(EVENT, reply(500, "retry-after: 300\r\n", ""));
    assert_eq!(router.call(&big()).status, 200);
    let start = Instant::now();
    router.stop();
    assert!(start.elapsed() < WAIT, "the stop has a deadline");
    balanced(&bank, 3 * COST);
}

#[test]
fn calls_that_are_cut_at_once_are_still_reported_and_their_lease_returned() {
    let bank = Bank::lending(&[1_000_000], 1_000_000);
    let provider = Upstream::start(|conn| {
        conn.request();
        conn.eof();
    });
    let router = Router::start(hasty(&bank, &provider));
    let mut client = router.client();
    client.send(&big().bytes());
    provider.wait("the call", |log| log.requests.len() == 1);
    router.inner().shutdown_within(Duration::ZERO);
    let spent = router.inner().total_spent().0;
    assert!(spent >= 400 * 10_000, "nobody knows what it did: {spent}");
    assert_eq!(bank.books().reports.len(), 1);
    balanced(&bank, spent);
    #[cfg(feature = "analytics")]
    assert_eq!(bank.books().events.len(), 1);
}
