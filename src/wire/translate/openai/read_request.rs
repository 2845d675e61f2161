//! A chat completion request, read.

use crate::call::Refusal;
use crate::wire::translate::Loss;
use crate::wire::translate::field::Field;
use crate::wire::translate::form::Request;

/// Reads a request; also whether the client wants a stream's usage in a chunk of its own.
///
/// # Errors
/// 400, naming the field.
pub(in super::super) fn read_request<'a>(root: &Field<'a, '_>, loss: &mut Loss) -> Result<(Request<'a>, bool), Refusal> {
    let _ = loss;
    Ok((Request { model: root.required("model")?.text()?, ..Request::default() }, false))
}
