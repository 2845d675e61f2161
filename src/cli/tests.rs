//! The command on writers in memory: messages, exit codes, and that no key is ever in them.

use super::*;
use std::io::{self, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// What was written, readable afterwards.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().map_err(|_| io::ErrorKind::Other)?.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Written {
    fn text(&self) -> String {
        self.0.lock().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }
}

struct Run {
    code: u8,
    out: String,
    err: String,
}

/// Runs the command with variables and files that are not of this machine.
fn run_with(args: &[&str], variables: &[(&str, &str)], files: &[(&str, &str)]) -> Run {
    let variable = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
    let read = |path: &Path| match files.iter().find(|(known, _)| Path::new(known) == path) {
        Some((_, text)) => Ok(text.to_string()),
        None => Err(io::Error::from(io::ErrorKind::NotFound)),
    };
    let (out, err) = (Written::default(), Written::default());
    let mut console = Console::of_writers(out.clone(), err.clone());
    let code = run_on(args.iter().map(OsString::from), &Outside { variable: &variable, read: &read }, &mut console);
    Run { code, out: out.text(), err: err.text() }
}

/// An address of this machine where nothing listens.
fn closed_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    format!("http://{}", listener.local_addr().expect("an address"))
}

#[test]
fn usage_errors_have_code_2_and_name_the_help() {
    for (args, why, help) in [
        (&["serve", "--prot", "1"][..], "iron-runtime: unknown option --prot; did you mean --port?", "try: iron-runtime serve --help"),
        (&["--budget", "1"], "iron-runtime: the command comes first: iron-runtime COMMAND [OPTIONS]", "try: iron-runtime --help"),
        (&[], "iron-runtime: a command is missing", "try: iron-runtime --help"),
    ] {
        let run = run_with(args, &[], &[]);
        assert_eq!((run.code, run.out.as_str(), run.err), (USAGE, "", format!("{why}\n{help}\n")));
    }
}

#[test]
fn configuration_errors_have_code_2() {
    for (args, variables, why) in [
        (&["serve"][..], &[][..], "iron-runtime: no provider key: give --openai-key or --anthropic-key"),
        (&["serve"], &[("OPENAI_API_KEY", "k"), ("IRON_LOG", "loud")], "iron-runtime: IRON_LOG: must be error, warn, info, debug or off"),
        (&["serve", "--config", "/none"], &[], "iron-runtime: read config file /none: entity not found"),
        (&["serve"], &[("IRON_PORT", "x")], "iron-runtime: IRON_PORT: must be a port, 0 to 65535, not \"x\""),
        (&["ask"], &[], "iron-runtime: ask what? give TEXT in quotes, or - to read standard input"),
        (&["ask", " "], &[], "iron-runtime: the question is empty"),
        (&["ask", "x"], &[], "iron-runtime: no provider key"),
        (&["ask", "x", "--mock", "--openai-key", "k"], &[], "iron-runtime: the mock is a provider of its own: leave out --openai-key"),
        (&["run"], &[], "iron-runtime: run what? give a program: iron-runtime run [OPTIONS] -- CMD …"),
        (&["run", "true"], &[], "iron-runtime: no provider key"),
        (&["run", "--mock", "--budget", "-1", "true"], &[], "iron-runtime: --budget: must be an amount of US dollars from 0 to"),
        (
            &["run", "--budget-window", "day", "--state", "none", "true"],
            &[("OPENAI_API_KEY", "k")],
            "iron-runtime: --budget-window: day counts calls of earlier runs, so it needs a ledger: give --state (a file)",
        ),
        (&["report", "--json", "--csv"], &[], "iron-runtime: --json and --csv: give one of them"),
        (&["report", "--since", "yesterday"], &[], "iron-runtime: --since: must be a day such as 2026-01-31 or a time"),
        (&["report", "--limit", "3"], &[], "iron-runtime: --limit goes with --rows"),
        (&["report", "spend"], &[], "iron-runtime: unexpected argument \"spend\"; report takes `prices`, or nothing"),
        (&["report", "prices", "--rows"], &[], "iron-runtime: report prices takes no --rows"),
        (&["report"], &[], "iron-runtime: there is no ledger to report from"),
        (&["report", "--state", "none"], &[("HOME", "/h")], "iron-runtime: there is no ledger to report from"),
        (&["report", "prices", "--prices", "/none"], &[], "iron-runtime: prices: read /none: entity not found"),
        (&["mock", "--port", "70000"], &[], "iron-runtime: --port: must be a whole number from 0 to 65535, not \"70000\""),
        (&["demo", "--port", "x"], &[], "iron-runtime: --port: must be a whole number from 0 to 65535, not \"x\""),
    ] {
        let run = run_with(args, variables, &[]);
        assert!(run.code == USAGE && run.out.is_empty() && run.err.starts_with(why), "{args:?}: {}", run.err);
    }
}

