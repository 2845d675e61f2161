//! The ledger behind the whole router: a row for every call, what earlier rows count, files that can't be used.
#![cfg(feature = "ledger")]

use super::client::{End, Request};
use super::money::{billed, chat};
use super::rig::{self, Router};
use super::upstream::{Upstream, reply};
use iron_runtime::Config;
use iron_runtime::config::{Agent, OnBudget, OnLedgerError, Window};
use iron_runtime::ledger::{Filter, Report};
use iron_runtime::money::NanoUsd;
use std::path::{Path, PathBuf};
use std::process::Command;

fn place(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("iron-books-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    dir.join("ledger.db")
}

fn gone(path: &Path) {
    let _ = std::fs::remove_dir_all(path.parent().expect("a directory"));
}

fn keeping(upstream: &Upstream, path: &Path) -> Config {
    let mut config = rig::openai(upstream);
    config.state = Some(path.into());
    config
}

#[test]
fn every_call_is_a_row() {
    let upstream = Upstream::start(|conn| {
        while let Some(request) = conn.request() {
            let body = String::from_utf8_lossy(&request.body).into_owned();
            if body.contains("cut me") {
                conn.send(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{");
                return conn.shut();
            }
            conn.send(&if body.contains("fail me") { reply(500, "", "{}") } else { billed(7, 3) });
        }
    });
    let path = place("rows");
    let mut config = keeping(&upstream, &path);
    config.spending.budget = Some(NanoUsd(10_000_000_000));
    let mut router = Router::start(config);
    assert_eq!(router.call(&chat("gpt-4o", "")).status, 200);
    assert_eq!(router.call(&chat("gpt-4o", r#","user":"fail me""#)).status, 500);
    assert_eq!(router.call(&chat("gpt-4o", r#","user":"cut me""#)).end, End::Broken);
    assert_eq!(router.call(&chat("gpt-nobody-knows", "")).status, 402);
    router.stop();
    let report = Report::open(&path).expect("a ledger");
    let rows: Vec<_> = report.rows(&Filter::default(), 10).expect("rows").map(|row| row.expect("a row")).collect();
    let mut told: Vec<_> = rows.iter().map(|row| (row.serial, row.end.as_str(), row.status, row.code.as_deref(), row.estimated)).collect();
    told.sort_unstable();
    let expected = [
        (1, "complete", 200, None, false),
        (2, "complete", 500, None, false),
        (3, "upstream_cut", 200, None, true),
        (4, "refused", 402, Some("unknown_model_price"), false),
    ];
    assert_eq!(told, expected);
    assert_eq!(report.spent(&Filter::default()).expect("a sum"), router.inner().total_spent());
    gone(&path);
}

#[test]
fn a_window_counts_the_rows_of_earlier_runs_also_an_agents() {
    let (upstream, path) = (Upstream::saying(billed(7, 400)), place("window"));
    let cost = 7 * 2_500 + 400 * 10_000;
    let start = |window| {
        let mut config = keeping(&upstream, &path);
        config.spending.window = window;
        config.spending.on_budget = OnBudget::Refuse;
        config.spending.budget = Some(NanoUsd(10 * cost));
        config.agents = vec![Agent { name: "small".into(), token: "tok-small".into(), budget: Some(NanoUsd(3 * cost)) }];
        Router::start(config)
    };
    let call = chat("gpt-4o", r#","max_tokens":400"#).without_token().field("authorization", "Bearer tok-small");
    let first = start(Window::Run);
    assert_eq!(first.call(&call).status, 200);
    drop(first);
    for window in [Window::Day, Window::Month, Window::Total] {
        let router = start(window);
        assert_eq!(router.inner().budget_status().map(|(spent, _)| spent), Some(NanoUsd(cost)), "{window:?}");
        assert_eq!(router.inner().total_spent(), NanoUsd::ZERO);
        // A call holds twice what it costs: of three, one is spent.
        let refused = router.call(&call);
        assert_eq!(refused.error(), (402, "budget_exceeded".into()), "{}", refused.text());
        assert!(refused.text().contains("small"), "{}", refused.text());
    }
    assert_eq!(start(Window::Run).call(&call).status, 200);
    gone(&path);
}

#[test]
fn a_file_that_is_no_ledger_is_told_and_left_alone() {
    let (upstream, path) = (Upstream::saying(billed(1, 1)), place("foreign"));
    std::fs::create_dir_all(path.parent().expect("a directory")).expect("made");
    let text = "not a database, but somebody's notes ".repeat(100);
    std::fs::write(&path, &text).expect("written");
    let error = iron_runtime::LlmRouter::start(keeping(&upstream, &path)).err().expect("refused").to_string();
    assert!(error.contains(&path.display().to_string()) && error.contains("damaged or no ledger"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).expect("there"), text);
    gone(&path);
}

/// The limit on files' sizes stands for a full disk.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_stops_calls_where_that_is_wanted_and_only_as_long() {
    const CHILD: &str = "IRON_BOOKS_CHILD";
    if let Ok(path) = std::env::var(CHILD) {
        let upstream = Upstream::saying(billed(7, 3));
        let mut config = keeping(&upstream, Path::new(&path));
        config.on_ledger_error = OnLedgerError::Stop;
        let router = Router::start(config);
        let mut refused = router.call(&Request::get("/v1/models"));
        for _ in 0..20_000 {
            if refused.status != 200 {
                break;
            }
            refused = router.call(&Request::get("/v1/models"));
        }
        assert_eq!(refused.error(), (503, "ledger_unavailable".into()));
        assert!(refused.text().contains("--on-ledger-error"), "{}", refused.text());
        let sent = upstream.requests().len();
        assert_eq!(router.call(&Request::get("/v1/models")).status, 503);
        assert_eq!(upstream.requests().len(), sent, "nothing is sent without a row");
        let own = std::process::id().to_string();
        let raised = Command::new("prlimit").args(["--pid", &own, "--fsize=unlimited"]).status();
        if raised.is_ok_and(|status| status.success()) {
            assert_eq!(router.call(&Request::get("/v1/models")).status, 200, "room again");
        }
        return;
    }
    let path = place("full");
    drop(Router::start(keeping(&Upstream::saying(billed(1, 1)), &path)));
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -S -f 160; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().expect("own path"))
        .args(["it::books::a_full_disk_stops_calls_where_that_is_wanted_and_only_as_long", "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, &path)
        .output()
        .expect("a child");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    gone(&path);
}
