//! The last events, numbered from 1 without gaps.

use crate::event::{Event, Numbered};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// A bounded queue of the last events; the oldest go first.
pub(super) struct Ring {
    events: Mutex<Kept>,
    capacity: usize,
}

struct Kept {
    last: u64,
    events: VecDeque<Event>,
}

impl Ring {
    pub(super) fn new(capacity: usize) -> Self {
        Self { events: Mutex::new(Kept { last: 0, events: VecDeque::new() }), capacity }
    }

    /// Adds an event and gives it the next number.
    pub(super) fn push(&self, event: Event) {
        let mut kept = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        kept.last += 1;
        // Dropped outside the lock: an event may be the last to hold a row.
        let oldest = if kept.events.len() == self.capacity { kept.events.pop_front() } else { None };
        kept.events.push_back(event);
        drop(kept);
        drop(oldest);
    }

    /// The events behind number `since`, at most `most`, and how many of them are gone already.
    pub(super) fn after(&self, since: u64, most: usize) -> (u64, Vec<Numbered>) {
        let kept = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let first = kept.last + 1 - kept.events.len() as u64;
        let next = since.saturating_add(1);
        let from = next.max(first);
        let skip = usize::try_from(from - first).unwrap_or(usize::MAX);
        let events = kept.events.iter().skip(skip).take(most).zip(from..).map(|(event, seq)| Numbered { seq, event: event.clone() });
        (from - next, events.collect())
    }

    /// The number of the last event; 0: there was none.
    pub(super) fn last(&self) -> u64 {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixMs;

    fn ring(events: u64) -> Ring {
        let ring = Ring::new(4);
        (0..events).for_each(|at| ring.push(Event::RouterStopped { at: UnixMs(at) }));
        ring
    }

    #[test]
    fn what_is_kept_and_what_is_gone() {
        for (events, since, most, missed, seqs) in [
            (0, 0, 9, 0, vec![]),
            (3, 0, 9, 0, vec![1, 2, 3]),
            (3, 2, 9, 0, vec![3]),
            (3, 3, 9, 0, vec![]),
            (3, 7, 9, 0, vec![]),
            (3, u64::MAX, 9, 0, vec![]),
            (6, 0, 9, 2, vec![3, 4, 5, 6]),
            (6, 0, 2, 2, vec![3, 4]),
            (6, 1, 0, 1, vec![]),
            (6, 4, 1, 0, vec![5]),
        ] {
            let ring = ring(events);
            let (gone, kept) = ring.after(since, most);
            assert!(kept.iter().all(|kept| kept.event.at() == UnixMs(kept.seq - 1)));
            let kept: Vec<_> = kept.iter().map(|kept| kept.seq).collect();
            assert_eq!((gone, kept, ring.last()), (missed, seqs, events), "{events} events, since {since}, at most {most}");
        }
    }
}
