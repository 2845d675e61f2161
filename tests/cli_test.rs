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
        if ["OPENAI_", "ANTHROPIC_", "IC_", "IRON_"].iter().any(|ours| text.starts_with(ours))
            || text.ends_with("_PROXY")
            || text == "SSL_CERT_FILE"
        {
            command.env_remove(name);
        }
    }
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
fn demo_shows_four_successes() {
    for args in [&["demo", "--once"][..], &["demo"]] {
        let (code, out, err) = output(&mut iron(args));
        assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
        assert!(out.contains("\n4 of 4 requests succeeded.\n") && !out.contains('\x1b'), "{out}");
        assert!(out.lines().filter(|line| line.contains(" 200 ") && line.ends_with("\u{b5}s")).count() == 4, "{out}");
        for word in ["curl http://127.0.0.1:", "/v1/chat/completions", "/v1/messages", "OpenAI(base_url=", "Anthropic(base_url="] {
            assert!(out.contains(word), "{word}: {out}");
        }
    }
}

#[test]
fn demo_tells_scripts_in_json() {
    let (code, out, _) = output(&mut iron(&["demo", "--json"]));
    let value: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, value["ok"].as_bool(), value["requests"].as_array().map(Vec::len)), (Some(0), Some(true), Some(4)));
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
        let variables = [("K", "sk-ant-canary-2"), ("IRON_CLIENT_TOKEN", "client-canary-3"), ("IRON_LOG", "debug")];
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
        }
    }
}
