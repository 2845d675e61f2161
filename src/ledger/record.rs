//! The bytes of a journal: frames of a length, a checksum and parts. Pure: bytes in, values out.
//!
//! ```text
//! journal = MAGIC frame*
//! frame   = length: u32  crc32(payload): u32  payload        (little endian)
//! payload = (tag: u8 part)*                                  one frame is kept whole or not at all
//! ```
//!
//! Numbers are LEB128, texts a length and UTF-8, what may be absent a 0 or a 1 before it. Names that come from clients are bounded here, and
//! figures that a provider could invent are cut to where sums over a million rows stay whole numbers.

use super::entry::{Entry, cut};
use crate::clock::UnixMs;
use crate::money::{NanoUsd, Usage};
use crate::outbox::{Item, ItemKind, SavedLease};
use crate::row::Row;
use std::time::Duration;

/// How a journal begins; its number changes when parts do that there are. A part that is new only makes the journal one of a later release to
/// those who do not know it.
pub(super) const MAGIC: &[u8] = b"iron-runtime journal 1\n";

/// Bytes before a payload.
pub(super) const HEAD: usize = 8;

/// The largest payload.
pub(super) const MAX_PAYLOAD: usize = 1 << 20;

/// The most tokens kept of one class of one call (2⁴⁰).
const MAX_TOKENS: u64 = 1 << 40;

/// Bytes kept of a path.
const MAX_PATH: usize = 512;

/// Bytes kept of any other name.
const MAX_NAME: usize = 256;

/// Bytes kept of a request's id.
const MAX_ID: usize = 64;

const FILLER: u8 = 0;
const PRICE: u8 = 1;
const ROW: u8 = 2;
const ITEM: u8 = 3;
const DONE: u8 = 4;
const LEASE: u8 = 5;
const LEASE_CLOSED: u8 = 6;
const MORE: u8 = 7;

/// What a frame tells, one thing of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A price that rows name by its key.
    Price(i64, String),
    /// A settled call.
    Row(Box<Entry>),
    /// Something to be sent.
    Item(Item),
    /// The item with this key need not be sent any more.
    Done(String),
    /// A lease, or what is new of it.
    Lease(SavedLease),
    /// A lease that is no more.
    LeaseClosed(String),
}

/// Writes one frame.
#[derive(Debug)]
pub(super) struct Frame(Vec<u8>);

impl Frame {
    /// A frame without parts.
    pub(super) fn begin() -> Self {
        let mut bytes = Vec::with_capacity(512);
        bytes.resize(HEAD, 0);
        Self(bytes)
    }

    /// A price that rows name by its key.
    pub(super) fn price(&mut self, id: i64, text: &str) {
        self.0.push(PRICE);
        self.number(id.cast_unsigned());
        self.text(text);
    }

    /// A settled call.
    pub(super) fn row(&mut self, row: &Row, price_id: Option<i64>) {
        let (info, outcome, bill) = (&row.info, &row.outcome, &row.bill);
        self.0.push(ROW);
        self.number(signed(info.at.0));
        self.number(signed(info.serial));
        self.perhaps(info.agent.as_deref(), |frame, agent| frame.name(agent));
        self.perhaps(info.model.as_deref(), |frame, model| frame.name(model));
        self.name(&info.upstream);
        self.name(&info.method);
        self.text(cut(&info.path, MAX_PATH));
        self.number(u64::from(info.stream) | u64::from(bill.estimated) << 1);
        self.number(outcome.status.into());
        self.name(outcome.end.as_str());
        self.perhaps(row.code, |frame, code| frame.name(code));
        self.perhaps(bill.usage, |frame, usage| classes(&usage).into_iter().for_each(|tokens| frame.number(tokens.min(MAX_TOKENS))));
        self.perhaps(bill.cost, |frame, cost| frame.number(signed(cost.0)));
        self.name(bill.tier.as_str());
        self.perhaps(price_id, |frame, id| frame.number(id.cast_unsigned()));
        self.perhaps(outcome.first_byte, |frame, time| frame.number(micros(time)));
        self.number(micros(outcome.total));
        self.number(signed(outcome.reply_bytes));
        self.more(row);
    }

