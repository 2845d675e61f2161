//! What the live view costs: a request's thread that tells, rendering, a fan-out, and how late events come.
//!
//! `cargo bench --bench live`. Figures, not assertions: they are read by people, on the machine they are about.

use iron_runtime::UnixMs;
use iron_runtime::call::{End, Outcome, Stages};
use iron_runtime::event::{Audience, Event};
use iron_runtime::live::{Live, Told};
use iron_runtime::money::{NanoUsd, Usage};
use iron_runtime::row::{Bill, RequestInfo, Row};
use iron_runtime::wire::news;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

fn main() {
    telling();
    rendering();
    fan_out();
    delay();
}

fn event(serial: u64) -> Event {
    let info = RequestInfo {
        serial,
        at: UnixMs(1_790_000_000_123),
        agent: Some("researcher".into()),
        upstream: "openai".into(),
        method: "POST".into(),
        path: "/v1/chat/completions".into(),
        model: Some("gpt-4o-mini".into()),
        stream: true,
        request_bytes: Some(123),
        translated: false,
    };
    let total = Duration::from_micros(12_345);
    let outcome = Outcome { status: 200, end: End::Complete, reply_bytes: 456, first_byte: Some(total), total, stages: Stages::default() };
    let bill = Bill { usage: Some(Usage { input: 8, output: 3, ..Usage::default() }), cost: Some(NanoUsd(1234)), ..Bill::default() };
    Event::closing(Arc::new(Row::new(info, outcome, bill, None)))
}

fn telling() {
    let live = Live::start(false).expect("a live view");
    let (event, count) = (event(1), 1_000_000);
    let start = Instant::now();
    (0..count).for_each(|_| live.tell(event.clone()));
    println!("{:.3} µs to tell an event to nobody", micros(start.elapsed(), count));
}

fn rendering() {
    let (event, count) = (event(1), 200_000);
    let start = Instant::now();
    let bytes: usize = (0..count).map(|seq| news::json(seq, std::hint::black_box(&event)).len()).sum();
    println!("{:.3} µs to render an event of {} bytes", micros(start.elapsed(), count), bytes as u64 / count);
}

/// A subscriber on loopback, its first message read.
fn client(live: &Live) -> WebSocket<TcpStream> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let ours = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
    live.join(listener.accept().expect("accepted").0, Vec::new(), None);
    let mut client = WebSocket::from_raw_socket(ours, Role::Client, None);
    client.read().expect("a hello");
    client
}

/// Reads so many events; calls `seen` with the place of each.
fn read(client: &mut WebSocket<TcpStream>, count: usize, mut seen: impl FnMut(usize)) {
    let mut at = 0;
    while at < count {
        if let Message::Text(text) = client.read().expect("events") {
            text.split('\n').for_each(|_| {
                seen(at);
                at += 1;
            });
        }
    }
}

fn fan_out() {
    let live = Live::start(false).expect("a live view");
    let mut clients: Vec<_> = (0..10).map(|_| client(&live)).collect();
    let (event, rounds, round) = (event(1), 50, 1000);
    let start = Instant::now();
    for _ in 0..rounds {
        (0..round).for_each(|_| live.tell(event.clone()));
        clients.iter_mut().for_each(|client| read(client, round, |_| ()));
    }
    println!("{:.2} µs an event to ten subscribers, read by them", micros(start.elapsed(), (rounds * round) as u64));
}

/// A thousand calls a second, two events each, ten subscribers: from telling to having been read.
fn delay() {
    let live = Live::start(false).expect("a live view");
    let clients: Vec<_> = (0..10).map(|_| client(&live)).collect();
    let here = live.subscribe(None);
    let (calls, start) = (5000, Instant::now());
    let told_at = |place: usize| start + Duration::from_millis(place as u64 / 2);
    let mut delays: Vec<Duration> = std::thread::scope(|scope| {
        let readers: Vec<_> = clients
            .into_iter()
            .map(|mut client| {
                scope.spawn(move || {
                    let mut delays = Vec::with_capacity(2 * calls);
                    read(&mut client, 2 * calls, |place| delays.push(Instant::now().saturating_duration_since(told_at(place))));
                    delays
                })
            })
            .collect();
        for call in 0..calls {
            std::thread::sleep(told_at(2 * call).saturating_duration_since(Instant::now()));
            live.tell(event(call as u64));
            live.tell(event(call as u64));
        }
        readers.into_iter().flat_map(|reader| reader.join().expect("a reader")).collect()
    });
    delays.sort_unstable();
    let at = |share: f64| delays[((delays.len() - 1) as f64 * share) as usize];
    println!(
        "1,000 calls a second, ten subscribers: {:?} in the middle, {:?} at the 99th percentile, {:?} at most",
        at(0.5),
        at(0.99),
        at(1.0)
    );
    let gaps = here.take(2 * calls).filter(|told| matches!(told, Told::Gap(_))).take(1).count();
    println!("a subscriber that took nothing was told of {gaps} gap");
}

fn micros(time: Duration, count: u64) -> f64 {
    time.as_secs_f64() * 1e6 / count as f64
}
