//! Ids that nobody else has: of events, of runs, of requests.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The ids that requests have where no provider gave them one: `iron-`, eight digits of the run, and the call's serial. What never became a
/// call has a count of its own, with an `r` before it.
pub(super) struct RequestIds {
    run: String,
    refused: AtomicU64,
}

impl RequestIds {
    /// Those of a run.
    pub(super) fn new() -> Self {
        let mut run = run();
        run.truncate(8);
        Self { run, refused: AtomicU64::new(0) }
    }

    /// A call's.
    pub(super) fn of_call(&self, serial: u64) -> Arc<str> {
        self.with("", serial)
    }

    /// The next one for a request that is no call.
    pub(super) fn next(&self) -> Arc<str> {
        self.with("r", self.refused.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// One allocation: it is made for every call whose provider gives no id.
    fn with(&self, mark: &str, number: u64) -> Arc<str> {
        let mut room = [0; 48];
        let mut left = &mut room[..];
        // It fits: 35 bytes at most.
        let _ = write!(left, "iron-{}-{mark}{number}", self.run);
        let written = 48 - left.len();
        std::str::from_utf8(&room[..written]).unwrap_or_default().into()
    }
}

/// A random UUID (RFC 9562, version 4).
#[cfg(any(feature = "analytics", test))]
pub(super) fn uuid4() -> String {
    let mut bytes = random::<16>();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        push_hex(&mut text, *byte);
    }
    text
}

/// A random id of a run: 16 hexadecimal digits.
pub(super) fn run() -> String {
    let mut text = String::with_capacity(16);
    random::<8>().iter().for_each(|byte| push_hex(&mut text, *byte));
    text
}

/// What texts are known again by, without being kept: the beginning of their SHA-256, 16 hexadecimal digits.
pub(super) fn hash(parts: &[&str]) -> String {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part.as_bytes());
    }
    let mut text = String::with_capacity(16);
    context.finish().as_ref()[..8].iter().for_each(|byte| push_hex(&mut text, *byte));
    text
}

/// A random share of 1, for waits that must not fall together.
pub(super) fn share() -> f64 {
    f64::from(random::<1>()[0]) / 255.0
}

fn push_hex(text: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    text.push(char::from(DIGITS[usize::from(byte >> 4)]));
    text.push(char::from(DIGITS[usize::from(byte & 15)]));
}

/// Random bytes. Where the system has none to give (it gave some when the router started), the clock must do: nothing secret hangs on ids.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if getrandom::fill(&mut bytes).is_err() {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        bytes.iter_mut().zip(since.as_nanos().to_le_bytes()).for_each(|(byte, of_clock)| *byte = of_clock);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_has_its_version() {
        let id = uuid4();
        let dashes: Vec<_> = id.match_indices('-').map(|(at, _)| at).collect();
        assert_eq!((id.len(), id.as_bytes()[14], dashes), (36, b'4', vec![8, 13, 18, 23]));
        assert!(matches!(id.as_bytes()[19], b'8' | b'9' | b'a' | b'b'));
        assert_ne!(id, uuid4());
        assert_eq!(run().len(), 16);
    }

    #[test]
    fn requests_have_ids_of_their_run() {
        let ids = RequestIds::new();
        let (first, long) = (ids.of_call(1), ids.of_call(u64::MAX));
        assert_eq!((&first[..5], &first[13..], first.len()), ("iron-", "-1", 15), "{first}");
        assert!(first[5..13].bytes().all(|byte| byte.is_ascii_hexdigit()), "{first}");
        assert_eq!(&long[13..], "-18446744073709551615");
        assert_eq!((&ids.next()[13..], &ids.next()[13..]), ("-r1", "-r2"));
    }

    #[test]
    fn hashes_tell_texts_apart() {
        assert_eq!(hash(&["a", "bc"]), hash(&["a", "bc"]));
        for other in [["ab", "c"], ["abc", ""], ["a", "bd"]] {
            assert_ne!(hash(&["a", "bc"]), hash(&other));
        }
        assert_eq!(hash(&[]), "e3b0c44298fc1c14", "SHA-256 of nothing");
    }
}
