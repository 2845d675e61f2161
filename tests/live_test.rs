//! The live view over loopback: who is told what, in which order, and what the slow, the broken and the gone cost the others.

#![cfg(feature = "enabled")]

use iron_runtime::UnixMs;
use iron_runtime::event::{Audience, Event};
use iron_runtime::live::{Live, Subscription, Told};
use iron_runtime::wire::news::Hello;
use serde_json::Value;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role};
use tungstenite::{Error, Message, WebSocket};

/// Far longer than anything here takes: a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

fn live() -> Arc<Live> {
    Live::start(false).expect("a live view")
}

/// An event that is known again by its time.
fn event(at: u64) -> Event {
    Event::RouterStopped { at: UnixMs(at) }
}

fn large(at: u64) -> Event {
    Event::LedgerFailed { at: UnixMs(at), why: "x".repeat(2000) }
}

fn tell(live: &Live, times: std::ops::RangeInclusive<u64>) {
    times.for_each(|at| live.tell(event(at)));
}

/// Two ends of a connection: ours and the router's.
fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
    client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    (client, listener.accept().expect("accepted").0)
}

/// A subscriber at the other end of a socket.
struct Client {
    web: WebSocket<TcpStream>,
    lines: VecDeque<Value>,
}

impl Client {
    fn join(live: &Live, since: Option<u64>) -> Self {
        let (ours, theirs) = pair();
        live.join(theirs, Vec::new(), since);
        Self::on(ours)
    }

    fn on(socket: TcpStream) -> Self {
        Self { web: WebSocket::from_raw_socket(socket, Role::Client, None), lines: VecDeque::new() }
    }

    /// Joined, and told so: from here on it misses nothing.
    fn greeted(live: &Live, since: Option<u64>) -> Self {
        let mut client = Self::join(live, since);
        assert_eq!(client.next()["type"], "hello");
        client
    }

    fn next(&mut self) -> Value {
        while self.lines.is_empty() {
            match self.web.read().expect("a message") {
                Message::Text(text) => self.lines.extend(text.split('\n').map(|line| serde_json::from_str::<Value>(line).expect("JSON"))),
                Message::Ping(_) => {}
                other => panic!("{other:?}"),
            }
        }
        self.lines.pop_front().expect("a line")
    }

    /// The next events have these numbers, and nothing is missing.
    fn expect(&mut self, seqs: std::ops::RangeInclusive<u64>) {
        for seq in seqs {
            let line = self.next();
            assert_eq!(line["seq"], seq, "{line}");
        }
    }

    /// The close code that comes next.
    fn closed(&mut self) -> Option<CloseCode> {
        loop {
            match self.web.read() {
                Ok(Message::Close(frame)) => return frame.map(|frame| frame.code),
                Ok(_) => {}
                Err(why) => panic!("{why}"),
            }
        }
    }

    /// Nothing comes any more.
    fn ended(&mut self) {
        assert!(matches!(self.web.read(), Err(Error::ConnectionClosed)));
    }
}

/// What a subscriber of this process is told next.
fn next(subscription: &Subscription) -> Told {
    subscription.next_within(PATIENCE).expect("something told")
}

fn expect(subscription: &Subscription, seqs: std::ops::RangeInclusive<u64>) {
    for seq in seqs {
        assert!(matches!(next(subscription), Told::Event(event) if event.seq == seq), "{seq}");
    }
}

/// Reads until event `last`; how many events came, and how many were said to be missing. Both together are in order and without holes.
fn account(mut next: impl FnMut() -> Result<u64, u64>, last: u64) -> (u64, u64) {
    let (mut at, mut came, mut missed) = (0, 0, 0);
    while at < last {
        match next() {
            Ok(seq) => {
                assert_eq!(seq, at + 1, "after {came} events and {missed} missed");
                (at, came) = (seq, came + 1);
            }
            Err(gap) => (at, missed) = (at + gap, missed + gap),
        }
    }
    (came, missed)
}

impl Client {
    fn told(&mut self) -> Result<u64, u64> {
        let line = self.next();
        line["seq"].as_u64().ok_or_else(|| line["missed"].as_u64().expect("a gap"))
    }
}

fn told(subscription: &Subscription) -> Result<u64, u64> {
    match next(subscription) {
        Told::Event(event) => Ok(event.seq),
        Told::Gap(missed) => Err(missed),
    }
}

#[test]
fn everybody_is_told_everything_in_order() {
    let live = live();
    let (mut client, here) = (Client::greeted(&live, None), live.subscribe(None));
    std::thread::scope(|scope| {
        (0..4).for_each(|_| drop(scope.spawn(|| tell(&live, 1..=500))));
        client.expect(1..=2000);
        expect(&here, 1..=2000);
    });
}

