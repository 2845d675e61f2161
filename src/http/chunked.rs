//! The chunked coding of request bodies (RFC 9112 7.1), as a state machine that is fed bytes and says where the payload lies.
//!
//! Strict where others were lenient and got smuggled past: the size is 1 to 16 hex digits and nothing else, lines end in CRLF, extensions
//! are parsed and bounded, trailer fields follow the rules of header fields and are dropped. The result does not depend on how the bytes
//! were cut.

use super::head::is_token_byte;

/// The longest extension of one chunk, and the most that all extensions and trailers of a body may take together.
const MAX_EXTENSION_BYTES: usize = 256;
const MAX_ASIDE_BYTES: usize = 16 << 10;

/// The coding is malformed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the size, with so many digits read.
    Size(u8),
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailer,
    End,
}

/// How far the coding has been read.
#[derive(Debug)]
pub(super) struct Chunked {
    state: State,
    /// The size of the chunk being announced, then what is left of it.
    left: u64,
    /// The extension or trailer line being read.
    line: Vec<u8>,
    /// Bytes of extensions and trailers so far.
    aside: usize,
}

impl Chunked {
    pub(super) fn new() -> Self {
        Self { state: State::Size(0), left: 0, line: Vec::new(), aside: 0 }
    }

    /// Whether the final chunk and the trailers have been read.
    pub(super) fn ended(&self) -> bool {
        self.state == State::End
    }

    /// Payload bytes that follow at once; 0 when framing comes first.
    pub(super) fn payload(&self) -> u64 {
        if self.state == State::Data { self.left } else { 0 }
    }

    /// `count` payload bytes were taken.
    pub(super) fn took(&mut self, count: u64) {
        debug_assert!(count <= self.payload());
        self.left -= count;
        if self.left == 0 {
            self.state = State::DataCr;
        }
    }

    /// Reads framing up to the next payload, the end of the body or the end of `input`; the number of bytes read.
    pub(super) fn advance(&mut self, input: &[u8]) -> Result<usize, Malformed> {
        for (at, &byte) in input.iter().enumerate() {
            if matches!(self.state, State::Data | State::End) {
                return Ok(at);
            }
            self.state = self.step(byte)?;
        }
        Ok(input.len())
    }

    fn step(&mut self, byte: u8) -> Result<State, Malformed> {
        match (self.state, byte) {
            (State::Size(digits), _) => self.size(digits, byte),
            (State::Extension, b'\r') if is_extension(&self.line) => Ok(State::SizeLf),
            (State::Extension, b'\r') => Err(Malformed),
            (State::Extension, _) if is_text_byte(byte) => self.keep(byte, MAX_EXTENSION_BYTES).map(|()| State::Extension),
            (State::SizeLf, b'\n') => {
                self.line.clear();
                Ok(if self.left == 0 { State::Trailer } else { State::Data })
            }
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::Size(0)),
            (State::Trailer, b'\n') => self.end_trailer_line(),
            (State::Trailer, _) => self.keep(byte, MAX_ASIDE_BYTES).map(|()| State::Trailer),
            _ => Err(Malformed),
        }
    }

    fn size(&mut self, digits: u8, byte: u8) -> Result<State, Malformed> {
        match (char::from(byte).to_digit(16), byte) {
            (Some(digit), _) if digits < 16 => {
                self.left = self.left << 4 | u64::from(digit);
                Ok(State::Size(digits + 1))
            }
            (None, b'\r') if digits > 0 => Ok(State::SizeLf),
            (None, b';') if digits > 0 => self.keep(byte, MAX_EXTENSION_BYTES).map(|()| State::Extension),
            _ => Err(Malformed),
        }
    }

    fn keep(&mut self, byte: u8, limit: usize) -> Result<(), Malformed> {
        self.aside += 1;
        if self.line.len() >= limit || self.aside > MAX_ASIDE_BYTES {
            return Err(Malformed);
        }
        self.line.push(byte);
        Ok(())
    }

    fn end_trailer_line(&mut self) -> Result<State, Malformed> {
        let state = match self.line.strip_suffix(b"\r") {
            Some(b"") => State::End,
            Some(field) if is_field(field) => State::Trailer,
            _ => return Err(Malformed),
        };
        self.line.clear();
        Ok(state)
    }
}

/// One header field: a token, a colon, a value without controls.
fn is_field(line: &[u8]) -> bool {
    let Some(colon) = memchr::memchr(b':', line) else { return false };
    colon > 0 && line[..colon].iter().copied().all(is_token_byte) && line[colon + 1..].iter().copied().all(is_text_byte)
}

