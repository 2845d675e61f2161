//! `src/live/socket.rs` by itself: RFC 6455's rules on the wire, and the limits of time, for which no test waits.
//!
//! With `WSTEST` naming the `wstest` command of the Autobahn test suite (Python 2: `pip install autobahntestsuite`), its fuzzing client is
//! run as well, and its verdicts are compared with `websocket/autobahn.tsv`. Without it that part says that it was not run.

#![cfg(feature = "enabled")]

use iron_runtime::wire;

// A part of what it offers is the hub's alone.
#[allow(dead_code)]
#[path = "../src/live/socket.rs"]
mod socket;

mod websocket {
    pub mod echo;
}

use socket::{Frame, QUEUE_BYTES, Socket};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};
use websocket::echo::{Echo, serve};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
    client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    (client, listener.accept().expect("accepted").0)
}

/// A frame from a client, masked.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let length = match payload.len() {
        short @ 0..=125 => vec![0x80 | short as u8],
        long @ 126..=0xffff => [vec![0x80 | 126], (long as u16).to_be_bytes().to_vec()].concat(),
        long => [vec![0x80 | 127], (long as u64).to_be_bytes().to_vec()].concat(),
    };
    let masked = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    [vec![first], length, mask.to_vec(), masked].concat()
}

/// A frame from the server.
fn reply(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = frame(first, &[]);
    frame.truncate(1);
    match payload.len() {
        short @ 0..=125 => frame.push(short as u8),
        long @ 126..=0xffff => frame.extend([&[126][..], &(long as u16).to_be_bytes()].concat()),
        long => frame.extend([&[127][..], &(long as u64).to_be_bytes()].concat()),
    }
    [&frame, payload].concat()
}

/// A close frame's payload.
fn code(code: u16, why: &str) -> Vec<u8> {
    [&code.to_be_bytes()[..], why.as_bytes()].concat()
}

/// What must be answered to what, before the connection ends with a close frame that begins with this code. The last frame, which ends
/// it, is sent when the echo has come: what waits when a connection ends is given up.
fn check(name: &str, sent: &[Vec<u8>], echoed: &[Vec<u8>], closed: Option<u16>) {
    let (mut ours, theirs) = pair();
    let echo = std::thread::spawn(move || serve(theirs, Vec::new()));
    let (last, first) = sent.split_last().expect("something to send");
    ours.write_all(&first.concat()).expect("sent");
    let expected = echoed.concat();
    let mut answer = vec![0; expected.len()];
    ours.read_exact(&mut answer).expect("an echo");
    assert!(answer == expected, "{name}: another echo");
    // It may have ended already.
    ours.write_all(last).unwrap_or_default();
    let mut rest = Vec::new();
    ours.read_to_end(&mut rest).expect("a clean end");
    match closed {
        Some(code) => assert_eq!((rest[0], &rest[2..4]), (0x88, &code.to_be_bytes()[..]), "{name}: {rest:x?}"),
        None => assert_eq!(rest, [0x88, 0], "{name}"),
    }
    drop(ours);
    echo.join().expect("an echo");
}

/// First bytes of frames: whole ones, and the pieces of a message.
const TEXT: u8 = 0x81;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
const CLOSE: u8 = 0x88;
const FIRST: u8 = 0x01;
const MORE: u8 = 0x00;
const LAST: u8 = 0x80;

fn bye() -> Vec<u8> {
    frame(CLOSE, &code(1000, "bye"))
}