#[test]
fn the_first_word_says_what_the_router_is() {
    let live = live();
    let hello = Hello { started_at: UnixMs(77), ledger: true, capture: true };
    live.introduce(hello);
    tell(&live, 1..=3);
    let line = Client::join(&live, None).next();
    let expected = serde_json::json!({
        "type": "hello", "version": 1, "seq": 3, "router": env!("CARGO_PKG_VERSION"), "started_at": 77, "ledger": true, "capture": true
    });
    assert_eq!(line, expected);
}

#[test]
fn those_who_come_later_are_told_what_the_ring_still_has() {
    let live = live();
    tell(&live, 1..=1000);
    // What was seen; what was not reached yet is a number of another run; nothing said: from now on.
    for (since, first) in [(Some(0), 1), (Some(990), 991), (Some(1000), 1001), (Some(50_000), 1), (None, u64::MAX)] {
        let (mut client, here) = (Client::greeted(&live, since), live.subscribe(since));
        let last = live_seq(&live);
        client.expect(first.min(last)..=last);
        expect(&here, first.min(last)..=last);
    }
}

/// Tells one more event; its number.
fn live_seq(live: &Live) -> u64 {
    let probe = live.subscribe(None);
    live.tell(event(0));
    match next(&probe) {
        Told::Event(event) => event.seq,
        Told::Gap(_) => panic!("a gap"),
    }
}

#[test]
fn what_the_ring_has_lost_is_told_as_a_gap() {
    let live = live();
    tell(&live, 1..=5000);
    let (mut client, here) = (Client::greeted(&live, Some(4)), live.subscribe(Some(4)));
    assert_eq!((client.told(), told(&here)), (Err(900), Err(900)));
    client.expect(905..=5000);
    expect(&here, 905..=5000);
}

#[test]
fn earlier_events_are_replayed_to_those_who_come_later() {
    let live = live();
    live.replay((1..=3).map(event));
    let mut client = Client::greeted(&live, Some(0));
    live.tell(event(4));
    client.expect(1..=4);
}

#[test]
fn a_stuck_reader_is_told_exactly_what_it_missed_and_costs_the_others_nothing() {
    let live = live();
    let (ours, theirs) = pair();
    // Little room on the way: else the system's buffers would hold megabytes.
    socket2::SockRef::from(&ours).set_recv_buffer_size(16 << 10).expect("set");
    socket2::SockRef::from(&theirs).set_send_buffer_size(16 << 10).expect("set");
    live.join(theirs, Vec::new(), None);
    let (mut stuck, mut well, here) = (Client::on(ours), Client::greeted(&live, None), live.subscribe(None));
    for round in 0..50_u64 {
        (1..=200).for_each(|at| live.tell(large(round * 200 + at)));
        well.expect(round * 200 + 1..=(round + 1) * 200);
    }
    assert_eq!(stuck.next()["type"], "hello");
    let mut reached = 10_000;
    let (came, missed) = account(
        || {
            // It is told of what it missed when it takes bytes again, without anything new; what comes then comes to it as well.
            if reached < 10_001 {
                live.tell(large(10_001));
                reached = 10_001;
            }
            stuck.told()
        },
        10_001,
    );
    assert!(came > 100 && missed > 1000, "{came} came, {missed} missed");
    assert_eq!(came + missed, 10_001);
    // 4,096 wait in this process, whatever their size.
    let (came, missed) = account(|| told(&here), 10_001);
    assert_eq!((came + missed, came >= 4096, missed > 0), (10_001, true, true));
}

/// How often the broadcast threads of this process have gone to sleep, as Linux tells it.
fn sleeps() -> u64 {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let status = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("status")).ok());
    let theirs = status.filter(|status| status.starts_with("Name:\tiron-live\n"));
    let counts = theirs.filter_map(|status| status.split("\nvoluntary_ctxt_switches:").nth(1)?.lines().next()?.trim().parse::<u64>().ok());
    counts.sum()
}

/// Alone in its process, see `alone`: other tests have broadcast threads, too.
#[test]
fn many_stuck_readers_let_the_thread_sleep() {
    alone("many_stuck_readers_let_the_thread_sleep", || {
        let live = live();
        let stuck: Vec<_> = (0..300)
            .map(|_| {
                let (ours, theirs) = pair();
                socket2::SockRef::from(&ours).set_recv_buffer_size(4 << 10).expect("set");
                socket2::SockRef::from(&theirs).set_send_buffer_size(4 << 10).expect("set");
                live.join(theirs, Vec::new(), None);
                ours
            })
            .collect();
        (1..=200).for_each(|at| live.tell(large(at)));
        std::thread::sleep(Duration::from_millis(500));
        let before = sleeps();
        std::thread::sleep(Duration::from_secs(1));
        let slept = sleeps() - before;
        assert!(slept < 60, "awake {slept} times a second for {} who take nothing", stuck.len());
    });
}

