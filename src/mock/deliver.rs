//! Sends an answer the way its plan says: late, slowly, compressed, broken off, or as it should be.
//!
//! The only part of the mock that writes to a client and waits. While it waits it watches the client, so that one who leaves is noticed and
//! counted.

use super::answer::{Answer, Frame, Frames, Tokens};
use super::encode::Gzip;
use super::faults::{Fault, Plan};
use super::prices::ModelRates;
use super::stats::Counters;
use super::text;
use crate::http::{Client, Framing, Responder, Stream};
use std::time::{Duration, Instant};

/// How often a waiting reply looks at its client.
const GLANCE: Duration = Duration::from_millis(10);

/// How long a stalled reply keeps its connection.
const STALL: Duration = Duration::from_secs(60);

/// The pieces of a slow body that is no stream.
const SLOW_PIECES: usize = 8;

/// What stands where JSON should: not JSON, and not UTF-8 either.
const GARBAGE: &[u8] = b"{\"mock\": \xff\xfe garbage";

/// The header fields of a reply.
pub(super) type Fields = Vec<(&'static str, String)>;

/// One reply on its way.
pub(super) struct Delivery<'a> {
    /// The status.
    pub(super) status: u16,
    /// Header fields but for those of the body.
    pub(super) fields: Fields,
    /// How it is sent.
    pub(super) plan: Plan,
    /// What its tokens cost, if they do.
    pub(super) rates: Option<&'static ModelRates>,
    /// Where it is counted.
    pub(super) counters: &'a Counters,
}

impl Delivery<'_> {
    /// Sends `answer`.
    pub(super) fn send(self, reply: Responder<'_>, answer: Answer) {
        let client = reply.client();
        if wait(&client, self.plan.latency) {
            self.counters.client_gone();
            return close(reply);
        }
        if self.plan.fault == Some(Fault::CutBefore) {
            return close(reply);
        }
        match answer {
            Answer::Whole { kind, body, tokens } => self.whole(reply, client, kind, body, tokens),
            Answer::Stream { frames, carriers, tokens, failure } => {
                self.stream(reply, client, frames, Script { carriers, tokens, failure })
            }
        }
    }

    /// The header fields with those of the body.
    fn head(&self, kind: &str) -> Fields {
        let mut fields = vec![("content-type", kind.to_owned())];
        if self.plan.gzip {
            fields.push(("content-encoding", "gzip".to_owned()));
        }
        fields.extend(self.fields.iter().cloned());
        fields
    }

    fn whole(self, reply: Responder<'_>, client: Client, kind: &str, mut body: Vec<u8>, tokens: Tokens) {
        let head = self.head(kind);
        if self.plan.fault == Some(Fault::Garbage) {
            body = GARBAGE.to_vec();
        }
        if self.plan.gzip {
            let mut gzip = Gzip::new();
            body = [gzip.encode(&body), gzip.end()].concat();
        }
        self.counters.ending(self.status, tokens, self.rates);
        let half = body.len() as u64 / 2;
        let (left, stalls) = match self.plan.fault {
            Some(Fault::Cut(at)) => (Some(at.unwrap_or(half)), false),
            Some(Fault::Stall(at)) => (Some(at.unwrap_or(half)), true),
            _ => (None, false),
        };
        if left.is_none() && !self.plan.slow {
            if reply.send(self.status, borrowed(&head), &body).is_err() {
                self.counters.client_gone();
            }
            return;
        }
        let stream = reply.start(self.status, borrowed(&head), Framing::Length(body.len() as u64));
        let mut out = Out { stream, client, left, gzip: None };
        let end = out.pieces(&body, if self.plan.slow { self.plan.spacing } else { Duration::ZERO });
        self.leave(out, end, stalls);
    }

    fn stream(self, reply: Responder<'_>, client: Client, frames: Frames, script: Script) {
        let mut head = self.head("text/event-stream; charset=utf-8");
        head.push(("cache-control", "no-cache".to_owned()));
        self.counters.streaming();
        let stream = reply.start(self.status, borrowed(&head), Framing::Chunked);
        let (left, stalls) = match self.plan.fault {
            Some(Fault::Cut(at)) => (at, false),
            Some(Fault::Stall(at)) => (at, true),
            _ => (None, false),
        };
        let mut out = Out { stream, client, left, gzip: self.plan.gzip.then(Gzip::new) };
        let mut told = Told { chars: 0, tokens: script.tokens, counted: false };
        let end = self.events(&mut out, frames, &script, &mut told);
        if !told.counted {
            self.counters.ending(self.status, told.so_far(), self.rates);
        }
        self.leave(out, end, stalls);
    }

    /// Sends the events up to their end, or to where the plan or the client ends them.
    fn events(&self, out: &mut Out<'_>, frames: Frames, script: &Script, told: &mut Told) -> Step {
        let middle = script.carriers.div_ceil(2);
        let mut frames = frames.peekable();
        let mut carriers = 0;
        let mut broken = false;
        while let Some(frame) = frames.next() {
            let last = frames.peek().is_none();
            if !broken && ((frame.chars > 0 && carriers == middle) || last) {
                broken = true;
                if let Some(end) = self.break_in(out, script) {
                    return end;
                }
            }
            if frame.chars > 0 && out.pause(if carriers > 0 { self.plan.spacing } else { Duration::ZERO }) {
                return Step::Gone;
            }
            carriers += usize::from(frame.chars > 0);
            if last && out.left.is_none() {
                told.counted = true;
                self.counters.ending(self.status, script.tokens, self.rates);
            }
            match out.put(&frame.bytes()) {
                Step::On => told.chars += frame.chars,
                end => return end,
            }
        }
        out.put_end()
    }

    /// The fault of the middle of a stream, if there is one; gives how the stream ends there, or `None` if it goes on.
    fn break_in(&self, out: &mut Out<'_>, script: &Script) -> Option<Step> {
        match self.plan.fault {
            Some(Fault::Cut(None) | Fault::Stall(None)) => Some(out.flush()),
            Some(Fault::ErrorEvent) => Some(match out.put(&script.failure.bytes()) {
                Step::On => out.put_end(),
                end => end,
            }),
            Some(Fault::Garbage) => match out.put(&[b"data: ", GARBAGE, b"\n\n"].concat()) {
                Step::On => None,
                end => Some(end),
            },
            _ => None,
        }
    }

    /// Ends a reply: in order, broken off, or silent until the client goes.
    fn leave(&self, out: Out<'_>, end: Step, stalls: bool) {
        let gone = match end {
            Step::On => out.stream.finish().is_err(),
            Step::Limit if stalls => wait(&out.client, STALL),
            Step::Limit => false,
            Step::Gone => true,
        };
        if gone {
            self.counters.client_gone();
        }
    }
}

