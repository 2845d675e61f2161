//! The provider's own account of a reply, found in its bytes as they pass: [`Meter`]. Nothing is collected but the values looked for.

use crate::call::Endpoint;
use crate::money::Reported;

/// Looks at the bytes of one reply. The result does not depend on how they were cut.
#[derive(Debug)]
pub struct Meter {}

impl Meter {
    /// For a reply of this endpoint; `events`: it is a stream of server-sent events, else one JSON value.
    pub fn new(_endpoint: Endpoint, _events: bool) -> Self {
        Self {}
    }

    /// Takes the next bytes.
    pub fn feed(&mut self, _bytes: &[u8]) {}

    /// Whether the event that ends the stream has begun: `[DONE]`, `message_stop`, `response.completed` and its like, an error.
    pub fn is_over(&self) -> bool {
        false
    }

    /// What was found so far.
    pub fn reported(&self) -> Reported {
        Reported::default()
    }
}

/// Takes the usage chunk out of a chat or completions stream, for a client that did not ask for it.
#[derive(Debug, Default)]
pub struct WithoutUsage {}

impl WithoutUsage {
    /// Takes the next bytes and appends to `out` what goes on; whole events at once, at most 256 KiB of an unfinished one are held.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(bytes);
    }

    /// Appends what is still held: the stream has ended.
    pub fn finish(&mut self, _out: &mut Vec<u8>) {}
}
