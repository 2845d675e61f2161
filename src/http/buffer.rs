//! Memory for request bodies that serves one after another.
//!
//! A socket can only be read into initialised memory, so fresh memory is zeroed first. A [`BodyBuffer`] does that once a byte: cleared, it
//! forgets how far it was filled, not that it is initialised. What an earlier body left behind the filled part is never lent out but to be
//! written over.

use std::ops::Range;

/// The most that memory is reserved ahead of bytes really received.
const RESERVE_BYTES: usize = 1 << 20;

/// The most that is zeroed ahead of them.
const PIECE_BYTES: usize = 64 << 10;

/// A request body in memory, or room for one. Read into by [`Body::read_into`](super::Body::read_into).
#[derive(Default)]
pub struct BodyBuffer {
    /// The filled part, then what earlier bodies left.
    bytes: Vec<u8>,
    filled: usize,
}

impl BodyBuffer {
    /// What was read.
    pub fn filled(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }

    /// Bytes of memory held, filled or not.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Forgets what was read and keeps the memory.
    pub fn clear(&mut self) {
        self.filled = 0;
    }

    /// Forgets what was read and takes `bytes` instead.
    pub fn set(&mut self, bytes: &[u8]) {
        self.clear();
        self.append(bytes);
    }

    /// Puts `text` in the place of the filled bytes `at`.
    ///
    /// # Panics
    /// If `at` reaches beyond the filled part.
    pub fn replace(&mut self, at: Range<usize>, text: &[u8]) {
        self.bytes.truncate(self.filled);
        self.bytes.splice(at, text.iter().copied());
        self.filled = self.bytes.len();
    }

    /// The filled part as a vector.
    pub(super) fn into_vec(mut self) -> Vec<u8> {
        self.bytes.truncate(self.filled);
        self.bytes
    }

    pub(super) fn append(&mut self, bytes: &[u8]) {
        let known = bytes.len().min(self.bytes.len() - self.filled);
        self.bytes[self.filled..self.filled + known].copy_from_slice(&bytes[..known]);
        self.bytes.extend_from_slice(&bytes[known..]);
        self.filled += bytes.len();
    }

    /// Makes room for `more` bytes, as far as nobody has to believe that they come.
    pub(super) fn reserve(&mut self, more: usize) {
        let wanted = self.filled + more.min(RESERVE_BYTES);
        self.bytes.reserve(wanted.saturating_sub(self.bytes.len()));
    }

    /// Memory to read into: at most `most` bytes, and not none unless `most` is 0. What was read is then [`BodyBuffer::advance`]d over.
    pub(super) fn room(&mut self, most: usize) -> &mut [u8] {
        let least = self.filled + most.min(PIECE_BYTES);
        if self.bytes.len() < least {
            self.reserve(most);
            self.bytes.resize(least, 0);
        }
        let end = self.bytes.len().min(self.filled.saturating_add(most));
        &mut self.bytes[self.filled..end]
    }

    pub(super) fn advance(&mut self, count: usize) {
        self.filled += count;
        debug_assert!(self.filled <= self.bytes.len());
    }
}

impl From<Vec<u8>> for BodyBuffer {
    fn from(bytes: Vec<u8>) -> Self {
        Self { filled: bytes.len(), bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `body` in reads of at most `piece` bytes, the first one from elsewhere.
    fn fill(buffer: &mut BodyBuffer, body: &[u8], piece: usize) {
        let (ahead, mut rest) = body.split_at(body.len().min(piece));
        buffer.append(ahead);
        while !rest.is_empty() {
            let room = buffer.room(rest.len());
            assert!(!room.is_empty() && room.len() <= rest.len());
            let count = room.len().min(piece);
            room[..count].copy_from_slice(&rest[..count]);
            buffer.advance(count);
            rest = &rest[count..];
        }
    }

    #[test]
    fn room_is_zeroed_a_piece_at_a_time() {
        let mut buffer = BodyBuffer::default();
        assert_eq!(buffer.room(usize::MAX >> 1).len(), PIECE_BYTES);
        assert!(buffer.capacity() <= 2 * RESERVE_BYTES);
        assert_eq!(buffer.room(7).len(), 7);
        assert!(buffer.filled().is_empty());
    }

    #[test]
    fn a_replaced_part_may_have_another_length() {
        let mut buffer = BodyBuffer::from(b"what was here before".to_vec());
        buffer.clear();
        buffer.append(b"say fast please");
        buffer.replace(4..8, b"llama-3");
        assert_eq!(buffer.filled(), b"say llama-3 please");
    }

    proptest::proptest! {
        #[test]
        fn no_body_shows_in_the_next(lengths in proptest::collection::vec(0usize..300, 1..6), piece in 1usize..100) {
            let mut buffer = BodyBuffer::default();
            for (at, length) in lengths.into_iter().enumerate() {
                let body = vec![b'a' + at as u8; length];
                fill(&mut buffer, &body, piece);
                proptest::prop_assert_eq!(buffer.filled(), body);
                buffer.clear();
            }
        }
    }
}
