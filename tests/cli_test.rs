//! The built command, as a user starts it: what it prints, how it ends, what it never prints. Signals are sent by `kill`, so this is for Unix.
#![cfg(unix)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

/// The command without keys, proxies and settings of this machine.
fn iron(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_iron-runtime"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy().to_ascii_uppercase();
        if ["OPENAI_", "ANTHROPIC_", "IC_", "IRON_", "XDG_STATE_HOME"].iter().any(|ours| text.starts_with(ours))
            || text.ends_with("_PROXY")
            || text == "SSL_CERT_FILE"
        {
            command.env_remove(name);
        }
    }
    // Nobody's ledger but a test's own.
    command.env("IRON_STATE", "none");
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn output(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("the command runs");
    (status.code(), String::from_utf8(stdout).expect("UTF-8"), String::from_utf8(stderr).expect("UTF-8"))
}

/// A command in the background that has told its address.
struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
    /// `127.0.0.1:PORT`.
    address: String,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().expect("the command starts");
        let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        out.read_line(&mut line).expect("a line");
        let address = line.trim_end().strip_prefix("listening on http://").unwrap_or_else(|| panic!("{line:?}")).to_string();
        Self { child, out, address }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Ends it: exit code, the rest of stdout, stderr.
    fn ended(mut self) -> (Option<i32>, String, String) {
        let (mut out, mut err) = (String::new(), String::new());
        self.out.read_to_string(&mut out).expect("stdout");
        self.child.stderr.take().expect("a pipe").read_to_string(&mut err).expect("stderr");
        (self.child.wait().expect("it ends").code(), out, err)
    }

    fn stopped(self, signal: &str) -> (Option<i32>, String, String) {
        self.signal(signal);
        self.ended()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

/// Sends a request and leaves the reply to be read.
fn send(address: &str, head: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("connect");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("timeout");
    let request = format!("{head}\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).expect("send");
    stream
}

fn reply(address: &str, head: &str, body: &str) -> String {
    let mut text = String::new();
    send(address, head, body).read_to_string(&mut text).expect("a reply");
    text
}

fn chat(address: &str, token: &str, model: &str) -> String {
    let head = format!("POST /v1/chat/completions HTTP/1.1\r\nauthorization: Bearer {token}\r\ncontent-type: application/json");
    reply(address, &head, &format!(r#"{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello!"}}]}}"#))
}

#[test]
fn serve_prints_one_line_and_ends_in_order() {
    for signal in ["TERM", "INT"] {
        let running = Running::start(&mut iron(&["serve", "--openai-key", "k", "--client-token", "t"]));
        assert!(running.address.starts_with("127.0.0.1:"));
        assert!(reply(&running.address, "GET / HTTP/1.1", "").ends_with("LlmRouter OK"));
        let (code, out, err) = running.stopped(signal);
        assert_eq!((code, out.as_str()), (Some(0), ""), "{err}");
        assert!(err.contains("router_started") && err.contains("router_stopped"), "{err}");
    }
}

#[test]
fn a_usual_ledger_that_cannot_be_used_is_a_warning_and_one_that_was_asked_for_is_not() {
    let home = std::env::temp_dir().join(format!("iron-no-home-{}", std::process::id()));
    std::fs::write(&home, "no directory").expect("a file");
    let serve = |options: &[&str]| {
        let mut command = iron(&[&["serve", "--openai-key", "k", "--client-token", "t"], options].concat());
        command.env_remove("IRON_STATE").env("XDG_STATE_HOME", &home);
        command
    };
    let running = Running::start(&mut serve(&[]));
    let (code, _, err) = running.stopped("TERM");
    assert!(code == Some(0) && err.contains("rows are kept in memory") && err.contains("--state"), "{err}");
    let asked_for = home.join("ledger.db");
    for options in [["--state", asked_for.to_str().expect("a path")], ["--budget-window", "day"], ["--on-ledger-error", "stop"]] {
        let (code, out, err) = output(&mut serve(&options));
        assert!(code != Some(0) && out.is_empty() && err.contains("ledger.db"), "{options:?} {err}");
    }
    std::fs::remove_file(&home).expect("removed");
}

#[test]
fn a_second_signal_ends_serve_at_once() {
    let mock = Running::start(&mut iron(&["mock"]));
    let url = format!("http://{}", mock.address);
    let serve = Running::start(&mut iron(&["serve", "--openai-base-url", &url, "--client-token", "t", "--openai-key", "k"]));
    let head = "POST /v1/chat/completions HTTP/1.1\r\nauthorization: Bearer t\r\ncontent-type: application/json";
    let stalled =
        send(&serve.address, head, r#"{"model": "mock-stall", "stream": true, "messages": [{"role": "user", "content": "Hello!"}]}"#);
    let mut first = String::new();
    BufReader::new(stalled.try_clone().expect("clone")).read_line(&mut first).expect("a status line");
    assert!(first.starts_with("HTTP/1.1 200"), "{first}");
    serve.signal("TERM");
    serve.signal("INT");
    assert_eq!(serve.ended().0, Some(130));
    drop(stalled);
}

#[test]
fn mock_prints_lines_that_make_server_mode_work() {
    let mut mock = Running::start(&mut iron(&["mock", "--events", "3", "--latency-ms", "1", "--spacing-ms", "1"]));
    let mut lines = [String::new(), String::new()];
    for line in &mut lines {
        mock.out.read_line(line).expect("a line");
    }
    let [comment, export] = lines;
    assert!(comment.starts_with("# "), "{comment}");
    let variables: Vec<(&str, &str)> =
        export.trim_end().strip_prefix("export ").expect("export").split(' ').filter_map(|word| word.split_once('=')).collect();
    let url = format!("http://{}", mock.address);
    assert_eq!((variables[0].0, variables[1]), ("IC_TOKEN", ("IC_SERVER", url.as_str())));
    let token = variables[0].1;

    let serve = Running::start(iron(&["serve"]).envs(variables.iter().copied()));
    assert!(chat(&serve.address, token, "gpt-4o-mini").starts_with("HTTP/1.1 200"));
    assert!(chat(&serve.address, "other", "gpt-4o-mini").starts_with("HTTP/1.1 401"));
    assert_eq!(serve.stopped("TERM").0, Some(0));
    assert_eq!(output(iron(&["ask", "Hello!"]).envs(variables.iter().copied())).0, Some(0));
    let (code, out, _) = mock.stopped("TERM");
    assert_eq!((code, out.as_str()), (Some(0), ""));
}

#[test]
fn demo_shows_six_successes() {
    for args in [&["demo", "--once"][..], &["demo"]] {
        let (code, out, err) = output(&mut iron(args));
        assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
        assert!(out.contains("\n6 of 6 requests succeeded.\n") && !out.contains('\x1b'), "{out}");
        assert!(out.lines().filter(|line| line.contains(" 200 ") && line.ends_with("\u{b5}s")).count() == 6, "{out}");
        assert!(out.contains("\nA budget of $0.02") && out.contains("refused, status 402: Iron Cage budget limit exceeded"), "{out}");
        for word in ["curl http://127.0.0.1:", "/v1/chat/completions", "/v1/messages", "OpenAI(base_url=", "Anthropic(base_url="] {
            assert!(out.contains(word), "{word}: {out}");
        }
    }
}

#[test]
fn demo_tells_scripts_in_json() {
    let (code, out, _) = output(&mut iron(&["demo", "--json"]));
    let value: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, value["ok"].as_bool(), value["requests"].as_array().map(Vec::len)), (Some(0), Some(true), Some(6)));
    let budget = &value["budget"];
    assert!(budget["cost_nano_usd"] == budget["billed_nano_usd"] && budget["refused_with"] == 402, "{budget}");
    assert!(budget["cost_nano_usd"].as_u64().is_some_and(|spent| (1..=20_000_000).contains(&spent)), "{budget}");
    for request in value["requests"].as_array().into_iter().flatten() {
        for figure in ["first_token_ms", "total_ms", "input_tokens", "output_tokens", "router_adds_us"] {
            assert!(request[figure].is_number(), "{figure}: {request}");
        }
    }
}

#[test]
fn ask_answers_on_stdout_and_counts_on_stderr() {
    for args in [&["ask", "Hello!", "--mock"][..], &["ask", "--mock", "--stream", "-m", "claude-3-5-haiku-latest", "Hello!"]] {
        let (code, out, err) = output(&mut iron(args));
        assert_eq!((code, out.as_str()), (Some(0), "Hello! This is the mock provider of iron_runtime.\n"), "{err}");
        assert!(err.contains("tokens in") && err.contains("first token after") && err.lines().count() == 1, "{err}");
    }
}

#[test]
fn ask_reads_standard_input() {
    let mut child = iron(&["ask", "-", "--mock", "-m", "mock-echo", "--json"]).stdin(Stdio::piped()).spawn().expect("it starts");
    child.stdin.take().expect("a pipe").write_all(b"from a pipe").expect("written");
    let out = child.wait_with_output().expect("it ends").stdout;
    assert!(String::from_utf8_lossy(&out).contains("from a pipe"), "{}", String::from_utf8_lossy(&out));
}

#[test]
fn exit_codes() {
    let held = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = held.local_addr().expect("an address").port().to_string();
    for (args, code, why) in [
        (&["serve", "--prot", "1"][..], 2, "unknown option --prot; did you mean --port?"),
        (&["serve"], 2, "no provider key: give --openai-key"),
        (&["serve", "--openai-key", "k", "--port", &port], 3, "the port is in use"),
        (&["mock", "--port", &port], 3, "the port is in use"),
        (&["demo", "--port", &port], 3, "the port is in use"),
        (&["ask", "x", "--mock", "-m", "mock-503"], 1, "status 503"),
    ] {
        let (found, out, err) = output(&mut iron(args));
        assert!(found == Some(code) && out.is_empty() && err.contains(why), "{args:?}: {found:?} {out}{err}");
    }
    let (code, out, _) = output(&mut iron(&["doctor"]));
    assert!(code == Some(1) && out.contains("problem  settings: no provider key"), "{out}");
    let (code, out, err) = output(&mut iron(&["--version"]));
    assert_eq!((code, out.trim_end(), err.as_str()), (Some(0), concat!("iron-runtime ", env!("CARGO_PKG_VERSION")), ""));
}

#[test]
fn the_token_file_is_what_clients_need() {
    let mock = Running::start(&mut iron(&["mock"]));
    let url = format!("http://{}", mock.address);
    let file = std::env::temp_dir().join(format!("iron-cli-token-{}", std::process::id()));
    let path = file.to_str().expect("a path");
    let _ = std::fs::remove_file(&file);
    let args = ["serve", "--openai-key", "k", "--openai-base-url", &url, "--token-file", path];
    let mut tokens = Vec::new();
    for _ in 0..2 {
        let serve = Running::start(&mut iron(&args));
        let token = std::fs::read_to_string(&file).expect("the token file").trim_end().to_string();
        assert!(chat(&serve.address, &token, "gpt-4o-mini").starts_with("HTTP/1.1 200"));
        let (code, _, err) = serve.stopped("TERM");
        assert!(code == Some(0) && !err.contains(&token), "{err}");
        tokens.push(token);
    }
    std::fs::remove_file(&file).expect("removed");
    assert_eq!(tokens[0], tokens[1]);
}

/// Whatever is given, by whatever way, and however much is logged: keys and tokens are in no output.
#[test]
fn nothing_secret_is_logged() {
    let mock = Running::start(&mut iron(&["mock"]));
    let url = format!("http://{}", mock.address);
    let base = ["--openai-base-url", url.as_str(), "--anthropic-base-url", url.as_str()];
    for format in ["text", "json"] {
        let args = [&["serve", "--openai-key", "sk-canary-1", "--anthropic-key", "env:K", "--log-format", format], &base[..]].concat();
        let variables = [("K", "sk-ant-canary-2"), ("IRON_CLIENT_TOKEN", "client-canary-3"), ("IRON_LOG", "debug"), ("IRON_CAPTURE", "1")];
        let serve = Running::start(iron(&args).envs(variables));
        for (token, model) in
            [("client-canary-3", "gpt-4o"), ("client-canary-3", "mock-401"), ("wrong-canary-4", "gpt-4o"), ("client-canary-3", "mock-cut")]
        {
            assert!(chat(&serve.address, token, model).starts_with("HTTP/1.1 "));
        }
        let (code, _, err) = serve.stopped("TERM");
        assert!(code == Some(0) && !err.contains("canary") && err.contains("llm_request_completed"), "{err}");
        if format == "json" {
            assert!(
                err.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok_and(|line| line["message"].is_string())),
                "{err}"
            );
            the_line_of_a_call(&err);
        }
    }
}

/// What programs read of a call's end.
fn the_line_of_a_call(log: &str) {
    let lines: Vec<serde_json::Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let line = lines.iter().find(|line| line["type"] == "llm_request_completed").expect("a call that succeeded");
    for (name, value) in
        [("level", "info"), ("provider", "openai"), ("model", "gpt-4o"), ("path", "/v1/chat/completions"), ("end", "complete")]
    {
        assert_eq!(line[name], value, "{name}: {line}");
    }
    assert!(line["code"].is_null() && line["status"] == 200 && line["stream"] == false, "{line}");
    assert!(line["duration_ms"].is_f64() && line["cost_nano_usd"].as_u64() > Some(0) && line["input_tokens"].as_u64() > Some(0), "{line}");
    assert!(line["message"].as_str().is_some_and(|text| text.contains(line["request_id"].as_str().unwrap_or("no id"))), "{line}");
    let refused = lines.iter().find(|line| line["code"] == "invalid_api_key").expect("a call without the token");
    assert!(refused["status"] == 401 && refused["request_id"].as_str().is_some_and(|id| id.starts_with("iron-")), "{refused}");
}

/// `run` with a script of the shell as its program.
fn run_script(options: &[&str], script: &str) -> Command {
    iron(&[&["run"], options, &["--", "sh", "-c", script]].concat())
}

#[test]
fn run_leaves_input_output_and_exit_code_to_its_program() {
    let mut child = run_script(&["--mock", "--quiet"], "cat; echo to stderr >&2; exit 7").stdin(Stdio::piped()).spawn().expect("it starts");
    child.stdin.take().expect("a pipe").write_all(b"from\0a pipe").expect("written");
    let out = child.wait_with_output().expect("it ends");
    assert_eq!((out.status.code(), out.stdout.as_slice(), out.stderr.as_slice()), (Some(7), &b"from\0a pipe"[..], &b"to stderr\n"[..]));
}

#[test]
fn run_ends_as_its_program_does() {
    let folder = std::env::temp_dir();
    for (args, code, told) in [
        (&["run", "--mock", "--", "true"][..], 0, "iron-runtime: 0 requests, 0 tokens in, 0 out, $0.00\n"),
        (&["run", "--mock", "-q", "--", "true"], 0, ""),
        (&["run", "--mock", "false"], 1, "iron-runtime: 0 requests"),
        (&["run", "--mock", "-q", "sh", "-c", "kill -TERM $$"], 143, ""),
        (&["run", "--mock", "-q", "sh", "-c", "kill -KILL $$"], 137, ""),
        (&["run", "--mock", "--", "no-such-command-1"], 127, "iron-runtime: \"no-such-command-1\": command not found\n"),
        (&["run", "--mock", "--", folder.to_str().expect("a path")], 126, "can't be run: permission denied\n"),
        (&["run", "--mock"], 2, "iron-runtime: run what?"),
        (&["run", "--", "true"], 2, "no provider key"),
        (&["run", "--mock", "--nonsense", "--", "true"], 2, "unknown option --nonsense"),
        (&["run", "--mock", "--budget", "-1", "--", "true"], 2, "--budget: must be an amount"),
    ] {
        let (found, out, err) = output(&mut iron(args));
        assert!(found == Some(code) && out.is_empty() && err.contains(told), "{args:?}: {found:?} {out}{err}");
        assert!(!told.is_empty() || err.is_empty(), "{args:?}: {err}");
    }
}

#[test]
fn run_points_its_program_at_the_router_and_hides_the_keys() {
    let keys = [
        ("OPENAI_API_KEY", "sk-canary-1"),
        ("IRON_ANTHROPIC_KEY", "sk-ant-canary-2"),
        ("COPY", "sk-ant-canary-2"),
        ("MINE", "sk-canary-3"),
        ("IC_TOKEN", "ic_canary-4"),
        ("ANTHROPIC_AUTH_TOKEN", "canary-5"),
        ("IRON_PORT", "1"),
        ("HTTP_PROXY", "http://proxy.example:3128"),
        ("NO_PROXY", "internal.example"),
    ];
    let mut command = run_script(&["-q", "--state", "none", "--openai-key", "env:MINE"], "env");
    let (code, out, err) = output(command.envs(keys));
    let value = |name: &str| out.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default().to_string();
    assert!(code == Some(0) && !out.contains("canary") && err.is_empty(), "{out}{err}");
    let base = value("ANTHROPIC_BASE_URL");
    assert!(base.starts_with("http://127.0.0.1:") && value("OPENAI_BASE_URL") == format!("{base}/v1"), "{out}");
    assert!(value("OPENAI_API_KEY").starts_with("iron-") && value("OPENAI_API_KEY") == value("ANTHROPIC_API_KEY"), "{out}");
    assert_eq!(value("NO_PROXY"), "internal.example,127.0.0.1,localhost");
}

#[test]
fn run_bills_what_goes_through_its_router() {
    let ask = r#"exec "$0" ask Hello! --state none --openai-base-url "$OPENAI_BASE_URL""#;
    let (code, out, err) = output(&mut iron(&["run", "--mock", "--", "sh", "-c", ask, env!("CARGO_BIN_EXE_iron-runtime")]));
    assert_eq!((code, out.as_str()), (Some(0), "Hello! This is the mock provider of iron_runtime.\n"), "{err}");
    assert!(err.lines().last().is_some_and(|line| line.starts_with("iron-runtime: 1 request, ")), "{err}");
}

#[test]
fn run_passes_signals_on_and_outlives_its_program() {
    for (signal, number) in [("TERM", 15), ("INT", 2), ("HUP", 1), ("USR1", 10)] {
        let script = format!("trap 'echo {signal} came; exit 9' {signal}; echo ready; while :; do sleep 0.02; done");
        let mut child = run_script(&["--mock"], &script).spawn().expect("it starts");
        let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        out.read_line(&mut line).expect("a line");
        assert_eq!(line, "ready\n", "{number}");
        assert!(Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().expect("kill runs").success());
        let (mut rest, mut err) = (String::new(), String::new());
        out.read_to_string(&mut rest).expect("stdout");
        child.stderr.take().expect("a pipe").read_to_string(&mut err).expect("stderr");
        assert_eq!((child.wait().expect("it ends").code(), rest), (Some(9), format!("{signal} came\n")), "{err}");
        assert!(err.contains("iron-runtime: 0 requests"), "{err}");
    }
}

/// A program under `nohup` must go on when its terminal goes.
#[cfg(target_os = "linux")]
#[test]
fn run_leaves_ignored_signals_ignored() {
    let script = r#"trap '' HUP; exec "$0" run --mock -q -- sh -c 'kill -HUP $$; kill -HUP $PPID; echo still here'"#;
    let mut shell = Command::new("sh");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_iron-runtime")]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    shell.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    assert_eq!(output(&mut shell), (Some(0), "still here\n".into(), String::new()));
}

/// Keeps a ledger, spends, is refused, and reports what was spent.
#[test]
fn run_within_a_budget_and_report() {
    let mock = Running::start(&mut iron(&["mock"]));
    let url = format!("http://{}", mock.address);
    let folder = std::env::temp_dir().join(format!("iron-cli-ledger-{}", std::process::id()));
    let file = folder.join("ledger.db");
    let state = file.to_str().expect("a path");
    let ask = r#"exec "$0" ask Hello! --state none --openai-base-url "$OPENAI_BASE_URL""#;
    let program = ["--", "sh", "-c", ask, env!("CARGO_BIN_EXE_iron-runtime")];
    let options = ["run", "--state", state, "--openai-key", "k", "--openai-base-url", &url];
    let (code, _, err) = output(&mut iron(&[&options[..], &["--budget", "1"], &program].concat()));
    assert!(code == Some(0) && err.contains("iron-runtime: 1 request, ") && !err.contains("$0.00\n"), "{err}");
    let (code, _, err) = output(&mut iron(&[&options[..], &["--budget", "0"], &program].concat()));
    assert!(code == Some(1) && err.contains("status 402: Iron Cage budget limit exceeded") && err.contains("1 refused"), "{err}");
    let (code, out, err) = output(&mut iron(&["report", "--json", "--state", state]));
    let report: serde_json::Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
    let billed: serde_json::Value = {
        let reply = reply(&mock.address, "GET /__stats HTTP/1.1", "");
        serde_json::from_str(reply.split("\r\n\r\n").nth(1).expect("a body")).expect("JSON")
    };
    assert_eq!((code, &report["refused"], &report["cost_nano_usd"]), (Some(0), &1.into(), &billed["nano_usd"]), "{out}");
    let (code, out, _) = output(&mut iron(&["report", "--state", state]));
    assert!(code == Some(0) && out.contains("\nmodel") && out.contains("gpt-4o-mini"), "{out}");
    std::fs::remove_dir_all(&folder).expect("removed");
}
