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
        let from = (since + 1).max(first);
        let skip = usize::try_from(from - first).unwrap_or(usize::MAX);
        let events = kept.events.iter().skip(skip).take(most).zip(from..).map(|(event, seq)| Numbered { seq, event: event.clone() });
        (from - (since + 1).min(from), events.collect())
    }

    /// The number of the last event; 0: there was none.
    pub(super) fn last(&self) -> u64 {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).last
    }
}
