//! Places for subscribers: a bounded number, counted where a request's thread can see it without a lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many subscribers there may be at once.
pub(super) const SEATS: usize = 1024;

/// The places of one hub.
#[derive(Clone, Default)]
pub(super) struct Seats(Arc<AtomicUsize>);

/// A place that is taken; dropped, it is free again.
pub(super) struct Seat(Arc<AtomicUsize>);

impl Seats {
    /// Takes a place, if there is one.
    pub(super) fn take(&self) -> Option<Seat> {
        let more = |taken| (taken < SEATS).then_some(taken + 1);
        // Relaxed: who joins looks at the ring afterwards, who tells has written to it before, and both through the ring's lock.
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(|_| Seat(self.0.clone()))
    }

    /// Whether no place is taken.
    pub(super) fn are_free(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back() {
        let seats = Seats::default();
        let taken: Vec<_> = std::iter::from_fn(|| seats.take()).collect();
        assert_eq!((taken.len(), seats.are_free()), (SEATS, false));
        drop(taken);
        assert!(seats.are_free() && seats.take().is_some());
    }
}
