//! What must reach the control server, and what must not be forgotten of its leases: [`Outbox`] and [`Leases`]. Values and two traits; who
//! keeps them, and where, is the ledger's business, who sends them the control client's.
//!
//! Nothing kept here may hold a key or a token: the sender puts the token in when it sends.

use crate::error::Error;

/// Which call of the control protocol an item is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ItemKind {
    /// An analytics event.
    Event,
    /// A report of spending on a lease.
    Report,
}

impl ItemKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Event, Self::Report];

    /// The word by which the ledger knows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Report => "report",
        }
    }

    /// The kind of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// Something to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What it is.
    pub kind: ItemKind,
    /// What makes it one of a kind: whom it is for (server and token, as a hash) and the id by which the server knows it again.
    pub key: String,
    /// The JSON to send, but for tokens.
    pub body: String,
}

/// What waits to be sent. An item is in it from [`put`](Outbox::put) until [`done`](Outbox::done), also across restarts as far as its
/// keeper promises that.
pub trait Outbox: Send + Sync {
    /// Puts an item in; one whose key waits already is not put in again. Quick: called on the request's thread.
    ///
    /// # Errors
    /// It could not be kept.
    fn put(&self, item: Item) -> Result<(), Error>;

    /// The items that wait, `limit` at most: reports before events, so that no crowd of events hides money; the oldest of a kind first. May wait for a disk: not for a request's thread.
    ///
    /// # Errors
    /// They could not be read.
    fn pending(&self, limit: usize) -> Result<Vec<Item>, Error>;

    /// Takes an item out: it was answered with a 2xx, or will never be.
    ///
    /// # Errors
    /// That could not be kept: it may be given out again after a restart.
    fn done(&self, key: &str) -> Result<(), Error>;
}

/// A lease of the control server, as it is kept for the case of a crash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SavedLease {
    /// The server's name for it.
    pub lease_id: String,
    /// The server's address.
    pub server: String,
    /// The provider it is for.
    pub provider: String,
    /// What was granted, micro-USD.
    pub granted_micro: u64,
    /// What was spent on it so far, micro-USD. It never falls: a lower figure that comes late is ignored.
    pub spent_micro: u64,
    /// A hash by which the token it was granted to is known again; never the token.
    pub token_hash: String,
}

/// The leases that are open, for the one who has to report and return them after a crash.
pub trait Leases: Send + Sync {
    /// Keeps a lease, or what is new of it.
    ///
    /// # Errors
    /// It could not be kept.
    fn save_lease(&self, lease: &SavedLease) -> Result<(), Error>;

    /// Forgets a lease that the server has closed.
    ///
    /// # Errors
    /// That could not be kept: it may be given out again after a restart, and the server will then say that it is closed.
    fn close_lease(&self, lease_id: &str) -> Result<(), Error>;

    /// The open leases of a server, oldest first: ours, and those whose router is dead; never those of another that runs.
    ///
    /// # Errors
    /// They could not be read.
    fn open_leases(&self, server: &str) -> Result<Vec<SavedLease>, Error>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_known_again_by_their_words() {
        for kind in ItemKind::ALL {
            assert_eq!(ItemKind::from_word(kind.as_str()), Some(kind));
        }
        assert_eq!(ItemKind::from_word("letter"), None);
    }
}