fn is_text_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// `*( ";" name [ "=" value ] )` with spaces around the parts, the value a token or a quoted string.
fn is_extension(mut text: &[u8]) -> bool {
    while let Some(rest) = text.strip_prefix(b";") {
        let rest = rest.trim_ascii_start();
        let name = token_length(rest);
        if name == 0 {
            return false;
        }
        text = rest[name..].trim_ascii_start();
        if let Some(value) = text.strip_prefix(b"=") {
            let value = value.trim_ascii_start();
            let Some(length) = value_length(value) else { return false };
            text = value[length..].trim_ascii_start();
        }
    }
    text.is_empty()
}

fn token_length(text: &[u8]) -> usize {
    text.iter().take_while(|&&byte| is_token_byte(byte)).count()
}

fn value_length(text: &[u8]) -> Option<usize> {
    if text.first() != Some(&b'"') {
        return Some(token_length(text)).filter(|&length| length > 0);
    }
    let mut escaped = false;
    for (at, &byte) in text.iter().enumerate().skip(1) {
        match byte {
            _ if !is_text_byte(byte) => return None,
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Payload, and how many bytes of the input belong to the body, fed in pieces of the given lengths (then the rest).
    fn decode(input: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, Option<usize>), Malformed> {
        let (mut chunked, mut payload, mut at) = (Chunked::new(), Vec::new(), 0);
        let mut cuts = cuts.iter().copied();
        while at < input.len() && !chunked.ended() {
            let mut piece = &input[at..input.len().min(at + cuts.next().unwrap_or(input.len()).max(1))];
            while !piece.is_empty() && !chunked.ended() {
                let skipped = chunked.advance(piece)?;
                let rest = &piece[skipped..];
                let data = rest.len().min(usize::try_from(chunked.payload()).unwrap_or(usize::MAX));
                payload.extend_from_slice(&rest[..data]);
                if data > 0 {
                    chunked.took(data as u64);
                }
                at += skipped + data;
                piece = &rest[data..];
            }
        }
        Ok((payload, chunked.ended().then_some(at)))
    }

    const BODY: &[u8] = b"5\r\nhello\r\n1;a;b=c ; d = \"e\\\";\"\r\n \r\n00A\r\n0123456789\r\n0\r\nX-Trailer: yes\r\n\r\nGET / ";

    #[test]
    fn decodes_and_stops_at_the_end() {
        assert_eq!(decode(BODY, &[]), Ok((b"hello 0123456789".to_vec(), Some(BODY.len() - 6))));
    }

    #[test]
    fn every_cut_in_two_gives_the_same() {
        for cut in 0..BODY.len() {
            assert_eq!(decode(BODY, &[cut]), decode(BODY, &[]), "cut at {cut}");
        }
    }

    #[test]
    fn every_beginning_is_unfinished() {
        for end in 0..BODY.len() - 6 {
            assert!(decode(&BODY[..end], &[]).is_ok_and(|(_, used)| used.is_none()), "cut at {end}");
        }
    }

    proptest! {
        #[test]
        fn any_cutting_gives_the_same(cuts in proptest::collection::vec(1usize..9, 0..60)) {
            prop_assert_eq!(decode(BODY, &cuts), decode(BODY, &[]));
        }

        #[test]
        fn any_bytes_are_judged_the_same_however_cut(bytes in "[0-9a-f;\r\n x:=\"]{0,40}", cut in 1usize..40) {
            prop_assert_eq!(decode(bytes.as_bytes(), &[cut]), decode(bytes.as_bytes(), &[]));
        }
    }

    #[test]
    fn malformed() {
        for bad in [
            "\r\n",
            "x\r\n",
            "0x5\r\n",
            "+5\r\n",
            "-1\r\n",
            " 5\r\n",
            "5 \r\n",
            "5\n",
            "5\rx",
            "12345678901234567\r\n",
            "5;\r\n",
            "5;=a\r\n",
            "5;a=\r\n",
            "5;a=\"x\r\n",
            "5;a b\r\n",
            "5;a\n",
            "5 ;a\r\n",
            "1\r\naX\r\n",
            "1\r\na\n",
            "1\r\na\rX",
            "0\r\nX Y: z\r\n",
            "0\r\n: z\r\n",
            "0\r\nnone\r\n",
            "0\r\n X: y\r\n",
            "0\r\nX: y\n",
            "0\r\nX: \0\r\n",
            "0\r\n\n",
            "0\r\nX: a\rb\r\n",
        ] {
            assert_eq!(decode(bad.as_bytes(), &[]), Err(Malformed), "{bad:?}");
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let long = format!("1;{}\r\n", "a".repeat(MAX_EXTENSION_BYTES));
        assert_eq!(decode(long.as_bytes(), &[]), Err(Malformed));
        let many = format!("1;{}\r\nx\r\n", "a".repeat(200)).repeat(100);
        assert_eq!(decode(many.as_bytes(), &[]), Err(Malformed));
        let trailers = format!("0\r\n{}", "A: b\r\n".repeat(4000));
        assert_eq!(decode(trailers.as_bytes(), &[]), Err(Malformed));
    }
}
