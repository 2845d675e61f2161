//! Anthropic's messages: what its requests, replies and events say, and how the form is written in its words.

mod marks;
mod read_blocks;
mod read_reply;
mod read_request;
mod read_settings;
mod read_stream;
mod read_usage;
mod thinking;
mod write_reply;
mod write_request;
mod write_stream;
mod write_tools;
mod write_turns;
mod write_usage;

pub(super) use marks::thin_marks;
pub(super) use read_reply::read_reply;
pub(super) use read_request::{read_conversation, read_request};
pub(super) use read_stream::StreamReader;
pub(super) use write_reply::write_reply;
pub(super) use write_request::write_request;
pub(super) use write_stream::StreamWriter;
