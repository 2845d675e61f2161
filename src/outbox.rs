//! What must reach the control server, and what must not be forgotten of its leases: [`Outbox`] and [`LeaseStore`]. Values and two traits:
//! where they are kept is the ledger's business, who sends them that of the proxy's `sync`. [`MemoryOutbox`] is for routers without a ledger.
//!
//! Nothing kept here holds a key or a token: the sender puts the token in when it sends.

use crate::error::Error;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Items that a [`MemoryOutbox`] holds.
pub const MEMORY_ITEMS: usize = 10_000;

/// Which call of the control protocol an item is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ItemKind {
    /// An analytics event.
    Event,
    /// A report of spending on a lease.
    Report,
}

impl ItemKind {
    /// The word by which a store knows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Report => "report",
        }
    }

    /// The kind of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Event, Self::Report].into_iter().find(|kind| kind.as_str() == word)
    }
}

/// Something to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What it is.
    pub kind: ItemKind,
    /// What makes it one of a kind, and by which the server knows it again: the id of the event or of the request.
    pub key: String,
    /// The JSON object to send, but for the token.
    pub body: String,
}

/// What waits to be sent to one control server under one token. An item is in it from [`put`](Outbox::put) until [`done`](Outbox::done),
/// also across restarts as far as its keeper promises that. Where several routers share a store, each sees its own items and those of
/// routers that are dead, and never one that was meant for another server or token.
pub trait Outbox: Send + Sync {
    /// Puts an item in; its key is new. Quick: called on a request's thread.
    ///
    /// # Errors
    /// It could not be kept.
    fn put(&self, item: Item) -> Result<(), Error>;

    /// The items that wait, oldest first, `limit` at most. May wait for a disk: not for a request's thread.
    ///
    /// # Errors
    /// They could not be read.
    fn pending(&self, limit: usize) -> Result<Vec<Item>, Error>;

    /// Takes an item out: it was answered with a 2xx, or will never be.
    ///
    /// # Errors
    /// That could not be kept: the item may be given out again.
    fn done(&self, key: &str) -> Result<(), Error>;
}

/// A lease of the control server as it is kept for the case of a crash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SavedLease {
    /// The server's name for it.
    pub lease_id: String,
    /// The server's address.
    pub server_url: String,
    /// The provider it is for.
    pub provider: String,
    /// The run of the router that holds it. While that run lives, nobody else may return the lease.
    pub run: String,
    /// What was granted.
    pub granted_micro_usd: u64,
    /// What was spent on it. A store that knows more (from the reports that were put into its outbox) gives the larger figure.
    pub spent_micro_usd: u64,
}

/// The leases that are open, for whoever has to return them after a crash.
pub trait LeaseStore: Send + Sync {
    /// Keeps a lease, or a newer figure of one that is kept: `spent_micro_usd` never falls.
    ///
    /// # Errors
    /// It could not be kept.
    fn opened(&self, lease: &SavedLease) -> Result<(), Error>;

    /// Forgets a lease that the server has closed.
    ///
    /// # Errors
    /// That could not be kept: it may be given out again, and the server will then say that it is closed.
    fn closed(&self, lease_id: &str) -> Result<(), Error>;

    /// The open leases of runs that are dead; never one of a router that lives.
    ///
    /// # Errors
    /// They could not be read.
    fn open_leases(&self) -> Result<Vec<SavedLease>, Error>;
}

/// An outbox that is gone with the process. When [`MEMORY_ITEMS`] wait, the oldest makes room for the next, with a warning that counts.
#[derive(Default)]
pub struct MemoryOutbox(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    items: VecDeque<Item>,
    dropped: u64,
}

impl MemoryOutbox {
    /// Items that were dropped so far.
    pub fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// A panic elsewhere leaves a queue that is still right: every change is a whole one.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outbox for MemoryOutbox {
    fn put(&self, item: Item) -> Result<(), Error> {
        let mut waiting = self.lock();
        if waiting.items.len() >= MEMORY_ITEMS {
            waiting.items.pop_front();
            waiting.dropped += 1;
            // Each power of two: a server that is down for long must not fill the log too.
            if waiting.dropped.is_power_of_two() {
                log::warn!("{MEMORY_ITEMS} messages wait for the control server: {} of the oldest were dropped", waiting.dropped);
            }
        }
        waiting.items.push_back(item);
        Ok(())
    }

    fn pending(&self, limit: usize) -> Result<Vec<Item>, Error> {
        Ok(self.lock().items.iter().take(limit).cloned().collect())
    }

    fn done(&self, key: &str) -> Result<(), Error> {
        let mut waiting = self.lock();
        // Nearly always the first.
        if let Some(at) = waiting.items.iter().position(|item| item.key == key) {
            waiting.items.remove(at);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(key: usize) -> Item {
        Item { kind: ItemKind::Event, key: key.to_string(), body: "{}".into() }
    }

    #[test]
    fn items_wait_in_order_until_they_are_done() {
        let outbox = MemoryOutbox::default();
        (0..4).for_each(|key| outbox.put(item(key)).expect("memory"));
        for key in ["1", "0", "7"] {
            outbox.done(key).expect("memory");
        }
        assert_eq!(outbox.pending(9).expect("memory"), [item(2), item(3)]);
        assert_eq!(outbox.pending(1).expect("memory"), [item(2)]);
    }

    #[test]
    fn the_oldest_make_room() {
        let outbox = MemoryOutbox::default();
        (0..MEMORY_ITEMS + 3).for_each(|key| outbox.put(item(key)).expect("memory"));
        assert_eq!((outbox.dropped(), outbox.pending(usize::MAX).expect("memory").len()), (3, MEMORY_ITEMS));
        assert_eq!(outbox.pending(1).expect("memory"), [item(3)]);
    }

    #[test]
    fn kinds_are_known_again_by_their_words() {
        for kind in [ItemKind::Event, ItemKind::Report] {
            assert_eq!(ItemKind::from_word(kind.as_str()), Some(kind));
        }
        assert_eq!(ItemKind::from_word("letter"), None);
    }
}