/// Runs a test in a process of its own.
fn alone(name: &str, test: impl FnOnce()) {
    if std::env::var_os("IRON_TEST_ALONE").is_some() {
        return test();
    }
    let program = std::env::current_exe().expect("this program");
    let ended = std::process::Command::new(program).args([name, "--exact", "--nocapture"]).env("IRON_TEST_ALONE", "1").output();
    let ended = ended.expect("it runs");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}

#[test]
fn a_gap_is_told_without_any_further_event() {
    let live = live();
    let (probe, mut well) = (live.subscribe(None), Client::greeted(&live, None));
    for round in 0..10_u64 {
        tell(&live, 1..=500);
        well.expect(round * 500 + 1..=(round + 1) * 500);
    }
    expect(&probe, 1..=4096);
    assert_eq!(told(&probe), Err(904));
    live.tell(event(0));
    expect(&probe, 5001..=5001);
}

/// How many files this process may have open, as Linux tells it.
fn open_files() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(256)
}

#[test]
fn a_thousand_subscribers_of_whom_one_is_stuck() {
    let live = live();
    let many = ((open_files().saturating_sub(200)) / 3).min(1000);
    if many < 1000 {
        println!("{many} subscribers only: no more files may be open");
    }
    let mut clients: Vec<_> = (1..many).map(|_| Client::join(&live, None)).collect();
    let _stuck = Client::join(&live, None);
    clients.iter_mut().for_each(|client| assert_eq!(client.next()["type"], "hello"));
    for round in 0..10 {
        (1..=20).for_each(|at| live.tell(large(at)));
        clients.iter_mut().for_each(|client| client.expect(round * 20 + 1..=round * 20 + 20));
    }
    live.stop();
    clients.iter_mut().for_each(|client| assert_eq!(client.closed(), Some(CloseCode::Away)));
}

#[test]
fn there_are_so_many_places_and_those_who_find_none_are_told() {
    let live = live();
    let mut seated: Vec<_> = (0..1024).map(|_| live.subscribe(None)).collect();
    assert!(live.wants_details());
    let none = live.subscribe(None);
    assert!(none.next_within(PATIENCE).is_none() && none.is_over(), "over at once");
    assert_eq!(Client::join(&live, None).closed(), Some(CloseCode::Again));
    seated.pop();
    let mut client = Client::greeted(&live, None);
    live.tell(event(1));
    client.expect(1..=1);
    seated.iter().for_each(|subscription| expect(subscription, 1..=1));
    // Who drops a subscription gives its place back at once.
    drop(seated);
    let more: Vec<_> = (0..1023).map(|_| live.subscribe(None)).collect();
    live.tell(event(2));
    more.iter().for_each(|subscription| expect(subscription, 2..=2));
}

#[test]
fn nobody_listens_once_all_have_gone() {
    let live = live();
    assert!(!live.wants_details());
    let here = live.subscribe(None);
    let mut client = Client::greeted(&live, None);
    assert!(live.wants_details());
    drop(here);
    client.web.close(None).expect("sent");
    assert_eq!(client.closed(), None);
    client.ended();
    await_nobody(&live);
}

/// Until the router has noticed that nobody is there.
fn await_nobody(live: &Live) {
    let start = std::time::Instant::now();
    while live.wants_details() {
        assert!(start.elapsed() < PATIENCE, "somebody is still there");
        std::thread::yield_now();
    }
}

#[test]
fn pings_and_closes_are_answered() {
    let live = live();
    let mut client = Client::greeted(&live, None);
    for word in ["", "are you there?"] {
        client.web.send(Message::Ping(word.into())).expect("sent");
        assert_eq!(client.web.read().expect("a pong"), Message::Pong(word.into()));
    }
    // What is said to the router means nothing to it.
    client.web.send(Message::text("hello?")).expect("sent");
    live.tell(event(1));
    client.expect(1..=1);
    client.web.close(Some(CloseFrame { code: CloseCode::Normal, reason: "bye".into() })).expect("sent");
    assert_eq!(client.closed(), Some(CloseCode::Normal));
    client.ended();
}

/// A frame from a client, masked with zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = match payload.len() {
        short @ 0..=125 => vec![0x80 | short as u8],
        long => [vec![0x80 | 126], (long as u16).to_be_bytes().to_vec()].concat(),
    };
    [vec![first], length, vec![0; 4], payload.to_vec()].concat()
}

