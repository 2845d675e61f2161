//! Events in this process: what Rust's and Python's callers hold ([`Subscription`]), and the broadcast thread's end of it ([`Feed`]).

use super::seat::Seat;
use crate::event::Numbered;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How many events wait for a subscriber; one place more is for the word about those that found none.
const WAITING: usize = 4096;

/// What a subscriber is told.
#[derive(Clone, Debug)]
pub enum Told {
    /// An event.
    Event(Arc<Numbered>),
    /// So many events were dropped, because they were not taken in time or were no longer in the ring.
    Gap(u64),
}

/// A subscription to events. Dropped, it ends.
pub struct Subscription {
    receiver: Receiver<Told>,
    /// Set before the sender goes: nothing follows what is in the channel.
    last: Arc<AtomicBool>,
    /// `None`: there was no place left, and the subscription is over.
    _seat: Option<Arc<Seat>>,
}

impl Subscription {
    /// Both ends of a subscription.
    pub(super) fn new(seat: Option<Seat>) -> (Self, Feed) {
        let (sender, receiver) = bounded(WAITING + 1);
        let (seat, last) = (seat.map(Arc::new), Arc::new(AtomicBool::new(false)));
        let held = seat.as_ref().map_or_else(Weak::new, Arc::downgrade);
        let feed = Feed { sender, last: last.clone(), held, missed: 0, gone: false };
        (Self { receiver, last, _seat: seat }, feed)
    }

    /// The next event; `None`: none came within `timeout`, or the router has stopped (see [`Subscription::is_over`]).
    pub fn next_within(&self, timeout: Duration) -> Option<Told> {
        self.receiver.recv_timeout(timeout).ok()
    }

    /// Whether the router has stopped and everything has been taken.
    pub fn is_over(&self) -> bool {
        self.last.load(Ordering::Acquire) && self.receiver.is_empty()
    }
}

impl Iterator for Subscription {
    type Item = Told;

    fn next(&mut self) -> Option<Told> {
        self.receiver.recv().ok()
    }
}

/// The sending end of a [`Subscription`].
pub(super) struct Feed {
    sender: Sender<Told>,
    last: Arc<AtomicBool>,
    held: Weak<Seat>,
    missed: u64,
    gone: bool,
}

impl Feed {
    /// Passes an event on; counts it as missed if there is no room.
    pub(super) fn tell(&mut self, event: &Arc<Numbered>) {
        self.admit_loss();
        if self.missed == 0 && self.sender.len() < WAITING {
            self.send(Told::Event(event.clone()));
        } else {
            self.missed = self.missed.saturating_add(1);
        }
    }

    /// Counts events that nobody has any more.
    pub(super) fn miss(&mut self, events: u64) {
        self.missed = self.missed.saturating_add(events);
    }

    /// Whether so little waits that older events may be fetched. Only this end adds, so that what is true stays true.
    pub(super) fn has_room(&self) -> bool {
        self.sender.len() <= WAITING / 2
    }

    /// Tells of what was missed as soon as half the places are free.
    pub(super) fn admit_loss(&mut self) {
        if self.missed > 0 && self.has_room() {
            self.send(Told::Gap(self.missed));
            self.missed = 0;
        }
    }

    /// Whether nobody holds the other end any more.
    pub(super) fn is_over(&self) -> bool {
        self.gone || self.held.strong_count() == 0
    }

    fn send(&mut self, told: Told) {
        self.gone |= matches!(self.sender.try_send(told), Err(TrySendError::Disconnected(_)));
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        if self.missed > 0 {
            self.send(Told::Gap(self.missed));
        }
        self.last.store(true, Ordering::Release);
    }
}
