//! For tests: a control server on loopback that answers as scripted, one request a connection.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;

type Script = dyn Fn(usize, &Request, &mut TcpStream) + Send + Sync;

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// Head and body.
    pub(super) text: String,
}

impl Request {
    /// The path.
    pub(super) fn path(&self) -> &str {
        self.text.split(' ').nth(1).unwrap_or_default()
    }

    /// The body, in JSON.
    pub(super) fn json(&self) -> serde_json::Value {
        let body = self.text.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
        serde_json::from_str(body).expect("JSON")
    }
}

/// The server. Dropped, it is down.
pub(super) struct Server {
    pub(super) url: String,
    requests: Arc<Mutex<Vec<Request>>>,
    closing: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    /// The script gets the number of the request, from 0, and the connection.
    pub(super) fn start(script: impl Fn(usize, &mut TcpStream) + Send + Sync + 'static) -> Self {
        Self::hearing(move |number, _, stream| script(number, stream))
    }

    /// The script gets the request too.
    pub(super) fn hearing(script: impl Fn(usize, &Request, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let url = format!("http://{}", listener.local_addr().expect("address"));
        let (requests, closing) = (Arc::<Mutex<Vec<Request>>>::default(), Arc::<AtomicBool>::default());
        let (seen, closed, script) = (requests.clone(), closing.clone(), Arc::<Box<Script>>::new(Box::new(script)));
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if closed.load(SeqCst) {
                    return;
                }
                let (mut stream, seen, script) = (stream.expect("accept"), seen.clone(), script.clone());
                thread::spawn(move || {
                    let Some(request) = read_request(&mut stream) else { return };
                    let number = {
                        let mut seen = seen.lock().expect("requests");
                        seen.push(request.clone());
                        seen.len() - 1
                    };
                    script(number, &request, &mut stream);
                });
            }
        });
        Self { url, requests, closing, thread: Some(thread) }
    }

    /// How many requests came.
    pub(super) fn count(&self) -> usize {
        self.requests.lock().expect("requests").len()
    }

    /// The requests that came.
    pub(super) fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("requests").clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.closing.store(true, SeqCst);
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

/// A whole request; `None` where the client closes before it sends one.
fn read_request(stream: &mut TcpStream) -> Option<Request> {
    let (mut text, mut buf) = (String::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut buf).unwrap_or(0);
        text.push_str(std::str::from_utf8(&buf[..count]).expect("ASCII"));
        let length = text.to_ascii_lowercase().split_once("content-length: ").map(|(_, rest)| {
            let digits = rest.split("\r\n").next().unwrap_or_default();
            digits.parse::<usize>().expect("length")
        });
        let body = text.split_once("\r\n\r\n").map(|(_, body)| body.len());
        if body.is_some_and(|len| len >= length.unwrap_or(0)) {
            return Some(Request { text });
        }
        if count == 0 {
            return None;
        }
    }
}

/// Answers with a status and a body, and closes.
pub(super) fn answer(stream: &mut TcpStream, status: u16, body: &str) {
    answer_with(stream, status, "", body);
}

/// The same with header lines, each with its line end.
pub(super) fn answer_with(stream: &mut TcpStream, status: u16, fields: &str, body: &str) {
    let head = format!("HTTP/1.1 {status} X\r\n{fields}content-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let _ = stream.write_all((head + body).as_bytes());
}