    /// What rows had not from the beginning: a part of its own behind the row's.
    fn more(&mut self, row: &Row) {
        let stages = &row.outcome.stages;
        self.0.push(MORE);
        self.perhaps(row.request_id.as_deref(), |frame, id| frame.text(cut(id, MAX_ID)));
        self.perhaps(row.info.request_bytes, |frame, bytes| frame.number(signed(bytes)));
        self.0.push(row.info.translated.into());
        // The others are cut off; what they are used for are differences. This one is used as it is.
        let sent = stages.sent.map(|sent| sent.saturating_add(Duration::from_nanos(500)));
        for stage in [sent, stages.head, stages.received] {
            self.perhaps(stage, |frame, time| frame.number(micros(time)));
        }
    }

    /// Something to be sent.
    pub(super) fn item(&mut self, item: &Item) {
        self.0.push(ITEM);
        self.text(item.kind.as_str());
        self.text(&item.key);
        self.text(&item.body);
    }

    /// The item with this key need not be sent any more.
    pub(super) fn done(&mut self, key: &str) {
        self.0.push(DONE);
        self.text(key);
    }

    /// A lease, or what is new of it.
    pub(super) fn lease(&mut self, lease: &SavedLease) {
        self.0.push(LEASE);
        for text in [&lease.lease_id, &lease.server, &lease.provider, &lease.token_hash] {
            self.text(text);
        }
        self.number(signed(lease.granted_micro));
        self.number(signed(lease.spent_micro));
    }

    /// A lease that is no more.
    pub(super) fn lease_closed(&mut self, lease_id: &str) {
        self.0.push(LEASE_CLOSED);
        self.text(lease_id);
    }

    /// Nothing, in so many bytes.
    pub(super) fn filler(&mut self, bytes: usize) {
        self.0.resize(self.0.len() + bytes, FILLER);
    }

    /// The frame, whole; `None`: it is larger than frames may be.
    pub(super) fn end(&mut self) -> Option<&[u8]> {
        let payload = &self.0[HEAD..];
        if payload.len() > MAX_PAYLOAD {
            return None;
        }
        let (length, crc) = (payload.len() as u32, crc32fast::hash(payload));
        self.0[..4].copy_from_slice(&length.to_le_bytes());
        self.0[4..HEAD].copy_from_slice(&crc.to_le_bytes());
        Some(&self.0)
    }

    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
    }

    fn name(&mut self, text: &str) {
        self.text(cut(text, MAX_NAME));
    }

    fn perhaps<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.0.push(value.is_some().into());
        if let Some(value) = value {
            write(self, value);
        }
    }
}

/// What stands at the start of some bytes of a journal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<'b> {
    /// A whole frame's payload.
    Whole(&'b [u8]),
    /// The beginning of a frame: it was cut, or is still being written. Also bytes that were never written.
    Cut,
    /// A whole frame with other bytes than were written, or no frame at all.
    Bad,
}

/// Looks at the start of the rest of a journal.
pub(super) fn next(bytes: &[u8]) -> Next<'_> {
    let Some((head, rest)) = bytes.split_at_checked(HEAD) else { return Next::Cut };
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (length, crc) = (word(0) as usize, word(4));
    if length == 0 {
        return if crc == 0 && rest.iter().all(|byte| *byte == 0) { Next::Cut } else { Next::Bad };
    }
    if length > MAX_PAYLOAD {
        return Next::Bad;
    }
    match rest.get(..length) {
        None => Next::Cut,
        Some(payload) if crc32fast::hash(payload) == crc => Next::Whole(payload),
        Some(_) => Next::Bad,
    }
}

