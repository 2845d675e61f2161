//! The body of a request, read on demand.

use std::io;

/// What can go wrong while a request body is read.
#[derive(Debug)]
pub enum BodyError {
    /// Over the limit the reader gave; nothing beyond it was kept.
    TooLarge,
    /// The chunked coding is malformed.
    BadChunk,
    /// The client closed before the end.
    Truncated,
    /// The client was silent for too long.
    Timeout,
    /// The connection failed.
    Io(io::Error),
}

/// A request body. Reading it sends `100 Continue` first where the client waits for that.
pub struct Body<'a> {
    _gap: std::marker::PhantomData<&'a mut ()>,
}

impl Body<'_> {
    /// Appends the whole body to `into`; reads no further than `limit` bytes.
    ///
    /// # Errors
    /// [`BodyError`]; after one, the connection closes once the reply is sent.
    pub fn read_all(&mut self, _limit: u64, _into: &mut Vec<u8>) -> Result<(), BodyError> {
        todo!()
    }

    /// The next bytes of the body, decoded; 0 at its end.
    ///
    /// # Errors
    /// [`BodyError`], as [`Body::read_all`].
    pub fn read_some(&mut self, _buf: &mut [u8]) -> Result<usize, BodyError> {
        todo!()
    }
}

/// The same as [`Body::read_some`], with the error inside an [`io::Error`] (its `get_ref` is the [`BodyError`]).
impl io::Read for Body<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.read_some(buf).map_err(io::Error::other)
    }
}

impl std::fmt::Display for BodyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLarge => f.write_str("request body over its limit"),
            Self::BadChunk => f.write_str("malformed chunked coding"),
            Self::Truncated => f.write_str("client closed before the end of its body"),
            Self::Timeout => f.write_str("client was silent for too long inside its body"),
            Self::Io(source) => write!(f, "read request body: {source}"),
        }
    }
}

impl std::error::Error for BodyError {}