#[test]
fn fragments_and_control_frames_between_them() {
    let grus = "Gr\u{fc}\u{df}e";
    let (one, two) = grus.as_bytes().split_at(3);
    check("whole", &[frame(TEXT, b"hello"), bye()], &[reply(TEXT, b"hello")], Some(1000));
    check("empty", &[frame(TEXT, b""), bye()], &[reply(TEXT, b"")], Some(1000));
    check("two", &[frame(FIRST, one), frame(LAST, two), bye()], &[reply(TEXT, grus.as_bytes())], Some(1000));
    let pieces = [frame(FIRST, one), frame(MORE, b""), frame(PING, b"p"), frame(MORE, two), frame(LAST, b""), bye()];
    check("a ping between", &pieces, &[reply(PONG, b"p"), reply(TEXT, grus.as_bytes())], Some(1000));
    let largest = vec![b'x'; 64 << 10];
    check("the largest", &[frame(TEXT, &largest), bye()], &[reply(TEXT, &largest)], Some(1000));
    check("too large", &[frame(TEXT, &[b'x'; (64 << 10) + 1])], &[], Some(1009));
    check("too large in pieces", &[frame(FIRST, &largest), frame(LAST, b"x")], &[], Some(1009));
    check("no beginning", &[frame(LAST, b"x")], &[], Some(1002));
    check("no end", &[frame(FIRST, b"x"), frame(TEXT, b"y")], &[], Some(1002));
}

#[test]
fn pings_are_answered_with_what_they_said() {
    for payload in [&b""[..], b"ping", &[0xff; 125]] {
        check("ping", &[frame(PING, payload), bye()], &[reply(PONG, payload)], Some(1000));
    }
    let pings: Vec<_> = (0..10).map(|n| frame(PING, &[n])).chain([bye()]).collect();
    let pongs: Vec<_> = (0..10).map(|n| reply(PONG, &[n])).collect();
    check("ten", &pings, &pongs, Some(1000));
    check("a pong that nobody asked for", &[frame(PONG, b"x"), frame(PING, b"y"), bye()], &[reply(PONG, b"y")], Some(1000));
    check("too long", &[frame(PING, &[0; 126])], &[], Some(1002));
    check("in pieces", &[frame(0x09, b"x")], &[], Some(1002));
}

#[test]
fn reserved_bits_opcodes_and_unmasked_frames_end_the_connection() {
    for bit in [0x40, 0x20, 0x10] {
        check("bit", &[frame(TEXT, b"x"), frame(TEXT | bit, b"y")], &[reply(TEXT, b"x")], Some(1002));
    }
    for opcode in (3..=7).chain(11..=15) {
        check("opcode", &[frame(0x80 | opcode, b"")], &[], Some(1002));
    }
    check("unmasked", &[reply(TEXT, b"x")], &[], Some(1002));
}

#[test]
fn text_is_utf_8() {
    for good in ["\u{0}", "\u{7ff}", "\u{ffff}", "\u{10ffff}", "\u{feff}a\u{3ba}\u{1f79}\u{3c3}\u{3bc}\u{3b5}"] {
        check(good, &[frame(TEXT, good.as_bytes()), bye()], &[reply(TEXT, good.as_bytes())], Some(1000));
        // Cut inside of characters.
        let (one, two) = good.as_bytes().split_at(good.len() / 2);
        check(good, &[frame(FIRST, one), frame(LAST, two), bye()], &[reply(TEXT, good.as_bytes())], Some(1000));
    }
    let surrogate = [0xed, 0xa0, 0x80];
    for bad in [&[0xff][..], &[0xc0, 0xaf], &surrogate, &[0xf4, 0x90, 0x80, 0x80], &[0xe2, 0x82], &[0x80]] {
        check("bad", &[frame(TEXT, bad)], &[], Some(1007));
        check("bad in pieces", &[frame(FIRST, &bad[..1]), frame(LAST, &bad[1..])], &[], Some(1007));
    }
}

#[test]
fn the_close_handshake() {
    check("no code", &[frame(CLOSE, b"")], &[], None);
    for good in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999] {
        check("good", &[frame(CLOSE, &code(good, "why"))], &[], Some(good));
    }
    for bad in [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65_535] {
        check(&format!("code {bad}"), &[frame(CLOSE, &code(bad, ""))], &[], Some(1002));
    }
    check("half a code", &[frame(CLOSE, &[3])], &[], Some(1002));
    check("a reason that is no text", &[frame(CLOSE, &[3, 0xe8, 0xff])], &[], Some(1007));
    check("the longest reason", &[frame(CLOSE, &code(1000, &"x".repeat(123)))], &[], Some(1000));
    check("one that is too long", &[frame(CLOSE, &code(1000, &"x".repeat(124)))], &[], Some(1002));
    check("nothing is heard after it", &[bye(), frame(PING, b"x"), frame(TEXT, b"y")], &[], Some(1000));
}

