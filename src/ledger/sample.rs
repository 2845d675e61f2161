//! Rows and places for the tests of the ledger.

use crate::call::{End, Outcome, Stages};
use crate::clock::UnixMs;
use crate::money::{NanoUsd, Tier, Usage};
use crate::row::{Bill, RequestInfo, Row};
#[cfg(feature = "ledger")]
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A call that cost as many nano-dollars as its number.
pub(super) fn row(serial: u64) -> Row {
    Row::new(
        RequestInfo {
            serial,
            at: UnixMs(1_700_000_000_000 + serial),
            agent: Some(if serial.is_multiple_of(2) { "even" } else { "odd" }.into()),
            upstream: "openai".into(),
            method: "POST".into(),
            path: "/v1/chat/completions".into(),
            model: Some("gpt-4o-mini".into()),
            stream: true,
            request_bytes: None,
            translated: false,
        },
        Outcome {
            status: 200,
            end: End::Complete,
            reply_bytes: 100,
            first_byte: Some(Duration::from_micros(500)),
            total: Duration::from_millis(2),
            stages: Stages::default(),
        },
        Bill {
            usage: Some(Usage { input: 10, output: 5, ..Usage::default() }),
            cost: Some(NanoUsd(serial)),
            estimated: true,
            price: None,
            tier: Tier::Standard,
        },
        None,
    )
}

/// A directory of a test's own, removed at its end.
#[cfg(feature = "ledger")]
pub(super) struct Dir(PathBuf);

#[cfg(feature = "ledger")]
impl Dir {
    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

#[cfg(feature = "ledger")]
impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A new directory.
#[cfg(feature = "ledger")]
pub(super) fn dir() -> Dir {
    let dir = std::env::temp_dir().join(format!("iron-ledger-{}", super::entry::run_id().expect("random")));
    std::fs::create_dir(&dir).expect("a new directory");
    Dir(dir)
}