/// The parts of a payload whose checksum holds; `None`: it was written by a version that knows other parts.
pub(super) fn parts(payload: &[u8], run: &str) -> Option<Vec<Part>> {
    let mut input = Input(payload);
    let mut parts = Vec::new();
    while let Some(tag) = input.byte() {
        parts.push(match tag {
            FILLER => continue,
            PRICE => Part::Price(input.number()?.cast_signed(), input.text()?),
            ROW => Part::Row(Box::new(input.row(run)?)),
            MORE => {
                let Some(Part::Row(entry)) = parts.last_mut() else { return None };
                input.more(entry)?;
                continue;
            }
            ITEM => Part::Item(Item { kind: ItemKind::from_word(&input.text()?)?, key: input.text()?, body: input.text()? }),
            DONE => Part::Done(input.text()?),
            LEASE => Part::Lease(input.lease()?),
            LEASE_CLOSED => Part::LeaseClosed(input.text()?),
            _ => return None,
        });
    }
    Some(parts)
}

/// Reads a payload; `None` where it ends too soon.
struct Input<'b>(&'b [u8]);

impl Input<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        String::from_utf8(text.to_vec()).ok()
    }

    fn perhaps<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.byte()? == 0 { Some(None) } else { read(self).map(Some) }
    }

    fn row(&mut self, run: &str) -> Option<Entry> {
        let (at, serial) = (UnixMs(self.number()?), self.number()?);
        let (agent, model) = (self.perhaps(Self::text)?, self.perhaps(Self::text)?);
        let (provider, method, path) = (self.text()?, self.text()?, self.text()?);
        let flags = self.number()?;
        Some(Entry {
            at,
            run: run.into(),
            serial,
            agent,
            model,
            provider,
            method,
            path,
            stream: flags & 1 != 0,
            estimated: flags & 2 != 0,
            status: u16::try_from(self.number()?).ok()?,
            end: self.text()?,
            code: self.perhaps(Self::text)?,
            usage: self.perhaps(Self::usage)?,
            cost: self.perhaps(Self::number)?.map(NanoUsd),
            tier: self.text()?,
            price_id: self.perhaps(Self::number)?.map(u64::cast_signed),
            first_byte_us: self.perhaps(Self::number)?,
            total_us: self.number()?,
            reply_bytes: self.number()?,
            ..Entry::default()
        })
    }

    fn more(&mut self, entry: &mut Entry) -> Option<()> {
        entry.request_id = self.perhaps(Self::text)?;
        entry.request_bytes = self.perhaps(Self::number)?;
        entry.translated = self.byte()? != 0;
        entry.sent_us = self.perhaps(Self::number)?;
        entry.head_us = self.perhaps(Self::number)?;
        entry.received_us = self.perhaps(Self::number)?;
        Some(())
    }

    fn usage(&mut self) -> Option<Usage> {
        let mut classes = [0; 10];
        for class in &mut classes {
            *class = self.number()?;
        }
        Some(usage(classes))
    }

    fn lease(&mut self) -> Option<SavedLease> {
        Some(SavedLease {
            lease_id: self.text()?,
            server: self.text()?,
            provider: self.text()?,
            token_hash: self.text()?,
            granted_micro: self.number()?,
            spent_micro: self.number()?,
        })
    }
}

/// The classes in the order in which the ledger has them.
pub(super) fn classes(usage: &Usage) -> [u64; 10] {
    [
        usage.input,
        usage.cache_read,
        usage.cache_write_5m,
        usage.cache_write_1h,
        usage.input_audio,
        usage.input_image,
        usage.output,
        usage.output_audio,
        usage.output_image,
        usage.reasoning,
    ]
}

/// The usage of [`classes`].
pub(super) fn usage(classes: [u64; 10]) -> Usage {
    let [input, cache_read, cache_write_5m, cache_write_1h, input_audio, input_image, output, output_audio, output_image, reasoning] =
        classes;
    Usage { input, cache_read, cache_write_5m, cache_write_1h, input_audio, input_image, output, output_audio, output_image, reasoning }
}

