//! OpenAI's chat completions: what its requests, replies and events say, and how the form is written in its words.

mod completion;
mod members;
mod read_messages;
mod read_parts;
mod read_reply;
mod read_request;
mod read_stream;
mod read_tools;
mod read_usage;
mod schema;
mod write_messages;
mod write_reply;
mod write_request;
mod write_stream;
mod write_usage;

pub(super) use read_reply::read_reply;
pub(super) use read_request::read_request;
pub(super) use read_stream::StreamReader;
pub(super) use write_reply::write_reply;
pub(super) use write_request::write_request;
pub(super) use write_stream::StreamWriter;
