//! A row of the ledger as the value it was when it was kept: for those who show earlier calls as they show those of now.

use super::entry::Entry;
use crate::call::{End, Outcome, Stages};
use crate::money::Tier;
use crate::row::{Bill, RequestInfo, Row, kept};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The most different codes that are known again; there are some dozens.
const MAX_CODES: usize = 256;

/// What stands for a code that is one too many.
const UNKNOWN: &str = "unknown";

impl Entry {
    /// The row. Its price is not looked up, and details were never kept.
    pub fn to_row(&self) -> Row {
        let micros = |micros: Option<u64>| micros.map(Duration::from_micros);
        let info = RequestInfo {
            serial: self.serial,
            at: self.at,
            agent: self.agent.as_deref().map(Arc::from),
            upstream: self.provider.as_str().into(),
            method: kept(&self.method),
            path: kept(&self.path),
            model: self.model.clone(),
            stream: self.stream,
            request_bytes: self.request_bytes,
            translated: self.translated,
        };
        let outcome = Outcome {
            status: self.status,
            end: end(&self.end),
            reply_bytes: self.reply_bytes,
            first_byte: micros(self.first_byte_us),
            total: Duration::from_micros(self.total_us),
            stages: Stages { sent: micros(self.sent_us), head: micros(self.head_us), received: micros(self.received_us) },
        };
        let bill = Bill { usage: self.usage, cost: self.cost, estimated: self.estimated, price: None, tier: tier(&self.tier) };
        let request_id = self.request_id.as_deref().map(Arc::from);
        Row { request_id, ..Row::new(info, outcome, bill, self.code.as_deref().map(code)) }
    }
}

/// The end of a word; one that a later release wrote is none we know better.
fn end(word: &str) -> End {
    let all = [End::Complete, End::Refused, End::UpstreamFailed, End::UpstreamCut, End::ClientGone, End::Abandoned];
    all.into_iter().find(|end| end.as_str() == word).unwrap_or(End::Abandoned)
}

fn tier(word: &str) -> Tier {
    [Tier::Flex, Tier::Priority, Tier::Batch].into_iter().find(|tier| tier.as_str() == word).unwrap_or_default()
}

/// A code as the literal it once was. Codes come from a small set; each is kept for the life of the process, within a bound.
fn code(word: &str) -> &'static str {
    static CODES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    known(&mut CODES.lock().unwrap_or_else(PoisonError::into_inner), word)
}

fn known(codes: &mut BTreeSet<&'static str>, word: &str) -> &'static str {
    if let Some(known) = codes.get(word) {
        return known;
    }
    if codes.len() >= MAX_CODES {
        return UNKNOWN;
    }
    let code: &'static str = Box::leak(word.into());
    codes.insert(code);
    code
}

#[cfg(test)]
mod tests {
    use super::super::record::{Frame, Next, Part, next, parts};
    use super::super::sample;
    use super::*;

    #[test]
    fn a_row_comes_back_whole_to_the_microsecond() {
        let mut row = sample::row(7);
        row.outcome.stages = Stages { sent: micros(20), head: micros(310), received: micros(1_990) };
        row.code = Some("upstream_reset");
        row.request_id = Some("req_7".into());
        let info = Arc::make_mut(&mut row.info);
        (info.request_bytes, info.translated) = (Some(12), true);
        let mut frame = Frame::begin();
        frame.row(&row, None);
        let Next::Whole(payload) = next(frame.end().expect("small")) else { panic!("a frame") };
        let parts = parts(payload, "r").expect("parts");
        let [Part::Row(entry)] = parts.as_slice() else { panic!("{parts:?}") };
        assert_eq!(format!("{:?}", entry.to_row()), format!("{row:?}"));
    }

    fn micros(micros: u64) -> Option<Duration> {
        Some(Duration::from_micros(micros))
    }

    #[test]
    fn every_word_is_known_again() {
        for ended in [End::Complete, End::Refused, End::UpstreamFailed, End::UpstreamCut, End::ClientGone, End::Abandoned] {
            assert_eq!(end(ended.as_str()), ended);
        }
        for of in [Tier::Standard, Tier::Flex, Tier::Priority, Tier::Batch] {
            assert_eq!(tier(of.as_str()), of);
        }
        assert_eq!((end("later"), tier("later")), (End::Abandoned, Tier::Standard));
    }

    #[test]
    fn codes_are_bounded() {
        let mut codes = BTreeSet::new();
        let many: BTreeSet<_> = (0..2 * MAX_CODES).map(|n| known(&mut codes, &format!("test_{n}"))).collect();
        assert!(many.len() == MAX_CODES + 1 && many.contains(UNKNOWN));
        assert_eq!(known(&mut codes, "test_9"), "test_9");
    }
}