#[test]
fn a_port_in_use_is_told_with_code_3() {
    let held = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = held.local_addr().expect("an address").port().to_string();
    let run = run_with(&["serve", "--port", &port], &[("OPENAI_API_KEY", "k")], &[]);
    let why = format!(
        "iron-runtime: can't listen on 127.0.0.1:{port}: the port is in use; stop what holds it, or give another --port (0 picks a free one)\n"
    );
    assert_eq!((run.code, run.out.as_str(), run.err), (NO_LISTENER, "", why));
}

#[test]
fn ask_tells_what_went_wrong() {
    let closed = closed_address();
    let run = run_with(&["ask", "hi", "--openai-base-url", &closed], &[], &[]);
    assert!(run.code == FAILED && run.err.starts_with("iron-runtime: status 502: openai ("), "{}", run.err);
    let run = run_with(&["ask", "hi", "--json", "--openai-base-url", &closed], &[], &[]);
    let value: serde_json::Value = serde_json::from_str(&run.out).unwrap_or_default();
    assert!(run.code == FAILED && value["ok"] == false && value["status"] == 502, "{}", run.out);
    for model in ["mock-500", "mock-cut", "mock-garbage", "mock-error-event"] {
        for more in [&[][..], &["--stream"]] {
            let run = run_with(&[&["ask", "hi", "--mock", "-m", model], more].concat(), &[], &[]);
            assert!(run.code == FAILED && run.err.starts_with("iron-runtime: "), "{model} {more:?}: {}", run.err);
        }
    }
    let run = run_with(&["ask", "hi", "--mock", "-m", "nonexistent-1"], &[], &[]);
    assert!(run.err.starts_with("iron-runtime: status 404: "), "{}", run.err);
}

#[test]
fn ask_finds_the_protocol_by_the_model() {
    for (more, model, protocol) in [
        (&[][..], "gpt-4o-mini", "openai"),
        (&["-m", "claude-sonnet-4-20250514"], "claude-sonnet-4-20250514", "anthropic"),
        (&["-m", "claude-3-5-haiku-latest", "--stream"], "claude-3-5-haiku-latest", "anthropic"),
        (&["-m", "gpt-4o", "--stream"], "gpt-4o", "openai"),
    ] {
        let run = run_with(&[&["ask", "hi", "--mock", "--json"], more].concat(), &[], &[]);
        let value: serde_json::Value = serde_json::from_str(&run.out).unwrap_or_default();
        assert_eq!(
            (run.code, value["ok"].as_bool(), value["model"].as_str(), value["protocol"].as_str()),
            (OK, Some(true), Some(model), Some(protocol))
        );
        assert!(value["text"].as_str().is_some_and(|text| text.starts_with("Hello!")), "{}", run.out);
        assert!(value["input_tokens"].is_u64() && value["output_tokens"].is_u64() && !value["reply"].is_null(), "{}", run.out);
    }
}

