//! HTTP/1.1 messages as bytes, read strictly and by other code than the router's own: both ends of a test use it.

/// The head of a message.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    /// The request or status line.
    pub(crate) first: String,
    /// Names in lower case and raw values, in order.
    pub(crate) fields: Vec<(String, Vec<u8>)>,
    /// Bytes of the head, the empty line included.
    pub(crate) length: usize,
}

impl Head {
    /// The head at the beginning of `bytes`, once it is there whole.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let length = find(bytes, b"\r\n\r\n")? + 4;
        let mut lines = split_lines(&bytes[..length - 4]);
        let first = String::from_utf8(lines.remove(0).to_vec()).expect("the first line is ASCII");
        let fields = lines.into_iter().map(field).collect();
        Some(Self { first, fields, length })
    }

    /// All values of a field, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&[u8]> {
        self.fields.iter().filter(|(field, _)| field == name).map(|(_, value)| value.as_slice()).collect()
    }

    /// The value of a field that stands there once at most.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        let values = self.all(name);
        assert!(values.len() <= 1, "{name} stands there {} times", values.len());
        values.first().map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// The names, sorted, each once.
    pub(crate) fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.fields.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The status of a reply.
    pub(crate) fn status(&self) -> u16 {
        let digits = self.first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
        digits.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("status line {:?}", self.first))
    }

    fn is_chunked(&self) -> bool {
        self.get("transfer-encoding").is_some_and(|coding| coding == "chunked")
    }

    fn content_length(&self) -> Option<usize> {
        self.get("content-length").map(|digits| digits.parse().expect("content-length"))
    }

    /// How far the body of a request is.
    pub(crate) fn request_body(&self, raw: &[u8]) -> Body {
        if self.is_chunked() { dechunk(raw) } else { fixed(raw, self.content_length().unwrap_or(0)) }
    }

    /// How far the body of a reply to `method` is; `over` says that no more bytes will come.
    pub(crate) fn reply_body(&self, method: &str, raw: &[u8], over: bool) -> Body {
        assert!(!(self.is_chunked() && self.content_length().is_some()), "both framings: {self:?}");
        if method == "HEAD" || matches!(self.status(), 204 | 304) {
            fixed(raw, 0)
        } else if self.is_chunked() {
            dechunk(raw)
        } else if let Some(length) = self.content_length() {
            fixed(raw, length)
        } else {
            Body { data: raw.to_vec(), end: over.then_some(raw.len()) }
        }
    }
}

/// What has come of a body.
#[derive(Debug)]
pub(crate) struct Body {
    /// Decoded.
    pub(crate) data: Vec<u8>,
    /// The raw bytes it took, once it is whole.
    pub(crate) end: Option<usize>,
}

fn fixed(raw: &[u8], length: usize) -> Body {
    Body { data: raw[..raw.len().min(length)].to_vec(), end: (raw.len() >= length).then_some(length) }
}

/// Decodes chunks; what is there of an unfinished chunk counts as data.
pub(crate) fn dechunk(raw: &[u8]) -> Body {
    let (mut data, mut at) = (Vec::new(), 0);
    loop {
        let Some(line) = find(&raw[at..], b"\r\n") else { return Body { data, end: None } };
        let digits = std::str::from_utf8(&raw[at..at + line]).expect("chunk size");
        let size = usize::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("chunk size {digits:?}"));
        at += line + 2;
        let there = raw.len().saturating_sub(at).min(size);
        data.extend_from_slice(&raw[at..at + there]);
        if raw.len() < at + size + 2 {
            return Body { data, end: None };
        }
        assert_eq!(&raw[at + size..at + size + 2], b"\r\n", "the end of a chunk");
        at += size + 2;
        if size == 0 {
            return Body { data, end: Some(at) };
        }
    }
}

/// Chunk-encodes `parts`, one chunk each, with the final chunk.
pub(crate) fn chunked(parts: &[&[u8]]) -> Vec<u8> {
    let mut raw: Vec<u8> = parts.iter().flat_map(|part| chunk(part)).collect();
    raw.extend_from_slice(b"0\r\n\r\n");
    raw
}

/// One chunk.
pub(crate) fn chunk(data: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat()
}

/// Where `needle` begins in `bytes`.
pub(crate) fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

fn split_lines(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut lines, mut rest) = (Vec::new(), bytes);
    while let Some(at) = find(rest, b"\r\n") {
        lines.push(&rest[..at]);
        rest = &rest[at + 2..];
    }
    lines.push(rest);
    lines
}

fn field(line: &[u8]) -> (String, Vec<u8>) {
    let colon = line.iter().position(|b| *b == b':').unwrap_or_else(|| panic!("field {:?}", String::from_utf8_lossy(line)));
    let name = String::from_utf8(line[..colon].to_ascii_lowercase()).expect("field name");
    (name, line[colon + 1..].trim_ascii().to_vec())
}
