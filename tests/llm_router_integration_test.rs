//! The router on loopback between a raw client and a scripted provider: what crosses it, what it answers itself, and how it behaves
//! when either side misbehaves. Nothing here sleeps for an order or measures time: what must wait waits for an event, up to [`it::WAIT`].

#![cfg(feature = "enabled")]

mod it;