#[test]
fn doctor_tells_problems_and_how_to_mend_them() {
    let closed = closed_address();
    let variables = [("OPENAI_API_KEY", "sk-ant-0123456789abcdefWXYZ"), ("OPENAI_BASE_URL", closed.as_str())];
    let run = run_with(&["doctor", "--openai-base-url", &closed, "--client-token", "short", "--host", "0.0.0.0"], &variables, &[]);
    assert_eq!(run.code, FAILED);
    for line in [
        "warning  openai_key: sk-ant-…WXYZ is a key of Anthropic's; to mend it: give it as --anthropic-key (ANTHROPIC_API_KEY)",
        "warning  client_token: is short enough to be guessed; to mend it: use 16 random characters or more, or --token-file, which makes one",
        "warning  client_token: on the command line every user of this machine can read it; to mend it: give env:NAME or file:PATH instead",
        "warning  host: 0.0.0.0 lets other machines reach the router; to mend it: leave --host away, unless that is wanted",
        "ok       port: any free one",
    ] {
        assert!(run.out.lines().any(|found| found == line), "{line}\n{}", run.out);
    }
    assert!(
        run.out.contains("problem  openai: ") && run.out.contains("where no router answers; to mend it: unset OPENAI_BASE_URL"),
        "{}",
        run.out
    );
    let run = run_with(&["doctor", "--json", "--config", "/c"], &[], &[("/c", "\nprot = 1")]);
    let value: serde_json::Value = serde_json::from_str(&run.out).unwrap_or_default();
    assert_eq!((run.code, value["checks"][0]["status"].as_str()), (FAILED, Some("problem")));
    assert_eq!(value["checks"][0]["what"], "/c line 2: unknown key \"prot\"; did you mean port?");
}

#[test]
fn doctor_is_content_with_a_mock() -> Result<(), Error> {
    let mock = crate::mock::Mock::start(crate::mock::MockConfig::default())?;
    let url = mock.base_url();
    for (variables, told) in [
        (
            vec![("IRON_OPENAI_BASE_URL", url), ("OPENAI_API_KEY", "any"), ("IRON_ANTHROPIC_BASE_URL", url)],
            "ok       anthropic: http://127.0.0.1:",
        ),
        (vec![("IC_SERVER", url), ("IC_TOKEN", "ic_0123456789abcdefWXYZ")], "assigned openai's key sk-…"),
    ] {
        let run = run_with(&["doctor"], &variables, &[]);
        assert!(run.code == OK && run.out.contains(told) && run.out.contains("\n0 problems, "), "{}", run.out);
    }
    let run = run_with(&["doctor"], &[("IC_SERVER", url), ("IC_TOKEN", "ic_unauthorized")], &[]);
    assert!(run.code == FAILED && run.out.contains("problem  control server: "), "{}", run.out);
    Ok(())
}

#[test]
fn report_tells_where_it_looked() {
    let run = run_with(&["report"], &[("HOME", "/no-such-home")], &[]);
    let why = "iron-runtime: no ledger at /no-such-home/.local/state/iron-runtime/ledger.db: no call was recorded there yet";
    assert!(run.code == FAILED && run.out.is_empty() && run.err.starts_with(why), "{}", run.err);
    let run = run_with(&["report", "prices", "no-such-model-1"], &[], &[]);
    assert!(
        run.code == FAILED && run.err.contains("no price is known for \"no-such-model-1\"") && run.err.contains("name it with --prices")
    );
}

