//! Ids that nobody else has: of events, of runs.

/// A random UUID (RFC 9562, version 4).
#[cfg(any(test, feature = "analytics"))]
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
    fn hashes_tell_texts_apart() {
        assert_eq!(hash(&["a", "bc"]), hash(&["a", "bc"]));
        for other in [["ab", "c"], ["abc", ""], ["a", "bd"]] {
            assert_ne!(hash(&["a", "bc"]), hash(&other));
        }
        assert_eq!(hash(&[]), "e3b0c44298fc1c14", "SHA-256 of nothing");
    }
}
