//! Where figures come from: the one place here that asks the ledger and the table of prices.

use super::Which;
use super::calls::Line;
use crate::call::Protocol;
use crate::config::Upstream;
use crate::error::Error;
use crate::money::Price;
use crate::policy::Prices;
use crate::provider::provider_of_model;
use crate::settings::{Outside, Settings};
use crate::tally::Tally;
use std::path::Path;
use std::sync::Arc;

/// Sums over the calls that are asked for.
pub(super) fn tally(path: &Path, _which: &Which) -> Result<Tally, Error> {
    Err(no_ledger(path))
}

/// The last of the calls that are asked for, the latest last.
pub(super) fn calls(path: &Path, _which: &Which, _limit: u64) -> Result<Vec<Line>, Error> {
    Err(no_ledger(path))
}

/// Why a ledger that is there can't be read.
pub(in super::super) fn ledger_fault(_path: &Path) -> Option<Error> {
    None
}

fn no_ledger(path: &Path) -> Error {
    Error::Config(format!("{}: this program was built without a ledger (feature ledger)", path.display()))
}

/// Every price that is known with these settings.
pub(in super::super) fn price_book(settings: &Settings, outside: &Outside<'_>) -> Result<Book, Error> {
    match settings.prices(outside) {
        None => Ok(Book(Prices::bundled())),
        Some(path) => {
            (outside.read)(&path).map_err(|source| Error::Io { what: format!("prices: read {}", path.display()), source })?;
            Ok(Book(Prices::bundled()))
        }
    }
}

/// The table of prices.
pub(in super::super) struct Book(Prices);

impl Book {
    /// The price of a model, and the rule of names by which it was found. Without an upstream: at the provider that its name tells, else at
    /// either of the two.
    pub(in super::super) fn explain(&self, model: &str, upstream: Option<&str>) -> Option<(Arc<Price>, &'static str)> {
        let both = [Protocol::OpenAi, Protocol::Anthropic];
        let protocols = match provider_of_model(model) {
            Some(protocol) => vec![protocol],
            None => both.to_vec(),
        };
        protocols.into_iter().find_map(|protocol| {
            let price = self.0.find(upstream.unwrap_or(protocol.as_str()), protocol, model)?;
            Some((price, "by its name"))
        })
    }

    /// The price of a model at an upstream of the settings.
    pub(in super::super) fn at(&self, upstream: &Upstream, model: &str) -> Option<Arc<Price>> {
        self.0.find(&upstream.name, upstream.protocol, model)
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Arc<Price>> {
        Vec::new()
    }

    /// The version of the bundled table.
    pub(super) fn version(&self) -> String {
        String::new()
    }
}