#[test]
fn report_explains_prices() {
    let file = [("/p", r#"{"models": {"own-model": {"provider": "openai", "input": 1, "output": 2, "max_output_tokens": 100}}}"#)];
    let run = run_with(&["report", "prices", "gpt-4o-mini", "--json"], &[], &[]);
    let value: serde_json::Value = serde_json::from_str(&run.out).unwrap_or_default();
    assert_eq!((run.code, &value["usd_per_million_tokens"]["standard"]["input"]), (OK, &serde_json::json!(0.15)), "{}", run.out);
    assert!(value["worst_case"]["hold_usd"].as_f64().is_some_and(|hold| hold > 0.0) && value["rule"].is_string(), "{}", run.out);
    let run = run_with(&["report", "prices", "own-model", "--prices", "/p"], &[], &file);
    assert!(run.code == OK && run.out.contains("  price from     /p\n") && run.out.contains("1.00"), "{}{}", run.out, run.err);
    let run = run_with(&["report", "prices", "--provider", "anthropic"], &[], &[]);
    assert!(run.out.contains("claude") && !run.out.contains("gpt-"), "{}", run.out);
    assert!(run_with(&["report", "prices", "own-model", "--prices", "/p"], &[], &file).out.contains("own-model of openai (exact name)"));
    let any = [("/p", r#"{"models": {"own-model": {"input": 1, "output": 2}}}"#)];
    assert!(
        run_with(&["report", "prices", "own-model", "--prices", "/p"], &[], &any).out.contains("own-model of any upstream (exact name)")
    );
    for (more, code, told) in [
        (&["gpt-4o-minni"][..], FAILED, "\ndid you mean gpt-4o-mini?"),
        (&["--provider", "opennai"], FAILED, "no prices of \"opennai\"; the table has: anthropic, "),
        (&[""], USAGE, "the model's name is empty"),
    ] {
        let run = run_with(&[&["report", "prices"], more].concat(), &[], &[]);
        assert!(run.code == code && run.out.is_empty() && run.err.contains(told), "{more:?}: {}{}", run.out, run.err);
    }
    let run = run_with(&["report", "prices", "--prices", "/p"], &[], &[("/p", "{}x")]);
    assert!(run.code == USAGE && run.err.starts_with("iron-runtime: prices: /p: "), "{}", run.err);
}

#[cfg(feature = "ledger")]
#[test]
fn report_reads_a_ledger() -> Result<(), Error> {
    use crate::ledger::Ledger;
    use crate::row::Books;
    let folder = std::env::temp_dir().join(format!("iron-report-{}-{:?}", std::process::id(), std::thread::current().id()));
    let file = folder.join("ledger.db");
    let state = file.to_str().unwrap_or_default();
    let ledger = Ledger::open(&file)?;
    for (serial, agent, cost) in [(1, None, 1_000), (2, Some("a"), 20_000), (3, Some("a"), 300_000)] {
        ledger.record(&Arc::new(kept_row(serial, agent, cost)))?;
    }
    let run = run_with(&["report", "--json", "--state", state, "--budget", "2"], &[], &[]);
    let value: serde_json::Value = serde_json::from_str(&run.out).unwrap_or_default();
    assert_eq!((run.code, &value["requests"], &value["cost_nano_usd"], &value["limit_usd"]), (OK, &3.into(), &321_000.into(), &2.0.into()));
    assert_eq!((&value["by_agent"]["a"]["cost_nano_usd"], &value["by_day"]["2023-11-14"]["requests"]), (&320_000.into(), &3.into()));
    for (more, cost) in [
        (&["--agent", "a"][..], 320_000),
        (&["--agent", "nobody"], 0),
        (&["--since", "2023-11-15"], 0),
        (&["--until", "2023-11-14"], 321_000),
        (&["--until", "2023-11-13"], 0),
        (&["--since", "2023-11-14", "--model", "gpt-4o-mini", "--provider", "openai"], 321_000),
        (&["--model", "gpt-4o"], 0),
    ] {
        let run = run_with(&[&["report", "--json", "--state", state], more].concat(), &[], &[]);
        let value: serde_json::Value = serde_json::from_str(&run.out).unwrap_or_default();
        assert_eq!(value["cost_nano_usd"], cost, "{more:?}: {}{}", run.out, run.err);
    }
    let run = run_with(&["report", "--rows", "--limit", "2", "--csv", "--state", state], &[], &[]);
    let costs: Vec<_> = run.out.lines().skip(1).filter_map(|line| line.split(',').nth(11)).collect();
    assert_eq!(costs, ["20000", "300000"], "{}", run.out);
    let run = run_with(&["report", "--state", state], &[], &[]);
    assert!(run.out.starts_with("3 requests, 30 tokens in, 15 out, $0.000321\n\nmodel        requests"), "{}", run.out);
    ledger.stop(std::time::Duration::from_secs(5));
    std::fs::write(&file, "no ledger at all, and long enough to be looked at").unwrap_or_default();
    let run = run_with(&["report", "--state", state], &[], &[]);
    assert!(run.code == FAILED && run.out.is_empty() && run.err.contains("ledger.db"), "{}", run.err);
    let directory = folder.to_str().unwrap_or_default();
    let run = run_with(&["report", "--state", directory], &[], &[]);
    assert!(run.code == FAILED && run.err.contains("not a file"), "{}", run.err);
    let run = run_with(&["doctor", "--state", state], &[("OPENAI_API_KEY", "k")], &[]);
    assert!(run.out.contains("problem  ledger: ") && run.out.contains("to mend it: put the file aside"), "{}", run.out);
    let _ = std::fs::remove_dir_all(&folder);
    Ok(())
}

#[cfg(feature = "ledger")]
fn kept_row(serial: u64, agent: Option<&str>, cost: u64) -> crate::row::Row {
    use crate::call::{End, Outcome};
    use crate::money::{NanoUsd, Usage};
    use crate::row::{Bill, RequestInfo, Row};
    let info = RequestInfo {
        serial,
        at: crate::UnixMs(1_700_000_000_000 + serial),
        agent: agent.map(Into::into),
        upstream: "openai".into(),
        method: "POST".into(),
        path: "/v1/chat/completions".into(),
        model: Some("gpt-4o-mini".into()),
        stream: false,
        request_bytes: None,
        translated: false,
    };
    let outcome = Outcome { status: 200, ..Outcome::failed(200, End::Complete, std::time::Duration::from_millis(1)) };
    let usage = Some(Usage { input: 10, output: 5, ..Usage::default() });
    Row::new(info, outcome, Bill { usage, cost: Some(NanoUsd(cost)), ..Bill::default() }, None)
}

#[test]
fn doctor_looks_at_the_money() {
    let key = ("OPENAI_API_KEY", "sk-0123456789abcdefWXYZ");
    let closed = closed_address();
    for (more, variables, told) in [
        (&["--budget", "0"][..], &[][..], "warning  budget: is 0: every call that costs something is refused; to mend it: raise --budget"),
        (&["--budget", "2.5"], &[], "ok       budget: $2.50"),
        (&[], &[], "ok       budget: no limit"),
        (&[], &[], "ok       ledger: none: neither HOME nor XDG_STATE_HOME is set"),
        (&["--state", "none"], &[], "ok       ledger: none, as set"),
        (
            &[],
            &[("XDG_STATE_HOME", "/dev/null/x")],
            "problem  ledger: /dev/null/x/iron-runtime/ledger.db can't be made: /dev/null is no folder",
        ),
        (&["--prices", "/none"], &[], "problem  prices: read /none: entity not found"),
        (
            &["--budget", "1", "--config", "/c"],
            &[],
            "warning  prices: no price is known for \"no-such-model-1\" at openai: under a budget calls to it are refused; to mend it: give its",
        ),
    ] {
        let args = [&["doctor", "--openai-base-url", &closed], more].concat();
        let run = run_with(&args, &[&[key], variables].concat(), &[("/c", "[upstreams.openai]\nmodels = ['no-such-model-1', 'gpt-*']")]);
        assert!(run.out.lines().any(|line| line.starts_with(told)), "{told}\n{}", run.out);
    }
}

/// A key that stands anywhere must come out nowhere.
#[test]
fn no_output_ever_holds_a_key() {
    const KEY: &str = "sk-canary-0123456789";
    let closed = closed_address();
    let files = [
        ("/key", KEY),
        ("/c", "openai_key = 'sk-canary-0123456789'\nserver_url = 'http://127.0.0.1:9'\napi_key = 'ic_canary-0123456789'"),
        ("/bad", "openai_key = sk-canary-0123456789\n"),
        ("/agents", "openai_key = 'k'\n[agents.a]\ntoken = 'sk-canary-0123456789'\n[agents.b]\ntoken = 'sk-canary-0123456789'"),
        ("/worse", "[upstreams.x]\nprotocol = 'sk-canary-0123456789'\nkey = 'sk-canary-0123456789'"),
    ];
    let variables =
        [("OPENAI_API_KEY", KEY), ("ANTHROPIC_API_KEY", KEY), ("IC_TOKEN", "ic_canary-0123456789"), ("K", KEY), ("IRON_LOG", KEY)];
    let unset = &variables[..4];
    let base = ["--openai-base-url", closed.as_str(), "--anthropic-base-url", closed.as_str()];
    let cases: Vec<Vec<&str>> = vec![
        vec!["serve", "--help", "--openai-key", KEY],
        vec!["serve", "--openai-key", KEY, "--help"],
        vec!["serve", "--openai-key", KEY, "--prot", KEY],
        vec!["serve", "--port", KEY],
        vec!["serve", "--host", KEY, "--openai-key", KEY],
        vec!["serve", "--sk-canary-0123456789", KEY],
        vec!["serve", "--openai-base-url", KEY],
        vec!["serve", "--openai-base-url", "http://u:sk-canary@h"],
        vec!["serve", "--log-format", KEY],
        vec!["serve", "--idle-timeout", KEY],
        vec!["serve", "--openai-key", "env:sk-canary-0123456789"],
        vec!["serve", "--openai-key", "sk-canary 0123456789"],
        vec!["serve", "--config", "/bad"],
        vec!["serve", "--config", "/worse"],
        vec!["serve", KEY],
        vec![KEY],
        vec!["help", KEY],
        vec!["demo", "--json=sk-canary-0123456789"],
        vec!["mock", "--port", KEY],
        vec!["doctor", "--openai-key", KEY, "--client-token", KEY],
        vec!["doctor", "--openai-key", "file:/key"],
        vec!["doctor", "--anthropic-key", "env:K"],
        vec!["doctor", "--config", "/c"],
        vec!["doctor", "--config", "/bad"],
        vec!["doctor", "--config", "/worse"],
        vec!["doctor", "--json"],
        vec!["doctor", "--api-key", KEY, "--server-url", &closed],
        vec!["ask", "hi"],
        vec!["ask", "hi", "--json"],
        vec!["ask", "--model", KEY],
        vec!["run", "--openai-key", KEY, "--budget", KEY, "true"],
        vec!["run", "--openai-key", KEY, "--openai-base-url", KEY, "true"],
        vec!["run", "--openai-key", KEY, KEY],
        vec!["run", "--config", "/agents", "--", "sk-canary-0123456789"],
        vec!["report", KEY],
        vec!["report", "--since", KEY],
        vec!["report", "prices", KEY],
        vec!["report", "--config", "/agents", "--state", "/none"],
        vec!["serve", "--config", "/agents"],
        vec!["doctor", "--config", "/agents"],
    ];
    for mut args in cases {
        if ["ask", "doctor"].contains(&args[0]) {
            args.extend(base);
        }
        let run = run_with(&args, if args[0] == "serve" { &variables } else { unset }, &files);
        assert!(!run.out.contains("canary") && !run.err.contains("canary"), "{args:?}\n{}{}", run.out, run.err);
        assert!(!(run.out.clone() + &run.err).is_empty(), "{args:?} said nothing");
    }
}

/// A disk that is full.
struct Full;

impl Write for Full {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_result_that_could_not_be_written_is_a_failure() {
    for args in [&["--version"][..], &["serve", "--help"], &["report", "prices"], &["report", "prices", "gpt-4o", "--json"]] {
        let err = Written::default();
        let outside = Outside { variable: &|_| None, read: &|_| Err(io::ErrorKind::NotFound.into()) };
        let code = run_on(args.iter().map(OsString::from), &outside, &mut Console::of_writers(Full, err.clone()));
        assert_eq!(code, FAILED, "{args:?}");
        assert!(err.text().starts_with("iron-runtime: can't write to standard output: "), "{args:?}: {}", err.text());
    }
}
