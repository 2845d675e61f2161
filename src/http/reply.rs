//! The reply to a request, written once, in order.

use std::io;
use std::net::TcpStream;

/// How a streamed reply is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// `Content-Length`.
    Length(u64),
    /// Unknown: chunked for HTTP/1.1, ended by close for 1.0.
    Chunked,
    /// No body follows the head: HEAD (with the `Content-Length` a GET would have had, if known), 204, 304.
    NoBody(Option<u64>),
}

/// The right to answer one request. Dropped unused, the server sends a 500.
pub struct Responder<'a> {
    _gap: std::marker::PhantomData<&'a mut ()>,
}

impl<'a> Responder<'a> {
    /// Sends a whole reply in one write. `headers` must not hold framing fields; they are added. For HEAD the body is left out.
    ///
    /// # Errors
    /// The client can't be written to.
    pub fn send<'h>(self, _status: u16, _headers: impl IntoIterator<Item = (&'h str, &'h [u8])>, _body: &[u8]) -> io::Result<()> {
        todo!()
    }

    /// Begins a streamed reply. The head leaves with the first bytes of the body, or with [`Stream::flush`].
    pub fn start<'h>(self, _status: u16, _headers: impl IntoIterator<Item = (&'h str, &'h [u8])>, _framing: Framing) -> Stream<'a> {
        todo!()
    }

    /// Answers `101 Switching Protocols` and hands the connection over: the socket and the bytes already read from it.
    ///
    /// # Errors
    /// The client can't be written to.
    pub fn upgrade<'h>(self, _headers: impl IntoIterator<Item = (&'h str, &'h [u8])>) -> io::Result<(TcpStream, Vec<u8>)> {
        todo!()
    }

    /// The client's side of the connection, to be asked while nothing is written.
    pub fn client(&self) -> Client {
        todo!()
    }

    /// Closes the connection after this reply.
    pub fn close_after(&mut self) {
        todo!()
    }
}

/// A reply whose head is decided and whose body is under way. Dropped without [`Stream::finish`], the connection is closed so that the
/// client sees the reply broke off.
pub struct Stream<'a> {
    _gap: std::marker::PhantomData<&'a mut ()>,
}

impl Stream<'_> {
    /// Writes body bytes at once: one system call, the head included if it has not left yet, a chunk's size line and end included. Empty
    /// input writes nothing.
    ///
    /// # Errors
    /// The client can't be written to, or more than the announced length was given.
    pub fn write(&mut self, _bytes: &[u8]) -> io::Result<()> {
        todo!()
    }

    /// Sends the head if it has not left yet.
    ///
    /// # Errors
    /// The client can't be written to.
    pub fn flush(&mut self) -> io::Result<()> {
        todo!()
    }

    /// Whether any byte of the reply has left.
    pub fn started(&self) -> bool {
        todo!()
    }

    /// Ends the reply: the final chunk, or nothing more where a length was announced.
    ///
    /// # Errors
    /// The client can't be written to, or fewer bytes than announced were written.
    pub fn finish(self) -> io::Result<()> {
        todo!()
    }

    /// Like [`Stream::finish`], with the last bytes of the body in the same write.
    ///
    /// # Errors
    /// As [`Stream::finish`].
    pub fn finish_with(self, _bytes: &[u8]) -> io::Result<()> {
        todo!()
    }
}

/// The client's side of a connection: can tell whether it has gone. Cheap to clone, `Send`.
#[derive(Clone)]
pub struct Client {
    _gap: (),
}

impl Client {
    /// Whether the client has closed or reset its side (one non-blocking peek; pipelined bytes do not count as gone), or the server is
    /// stopping and cuts what is under way.
    pub fn gone(&self) -> bool {
        todo!()
    }
}
