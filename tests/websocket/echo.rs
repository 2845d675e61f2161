//! Sends what it hears back: what the tests and the Autobahn test suite talk to.

use crate::socket::{Frame, Socket};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};
use tungstenite::Message;
use tungstenite::handshake::derive_accept_key;

/// Serves a connection to its end. Text comes back as text; the router sends nothing else, and so does this.
pub fn serve(stream: TcpStream, read_ahead: Vec<u8>) {
    let mut socket = Socket::new(stream, read_ahead, Instant::now()).expect("a socket");
    while !socket.is_over() {
        let (now, mut heard) = (Instant::now(), Vec::new());
        socket.read(now, |message| heard.push(message));
        for message in &heard {
            if let Message::Text(text) = message {
                socket.tell(&Frame { text: text.clone(), events: 1 });
            }
        }
        socket.write(now);
        socket.tend(now);
        if heard.is_empty() {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

/// A listener that echoes on every connection, as long as the process lives.
pub struct Echo {
    port: u16,
}

impl Echo {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let port = listener.local_addr().expect("an address").port();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || shake_hands(stream).map(|stream| serve(stream, Vec::new())));
            }
        });
        Self { port }
    }

    /// Runs the suite's fuzzing client; its verdicts, a line a case: number, behaviour, behaviour on closing.
    pub fn autobahn(&self, wstest: &str) -> String {
        let dir = std::env::temp_dir().join(format!("iron-autobahn-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        let spec = serde_json::json!({
            "outdir": dir.join("reports"),
            "servers": [{ "agent": "echo", "url": format!("ws://127.0.0.1:{}", self.port) }],
            "cases": ["1.1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.1.1", "9.7.*", "10.*"],
            // Binary messages are not sent by the router, larger ones than 64 KiB not taken.
            "exclude-cases": ["5.20"],
            "exclude-agent-cases": {}
        });
        std::fs::write(dir.join("spec.json"), spec.to_string()).expect("a file");
        let status = Command::new(wstest).args(["-m", "fuzzingclient", "-s"]).arg(dir.join("spec.json")).status().expect("wstest runs");
        assert!(status.success(), "{status}");
        let index = std::fs::read_to_string(dir.join("reports/index.json")).expect("verdicts");
        std::fs::remove_dir_all(&dir).expect("removed");
        verdicts(&serde_json::from_str(&index).expect("JSON"))
    }
}

fn verdicts(index: &serde_json::Value) -> String {
    let cases = index["echo"].as_object().expect("cases");
    let number = |case: &str| case.split('.').filter_map(|part| part.parse::<u32>().ok()).collect::<Vec<_>>();
    let mut lines: Vec<_> = cases.iter().collect();
    lines.sort_by_key(|(case, _)| number(case));
    let word = |verdict: &serde_json::Value| verdict.as_str().unwrap_or("?").to_string();
    lines.iter().map(|(case, verdict)| format!("{case}\t{}\t{}\n", word(&verdict["behavior"]), word(&verdict["behaviorClose"]))).collect()
}

/// Reads the head of the request and accepts it.
fn shake_hands(mut stream: TcpStream) -> std::io::Result<TcpStream> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim().to_string())
    });
    let accept = derive_accept_key(key.unwrap_or_default().as_bytes());
    let reply =
        format!("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n");
    stream.write_all(reply.as_bytes())?;
    Ok(stream)
}