/// A socket whose peer says nothing, and its time of birth.
fn silent() -> (TcpStream, Socket, Instant) {
    let ((ours, theirs), now) = (pair(), Instant::now());
    let socket = Socket::new(theirs, Vec::new(), now).expect("a socket");
    (ours, socket, now)
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn who_does_not_answer_pings_is_asked_to_go_and_then_dropped() {
    let (mut ours, mut socket, start) = silent();
    for second in 1..=79 {
        socket.read(start + SECOND * second, |_| panic!("nothing was said"));
        socket.tend(start + SECOND * second);
    }
    let mut pings = [0; 6];
    ours.read_exact(&mut pings).expect("three pings");
    assert_eq!(pings, [PING, 0, PING, 0, PING, 0]);
    socket.tend(start + SECOND * 80);
    let mut close = [0; 4];
    ours.read_exact(&mut close).expect("a close frame");
    assert_eq!((close[0], &close[2..]), (CLOSE, &1008_u16.to_be_bytes()[..]));
    assert!(!socket.is_over());
    socket.tend(start + SECOND * 81);
    assert!(socket.is_over());
}

#[test]
fn who_answers_pings_stays() {
    let (mut ours, mut socket, start) = silent();
    for second in 1..=300 {
        let now = start + SECOND * second;
        socket.tend(now);
        if second % 20 == 0 {
            let mut ping = [0; 2];
            ours.read_exact(&mut ping).expect("a ping");
            ours.write_all(&frame(PONG, b"")).expect("sent");
            // The answer has come before the next look: waited for on the socket itself.
            socket.read(now, drop);
        }
        assert!(!socket.is_over());
    }
}

#[test]
fn who_takes_nothing_is_dropped_and_who_takes_a_little_is_not() {
    for takes in [false, true] {
        let (mut ours, mut socket, start) = silent();
        let large = Frame { text: "x".repeat(60_000).into(), events: 1 };
        for second in 0..100 {
            let now = start + SECOND * second;
            (0..100).for_each(|_| socket.tell(&large));
            socket.write(now);
            // A pong now and then: it is there, and only does not take what is sent.
            ours.write_all(&frame(PONG, b"")).unwrap_or_default();
            socket.read(now, drop);
            socket.tend(now);
            if takes {
                let _ = ours.read(&mut vec![0; 1 << 20]).expect("something was sent");
            }
        }
        assert_eq!(socket.is_over(), !takes, "takes: {takes}");
    }
}

#[test]
fn what_waits_is_bounded_and_what_is_lost_is_told_in_its_place() {
    let (mut ours, mut socket, start) = silent();
    let frame = |n: u64| Frame { text: format!("{n:0>60000}").into(), events: 10 };
    (0..200).for_each(|n| socket.tell(&frame(n)));
    // Nothing has been written yet: so many fit.
    let fit = (QUEUE_BYTES / 60_000) as u64;
    let mut taken = Vec::new();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut all = vec![0; (60_004 * fit) as usize + 30];
            ours.read_exact(&mut all).expect("what was kept, and a gap");
            all
        });
        let mut now = start;
        while !reader.is_finished() {
            now += Duration::from_millis(1);
            socket.write(now);
        }
        taken = reader.join().expect("read");
    });
    let gap = wire::news::gap((200 - fit) * 10);
    assert!(taken.windows(gap.len()).any(|window| window == gap.as_bytes()), "{gap}");
    assert!(socket.is_drained());
}

#[test]
fn the_autobahn_test_suite() {
    let Ok(wstest) = std::env::var("WSTEST") else {
        return println!("not run: WSTEST does not name the suite's command");
    };
    let echo = Echo::start();
    let verdicts = echo.autobahn(&wstest);
    let expected = include_str!("websocket/autobahn.tsv");
    assert!(verdicts == expected, "verdicts differ from tests/websocket/autobahn.tsv:\n{verdicts}");
}