/// What `stream` knows of its events beside themselves.
struct Script {
    carriers: usize,
    tokens: Tokens,
    failure: Frame,
}

/// What of a reply was told so far.
struct Told {
    chars: u64,
    tokens: Tokens,
    counted: bool,
}

impl Told {
    /// What a stream used that ends here: the whole prompt, the reasoning, and what was said.
    fn so_far(&self) -> Tokens {
        let output = self.tokens.reasoning + text::tokens(self.chars);
        Tokens { output: output.min(self.tokens.output), ..self.tokens }
    }
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It went out.
    On,
    /// It went out as far as the plan lets it.
    Limit,
    /// The client has gone.
    Gone,
}

/// A body under way.
struct Out<'a> {
    stream: Stream<'a>,
    client: Client,
    /// Bytes that may still leave.
    left: Option<u64>,
    gzip: Option<Gzip>,
}

impl Out<'_> {
    fn put(&mut self, bytes: &[u8]) -> Step {
        match &mut self.gzip {
            None => self.put_raw(bytes),
            Some(gzip) => {
                let bytes = gzip.encode(bytes);
                self.put_raw(&bytes)
            }
        }
    }

    fn put_raw(&mut self, bytes: &[u8]) -> Step {
        let Some(left) = self.left else { return step(self.stream.write(bytes)) };
        let take = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        self.left = Some(left - take as u64);
        let written = if take == 0 { self.stream.flush() } else { self.stream.write(&bytes[..take]) };
        match step(written) {
            Step::On if left == take as u64 => Step::Limit,
            step => step,
        }
    }

    /// The end of the body's encoding.
    fn put_end(&mut self) -> Step {
        match self.gzip.take() {
            Some(gzip) => self.put_raw(&gzip.end()),
            None => Step::On,
        }
    }

    /// Sends what is held; the plan ends the reply here.
    fn flush(&mut self) -> Step {
        match step(self.stream.flush()) {
            Step::On => Step::Limit,
            step => step,
        }
    }

    /// A body in eighths with pauses, or at once.
    fn pieces(&mut self, body: &[u8], spacing: Duration) -> Step {
        let size = if spacing.is_zero() { body.len() } else { body.len().div_ceil(SLOW_PIECES) };
        for (nth, piece) in body.chunks(size.max(1)).enumerate() {
            if nth > 0 && self.pause(spacing) {
                return Step::Gone;
            }
            match self.put(piece) {
                Step::On => {}
                end => return end,
            }
        }
        Step::On
    }

    /// Waits; tells whether the client has gone.
    fn pause(&self, spacing: Duration) -> bool {
        wait(&self.client, spacing)
    }
}

fn step(written: std::io::Result<()>) -> Step {
    if written.is_ok() { Step::On } else { Step::Gone }
}

/// Closes the connection before any byte of the reply.
fn close(reply: Responder<'_>) {
    let _unfinished = reply.start(200, std::iter::empty::<(&str, &[u8])>(), Framing::Chunked);
}

/// Waits for `time` or until the client goes; tells whether it has.
fn wait(client: &Client, time: Duration) -> bool {
    let start = Instant::now();
    loop {
        if client.gone() {
            return true;
        }
        let left = time.saturating_sub(start.elapsed());
        if left.is_zero() {
            return false;
        }
        std::thread::sleep(left.min(GLANCE));
    }
}

/// Header fields as the server takes them.
pub(super) fn borrowed(fields: &Fields) -> impl Iterator<Item = (&str, &[u8])> {
    fields.iter().map(|(name, value)| (*name, value.as_bytes()))
}
