//! The encodings that replies need: base64 (RFC 4648), gzip without compression (RFC 1952 with stored blocks of RFC 1951), ids.
//!
//! A gzip stream of stored blocks is valid and can be ended at every event, which is all that a test of pass-through needs; it saves the
//! mock a compression library.

use std::hash::{DefaultHasher, Hash, Hasher};

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Standard base64 with padding.
pub(super) fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word = group.iter().enumerate().fold(0u32, |word, (nth, byte)| word | u32::from(*byte) << (16 - 8 * nth));
        for nth in 0..4 {
            let digit = BASE64[(word >> (18 - 6 * nth)) as usize & 63];
            text.push(if nth <= group.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

/// The bytes of standard base64 with padding; `None` if a text is none.
pub(super) fn from_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    if !text.len().is_multiple_of(4) || text.len() - digits.len() > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for group in digits.chunks(4) {
        let word = group.iter().try_fold(0u32, |word, digit| Some(word << 6 | value_of(*digit)?))? << (6 * (4 - group.len()));
        bytes.extend_from_slice(&word.to_be_bytes()[1..group.len()]);
    }
    Some(bytes)
}

fn value_of(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

/// A short digest of a text, 16 hexadecimal digits; for names, not for security.
pub(super) fn digest(text: &str) -> String {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Random bytes; zeros where the system has no randomness to give.
pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Nothing secret hangs on a mock's ids: without a random source they are only less unique.
    let _ = getrandom::fill(&mut bytes);
    bytes
}

/// A random UUID (RFC 9562, version 4).
pub(super) fn uuid4() -> String {
    let mut bytes = random::<16>();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// A gzip stream under way.
pub(super) struct Gzip {
    crc: u32,
    length: u32,
    started: bool,
}

impl Gzip {
    /// An empty stream.
    pub(super) fn new() -> Self {
        Self { crc: !0, length: 0, started: false }
    }

    /// The next bytes, encoded; with the gzip header before the first ones.
    pub(super) fn encode(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len() + 32);
        if !self.started {
            self.started = true;
            out.extend_from_slice(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
        }
        for part in bytes.chunks(usize::from(u16::MAX)) {
            out.push(0);
            stored(part, &mut out);
        }
        self.crc = bytes.iter().fold(self.crc, |crc, byte| crc32(crc, *byte));
        self.length = self.length.wrapping_add(bytes.len() as u32);
        out
    }

    /// The end of the stream: an empty last block, checksum and length.
    pub(super) fn end(mut self) -> Vec<u8> {
        let mut out = self.encode(&[]);
        out.push(1);
        stored(&[], &mut out);
        out.extend_from_slice(&(!self.crc).to_le_bytes());
        out.extend_from_slice(&self.length.to_le_bytes());
        out
    }
}

/// The rest of a stored block after its type: length, its complement, the bytes (at most 65,535).
fn stored(bytes: &[u8], out: &mut Vec<u8>) {
    let length = bytes.len() as u16;
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&(!length).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn crc32(crc: u32, byte: u8) -> u32 {
    (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_rfc_4648() {
        for (plain, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(plain.as_bytes()), text);
            assert_eq!(from_base64(text).as_deref(), Some(plain.as_bytes()));
        }
        for text in ["Z", "Zg", "Zg=", "Z===", "Zm9v\n", "Zm-_", "Zg==Zg==", "data:,"] {
            assert_eq!(from_base64(text), None, "{text}");
        }
    }

    #[test]
    fn gzip_frames_the_bytes() {
        let mut gzip = Gzip::new();
        let mut out = gzip.encode(b"12345");
        out.extend(gzip.encode(b"6789"));
        out.extend(gzip.end());
        // The check value of CRC-32 for "123456789" is cbf43926.
        let end = [&[1, 0, 0, 0xff, 0xff][..], &0xcbf4_3926u32.to_le_bytes(), &9u32.to_le_bytes()].concat();
        assert_eq!(&out[10..20], b"\x00\x05\x00\xfa\xff12345");
        assert!(out.starts_with(&[0x1f, 0x8b, 8]) && out.ends_with(&end));
    }

    #[test]
    fn a_uuid_has_its_version() {
        let id = uuid4();
        assert_eq!((id.len(), id.as_bytes()[14]), (36, b'4'));
        assert!(matches!(id.as_bytes()[19], b'8' | b'9' | b'a' | b'b'));
        assert_ne!(id, uuid4());
    }
}
