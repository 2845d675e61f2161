//! A request's body: in memory where a JSON value is expected, counted among all of them, else streamed from client to upstream.

use super::{Proxy, Routed};
use crate::call::{BodyLength, Inbound, Reason, Refusal};
use crate::config::Limits;
use crate::http::{Body, BodyBuffer, BodyError};
use crate::proxy::upstream::{Sending, body_refusal};
use crate::wire::route::{self, Target};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// How much of a request body of unknown length is read at once.
const PIECE: usize = 16 << 10;

/// The most memory that a thread keeps for its next request body.
const SPARE_BYTES: usize = 256 << 10;

thread_local! {
    /// Empty, with the memory of the last body.
    static SPARE: Cell<BodyBuffer> = Cell::default();
}

impl Proxy {
    /// Reads a JSON body into memory; leaves any other where it is.
    pub(super) fn buffer(&self, request: &Inbound<'_>, target: &Target<'_>, body: &mut Body<'_>) -> Result<Option<Buffered<'_>>, Refusal> {
        if let BodyLength::Fixed(length) = request.length
            && length > self.config.limits.max_upload_bytes
        {
            return Err(body_refusal(&BodyError::TooLarge, "--max-upload-bytes"));
        }
        let is_json = wants_json(request, target) && request.headers.get("content-encoding").is_none();
        if request.method != "POST" || !is_json {
            return Ok(None);
        }
        let mut buffered = Buffered::new(&self.buffered);
        match request.length {
            BodyLength::None => {}
            BodyLength::Fixed(length) => {
                let Limits { max_body_bytes, max_buffered_bytes, .. } = self.config.limits;
                buffered.count(length.min(max_body_bytes), max_buffered_bytes)?;
                body.read_into(max_body_bytes, &mut buffered.body).map_err(json_fault)?;
            }
            BodyLength::Chunked => self.buffer_pieces(body, &mut buffered)?,
        }
        Ok(Some(buffered))
    }

    /// Of unknown length: counted piece by piece, so that many small ones are not taken for many large ones.
    fn buffer_pieces(&self, body: &mut Body<'_>, buffered: &mut Buffered<'_>) -> Result<(), Refusal> {
        let Limits { max_body_bytes, max_buffered_bytes, .. } = self.config.limits;
        let deadline = body.deadline();
        loop {
            buffered.count(PIECE as u64, max_buffered_bytes)?;
            let count = body.read_more(PIECE, deadline, &mut buffered.body).map_err(json_fault)?;
            buffered.uncount((PIECE - count) as u64);
            if buffered.bytes().len() as u64 > max_body_bytes {
                return Err(json_fault(BodyError::TooLarge));
            }
            if count == 0 {
                return Ok(());
            }
        }
    }
}

/// A request body in memory, counted among all of them while it lives.
pub(super) struct Buffered<'p> {
    pub(super) body: BodyBuffer,
    counted: u64,
    all: &'p AtomicU64,
}

impl<'p> Buffered<'p> {
    fn new(all: &'p AtomicU64) -> Self {
        Self { body: SPARE.take(), counted: 0, all }
    }

    /// What came, or what became of it.
    pub(super) fn bytes(&self) -> &[u8] {
        self.body.filled()
    }

    /// So many bytes more.
    pub(super) fn count(&mut self, bytes: u64, limit: u64) -> Result<(), Refusal> {
        let before = self.all.fetch_add(bytes, Ordering::Relaxed);
        self.counted += bytes;
        if before + bytes <= limit {
            return Ok(());
        }
        Err(Refusal::new(
            Reason::Overloaded("router_busy"),
            format!("request bodies under way hold {before} of {limit} bytes; try again in a moment"),
        ))
    }

    fn uncount(&mut self, bytes: u64) {
        self.all.fetch_sub(bytes, Ordering::Relaxed);
        self.counted -= bytes;
    }
}

impl Drop for Buffered<'_> {
    fn drop(&mut self) {
        self.all.fetch_sub(self.counted, Ordering::Relaxed);
        let mut body = std::mem::take(&mut self.body);
        if body.capacity() <= SPARE_BYTES {
            body.clear();
            SPARE.set(body);
        }
    }
}

/// A streamed request body with a bound.
pub(super) struct Upload<'u, 'b> {
    pub(super) body: &'u mut Body<'b>,
    pub(super) left: u64,
}

impl std::io::Read for Upload<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let count = self.body.read(buf)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| std::io::Error::other(BodyError::TooLarge))?;
        Ok(count)
    }
}

/// The body to send: what was buffered, what streams, or nothing. A POST, PUT or PATCH without one has an empty one.
pub(super) fn sending<'s>(routed: &'s Routed<'_>, request: &Inbound<'_>, upload: &'s mut Upload<'_, '_>) -> Sending<'s> {
    match (&routed.body, request.length) {
        (Some(body), _) => Sending::Buffered(body.bytes()),
        (None, BodyLength::None | BodyLength::Fixed(0)) if matches!(request.method, "POST" | "PUT" | "PATCH") => Sending::Buffered(&[]),
        (None, BodyLength::None | BodyLength::Fixed(0)) => Sending::Nothing,
        (None, length) => Sending::Streamed(upload, length),
    }
}

/// Whether a POST's body is one JSON object: by its content type, or because the endpoint takes nothing else.
fn wants_json(request: &Inbound<'_>, target: &Target<'_>) -> bool {
    let kind = request.headers.text("content-type").unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let is_json =
        kind.eq_ignore_ascii_case("application/json") || kind.len() > 5 && kind.as_bytes()[kind.len() - 5..].eq_ignore_ascii_case(b"+json");
    is_json || route::endpoint(target.path).takes_model() && !kind.to_ascii_lowercase().starts_with("multipart/")
}

fn json_fault(fault: BodyError) -> Refusal {
    body_refusal(&fault, "--max-body-bytes")
}
