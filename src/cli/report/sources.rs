//! Where figures come from: the one place here that asks the ledger and the table of prices.

use crate::call::Protocol;
use crate::config::Upstream;
use crate::error::Error;
use crate::policy::{Found, Prices};
use crate::provider::provider_of_model;
use crate::settings::{Outside, Settings};

#[cfg(feature = "ledger")]
pub(in super::super) use kept::ledger_fault;
#[cfg(feature = "ledger")]
pub(super) use kept::{calls, tally};
#[cfg(not(feature = "ledger"))]
pub(in super::super) use missing::ledger_fault;
#[cfg(not(feature = "ledger"))]
pub(super) use missing::{calls, tally};

#[cfg(feature = "ledger")]
mod kept {
    use super::super::Which;
    use super::super::calls::Line;
    use crate::error::Error;
    use crate::ledger::{Entry, Filter, Report};
    use crate::tally::Tally;
    use std::path::Path;

    /// Sums over the calls that are asked for.
    pub(in super::super) fn tally(path: &Path, which: &Which) -> Result<Tally, Error> {
        Report::open(path)?.tally(&filter(which))
    }

    /// The last of the calls that are asked for, the latest last.
    pub(in super::super) fn calls(path: &Path, which: &Which, limit: usize) -> Result<Vec<Line>, Error> {
        let report = Report::open(path)?;
        let mut calls = report.rows(&filter(which), limit)?.map(|entry| entry.map(line)).collect::<Result<Vec<_>, _>>()?;
        calls.reverse();
        Ok(calls)
    }

    /// Why a ledger that is there can't be read.
    pub(in super::super::super) fn ledger_fault(path: &Path) -> Option<Error> {
        Report::open(path).and_then(|report| report.tally(&Filter::default())).err()
    }

    fn filter(which: &Which) -> Filter {
        let Which { since, until, agent, model, provider } = which.clone();
        Filter { since, until, agent, model, provider }
    }

    fn line(entry: Entry) -> Line {
        Line {
            at: entry.at,
            input_tokens: entry.usage.map_or(0, |usage| usage.input_tokens()),
            output_tokens: entry.usage.map_or(0, |usage| usage.output_tokens()),
            agent: entry.agent,
            model: entry.model,
            provider: entry.provider,
            path: entry.path,
            stream: entry.stream,
            status: entry.status,
            end: entry.end,
            code: entry.code,
            cost: entry.cost,
            estimated: entry.estimated,
        }
    }
}

/// What a program without a ledger says.
#[cfg(not(feature = "ledger"))]
mod missing {
    use super::super::Which;
    use super::super::calls::Line;
    use crate::error::Error;
    use crate::tally::Tally;
    use std::path::Path;

    pub(in super::super) fn tally(path: &Path, _which: &Which) -> Result<Tally, Error> {
        Err(fault(path))
    }

    pub(in super::super) fn calls(path: &Path, _which: &Which, _limit: usize) -> Result<Vec<Line>, Error> {
        Err(fault(path))
    }

    pub(in super::super::super) fn ledger_fault(path: &Path) -> Option<Error> {
        Some(fault(path))
    }

    fn fault(path: &Path) -> Error {
        Error::Config(format!("{}: this program was built without a ledger (feature ledger)", path.display()))
    }
}

/// The prices that calls are charged with under these settings.
///
/// # Errors
/// The file of prices can't be read or is malformed.
pub(in super::super) fn prices(settings: &Settings, outside: &Outside<'_>) -> Result<Prices, Error> {
    let Some(path) = settings.prices(outside) else { return Ok(Prices::bundled()) };
    let text = (outside.read)(&path).map_err(|source| Error::Io { what: format!("prices: read {}", path.display()), source })?;
    Prices::bundled().with_file(&text, &path.display().to_string()).map_err(|error| Error::Config(format!("prices: {error}")))
}

/// What a model is charged at this upstream. Without one: at the provider that the model's name tells; else at either of the two, or as an
/// added upstream would charge it.
pub(super) fn explain(prices: &Prices, model: &str, upstream: Option<&str>) -> Option<Found> {
    let by_name = provider_of_model(model);
    if let Some(upstream) = upstream {
        return prices.explain(upstream, by_name.unwrap_or(protocol_of(upstream)), model);
    }
    let places = match by_name {
        Some(protocol) => vec![(protocol.as_str(), protocol)],
        None => vec![("openai", Protocol::OpenAi), ("anthropic", Protocol::Anthropic), ("any upstream", Protocol::OpenAi)],
    };
    places.into_iter().find_map(|(upstream, protocol)| prices.explain(upstream, protocol, model))
}

fn protocol_of(upstream: &str) -> Protocol {
    if upstream == "anthropic" { Protocol::Anthropic } else { Protocol::OpenAi }
}

/// Whether a model's price is known at an upstream of the settings.
pub(in super::super) fn is_priced(prices: &Prices, upstream: &Upstream, model: &str) -> bool {
    prices.find(&upstream.name, upstream.protocol, model).is_some()
}
