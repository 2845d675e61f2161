//! The request head: bytes to an [`Inbound`](crate::call::Inbound).
