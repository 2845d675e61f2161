//! Connections that wait for their next request, shared by all threads.
//!
//! ureq's own pool looks at every idle connection on each request (a hundred of them cost 4 µs) and prefers the oldest; this one takes the
//! newest of its place without looking at the others, so that the surplus of a busy hour grows old and goes.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Connections kept for one place. A TLS handshake costs more than anything else here.
const MOST: usize = 256;

/// How long one is kept.
const AGE: Duration = Duration::from_secs(90);

/// The idle connections of an agent.
pub(super) struct Idle<C> {
    places: Mutex<Vec<Place<C>>>,
}

/// Where connections lead to; there are as many as there are upstream addresses.
struct Place<C> {
    https: bool,
    authority: String,
    /// The longest waiting first.
    waiting: Vec<(C, Instant)>,
}

/// A place, by its position: places are never taken away.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlaceId(usize);

impl<C> Default for Idle<C> {
    fn default() -> Self {
        Self { places: Mutex::default() }
    }
}

impl<C> Idle<C> {
    /// A panic elsewhere leaves the lists whole.
    fn places(&self) -> MutexGuard<'_, Vec<Place<C>>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place of an address.
    pub(super) fn place(&self, https: bool, authority: &str) -> PlaceId {
        let mut places = self.places();
        let known = places.iter().position(|place| place.https == https && place.authority == authority);
        PlaceId(known.unwrap_or_else(|| {
            places.push(Place { https, authority: authority.to_string(), waiting: Vec::new() });
            places.len() - 1
        }))
    }

    /// The newest connection that is still fit; the unfit ones above it are closed. Looked at outside the lock.
    pub(super) fn take(&self, place: PlaceId, mut is_fit: impl FnMut(&mut C) -> bool) -> Option<C> {
        loop {
            let (mut connection, since) = self.places()[place.0].waiting.pop()?;
            if since.elapsed() < AGE && is_fit(&mut connection) {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection; those that have waited too long, or are too many, are closed.
    pub(super) fn put(&self, place: PlaceId, connection: C) {
        let now = Instant::now();
        let mut places = self.places();
        let waiting = &mut places[place.0].waiting;
        let old = waiting.iter().take_while(|(_, since)| now.duration_since(*since) >= AGE).count();
        let surplus = old.max((waiting.len() + 1).saturating_sub(MOST));
        let closed: Vec<_> = waiting.drain(..surplus).collect();
        waiting.push((connection, now));
        drop(places);
        drop(closed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_fit_one_of_its_place() {
        let idle = Idle::default();
        let (here, there) = (idle.place(true, "here"), idle.place(false, "here"));
        assert_eq!(idle.place(true, "here").0, here.0);
        [1, 2, 3].into_iter().for_each(|connection| idle.put(here, connection));
        idle.put(there, 9);
        assert_eq!(idle.take(here, |connection| *connection != 3), Some(2));
        assert_eq!(idle.take(here, |_| true), Some(1));
        assert_eq!(idle.take(here, |_| true), None);
        assert_eq!(idle.take(there, |_| true), Some(9));
    }

    #[test]
    fn no_more_than_the_most() {
        let idle = Idle::default();
        let here = idle.place(true, "here");
        (0..MOST + 5).for_each(|connection| idle.put(here, connection));
        let mut left = Vec::new();
        while let Some(connection) = idle.take(here, |_| true) {
            left.push(connection);
        }
        assert_eq!((left.len(), left.last()), (MOST, Some(&5)));
    }
}