/// As large as SQLite's integers are at most.
fn signed(number: u64) -> u64 {
    number.min(i64::MAX as u64)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).map_or(i64::MAX as u64, signed)
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn frame(fill: impl FnOnce(&mut Frame)) -> Vec<u8> {
        let mut frame = Frame::begin();
        fill(&mut frame);
        frame.end().expect("small").to_vec()
    }

    fn read(bytes: &[u8]) -> Vec<Part> {
        let Next::Whole(payload) = next(bytes) else { panic!("no frame in {bytes:?}") };
        parts(payload, "r").expect("parts")
    }

    #[test]
    fn a_row_comes_back_as_it_went_in() {
        let row = sample::row(7);
        let parts = read(&frame(|frame| frame.row(&row, Some(-5))));
        let [Part::Row(entry)] = parts.as_slice() else { panic!("{parts:?}") };
        assert_eq!((entry.at, entry.serial, entry.run.as_str()), (row.info.at, 7, "r"));
        assert_eq!((entry.agent.as_deref(), entry.model.as_deref()), (row.info.agent.as_deref(), row.info.model.as_deref()));
        assert_eq!((entry.usage, entry.cost, entry.price_id), (row.bill.usage, row.bill.cost, Some(-5)));
        assert_eq!((entry.status, entry.end.as_str(), entry.code.as_deref()), (200, "complete", None));
        assert_eq!(entry.figures(), crate::tally::Figures::of(&row));
        assert_eq!((entry.stream, entry.estimated, entry.tier.as_str()), (row.info.stream, row.bill.estimated, "standard"));
    }

    #[test]
    fn names_are_bounded_between_characters_and_figures_where_sums_hold() {
        let mut row = sample::row(1);
        let info = Arc::make_mut(&mut row.info);
        info.path = "é".repeat(400).into();
        info.model = Some("€".repeat(300));
        row.bill.cost = Some(NanoUsd(u64::MAX));
        row.bill.usage = Some(Usage { input: u64::MAX, output: 3, ..Usage::default() });
        let parts = read(&frame(|frame| frame.row(&row, None)));
        let [Part::Row(entry)] = parts.as_slice() else { panic!("{parts:?}") };
        assert_eq!((entry.path.len(), entry.model.as_ref().map(String::len)), (512, Some(255)));
        assert_eq!(entry.cost, Some(NanoUsd(i64::MAX as u64)));
        assert_eq!(entry.usage, Some(Usage { input: MAX_TOKENS, output: 3, ..Usage::default() }));
    }

    #[test]
    fn every_other_part_comes_back_too() {
        let item = Item { kind: ItemKind::Report, key: "k".into(), body: "{\"a\":1}".into() };
        let lease = SavedLease {
            lease_id: "lease_1".into(),
            server: "http://c".into(),
            granted_micro: 10,
            spent_micro: 3,
            ..SavedLease::default()
        };
        let bytes = frame(|frame| {
            frame.price(-9, "{}");
            frame.filler(5);
            frame.item(&item);
            frame.done("k");
            frame.lease(&lease);
            frame.lease_closed("lease_1");
        });
        let expected = [
            Part::Price(-9, "{}".into()),
            Part::Item(item),
            Part::Done("k".into()),
            Part::Lease(lease),
            Part::LeaseClosed("lease_1".into()),
        ];
        assert_eq!(read(&bytes), expected);
    }

    #[test]
    fn a_frame_cut_anywhere_is_cut_and_one_changed_anywhere_is_bad_or_cut() {
        let bytes = frame(|frame| frame.row(&sample::row(3), None));
        for end in 0..bytes.len() {
            assert_eq!(next(&bytes[..end]), Next::Cut, "{end}");
        }
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 0x10;
            assert!(!matches!(next(&other), Next::Whole(_)), "{at}");
        }
        assert_eq!(next(&[0; 64]), Next::Cut, "a hole");
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange_to_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (next(&bytes), parts(&bytes, "r"));
        }
    }
}