#[test]
fn those_who_break_the_protocol_are_told_so_and_nobody_else_notices() {
    let live = live();
    let mut well = Client::greeted(&live, None);
    let huge = [vec![0x82, 0x80 | 127], (1_u64 << 40).to_be_bytes().to_vec(), vec![0; 4]].concat();
    let fragments = [frame(0x01, &[b'x'; 60_000]), frame(0x80, &[b'x'; 60_000])].concat();
    for (bytes, code) in [
        (vec![0x81, 1, b'x'], CloseCode::Protocol),
        (huge, CloseCode::Size),
        (fragments, CloseCode::Size),
        (frame(0xc1, b"x"), CloseCode::Protocol),
        (frame(0x83, b""), CloseCode::Protocol),
        (frame(0x81, b"\xff"), CloseCode::Invalid),
        (frame(0x89, &[0; 126]), CloseCode::Protocol),
    ] {
        let (mut ours, theirs) = pair();
        ours.write_all(&bytes).expect("sent");
        live.join(theirs, Vec::new(), None);
        assert_eq!(Client::on(ours).closed(), Some(code), "{:?}", &bytes[..bytes.len().min(8)]);
    }
    live.tell(event(1));
    well.expect(1..=1);
}

#[test]
fn those_who_are_gone_are_forgotten() {
    let live = live();
    let half: Vec<_> = (0..3).map(|_| Client::greeted(&live, None)).collect();
    for mut client in half {
        client.web.get_mut().shutdown(Shutdown::Write).expect("shut");
        assert!(matches!(client.web.get_mut().read(&mut [0; 100]), Ok(0)), "the router has closed its half too");
    }
    let reset = Client::greeted(&live, None);
    socket2::SockRef::from(reset.web.get_ref()).set_linger(Some(Duration::ZERO)).expect("set");
    drop(reset);
    await_nobody(&live);
}

#[test]
fn stopping_sends_what_is_left_and_says_good_bye() {
    let live = live();
    let (mut client, mut late, here) = (Client::greeted(&live, None), Client::join(&live, Some(0)), live.subscribe(None));
    tell(&live, 1..=300);
    live.stop();
    client.expect(1..=300);
    assert_eq!(client.closed(), Some(CloseCode::Away));
    assert_eq!(late.next()["type"], "hello");
    late.expect(1..=300);
    assert_eq!(late.closed(), Some(CloseCode::Away));
    expect(&here, 1..=300);
    assert!(here.next_within(PATIENCE).is_none() && here.is_over());
}

#[test]
fn stopping_twice_and_with_stuck_subscribers_ends() {
    let live = live();
    let (_stuck, here) = (Client::join(&live, None), live.subscribe(None));
    for at in 1..=5000 {
        live.tell(large(at));
        if at % 500 == 0 {
            // Nothing is taken: the word about what was missed is the last one.
            assert!(!here.is_over());
        }
    }
    std::thread::scope(|scope| (0..3).for_each(|_| drop(scope.spawn(|| live.stop()))));
    live.stop();
    let (came, missed) = account(|| told(&here), 5000);
    assert_eq!(came + missed, 5000);
    assert!(here.next_within(PATIENCE).is_none() && here.is_over());
    // Afterwards there is nobody to talk to.
    live.tell(event(1));
    let none = live.subscribe(None);
    assert!(none.next_within(PATIENCE).is_none() && none.is_over());
    assert!(matches!(Client::join(&live, None).web.read(), Err(Error::Io(_) | Error::Protocol(_))));
}

#[test]
fn however_the_clients_bytes_are_cut_the_answers_are_the_same() {
    let live = live();
    let bytes = [
        frame(0x89, b"one"),
        frame(0x01, "Gr\u{fc}".as_bytes()),
        frame(0x89, b"two"),
        frame(0x80, "\u{df}e".as_bytes()),
        frame(0x88, &[&1000_u16.to_be_bytes()[..], b"bye"].concat()),
    ]
    .concat();
    let cut = |at: usize| {
        let (mut ours, theirs) = pair();
        live.join(theirs, bytes[..at].to_vec(), None);
        ours.write_all(&bytes[at..]).expect("sent");
        ours
    };
    let mut cuts: Vec<_> = (0..=bytes.len()).map(cut).collect();
    // And one that comes byte by byte.
    let (mut ours, theirs) = pair();
    live.join(theirs, Vec::new(), None);
    ours.set_nodelay(true).expect("set");
    bytes.iter().for_each(|byte| ours.write_all(&[*byte]).expect("sent"));
    cuts.push(ours);
    let answers = cuts.iter_mut().map(|ours| {
        let mut answer = Vec::new();
        ours.read_to_end(&mut answer).expect("a clean end");
        let hello = answer.iter().position(|byte| *byte == b'}').expect("a hello");
        answer.split_off(hello + 1)
    });
    let expected = [&[0x8a, 3][..], b"one", &[0x8a, 3], b"two", &[0x88, 5, 0x03, 0xe8], b"bye"].concat();
    answers.for_each(|answer| assert_eq!(answer, expected));
}
