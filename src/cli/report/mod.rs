//! `report`: what was spent, by the ledger, and what is charged, by the table of prices. Reads only.

mod calls;
mod dates;
mod prices;
mod sources;
mod spend;
mod table;

pub(super) use sources::{is_priced, ledger_fault, prices as price_table};

use super::args::Invocation;
use super::console::Console;
use super::{FAILED, OK, USAGE, explain};
use crate::clock::UnixMs;
use crate::error::Error;
use crate::policy::{Found, Prices};
use crate::settings::{Outside, Settings, nearest, quoted};
use std::path::Path;

/// Calls that `--rows` shows.
const USUAL_ROWS: usize = 1000;
/// Calls that it can be made to show; more is for a program that reads the file itself.
const MOST_ROWS: u64 = 10_000_000;

/// Names of prices that a model without one is compared to.
const MOST_NEAR: usize = 8;

/// Which calls are asked for; `None`: any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Which {
    /// From here on.
    since: Option<UnixMs>,
    /// Before this.
    until: Option<UnixMs>,
    agent: Option<String>,
    model: Option<String>,
    provider: Option<String>,
}

/// How the report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    Json,
    Csv,
}

pub(super) fn run(invocation: &Invocation, outside: &Outside<'_>, console: &mut Console) -> u8 {
    let told = asked(invocation).map_err(|why| (why, USAGE)).and_then(|asked| {
        let settings = invocation.settings.clone().complete(outside).map_err(|error| explain(&error))?;
        tell(&asked, &settings, outside)
    });
    match told {
        Ok(text) => {
            console.piece(&text);
            OK
        }
        Err((why, code)) => {
            console.problem(&why);
            code
        }
    }
}

/// A report that was asked for.
enum Asked {
    Spend(Which, Form),
    Rows(Which, Form, usize),
    /// Every price, or a model's at an upstream.
    Prices {
        model: Option<String>,
        upstream: Option<String>,
        form: Form,
    },
}

fn asked(invocation: &Invocation) -> Result<Asked, String> {
    let form = match (invocation.has("json"), invocation.has("csv")) {
        (true, true) => return Err("--json and --csv: give one of them".into()),
        (true, false) => Form::Json,
        (false, true) => Form::Csv,
        (false, false) => Form::Text,
    };
    match invocation.texts.first().map(String::as_str) {
        None => spending(invocation, form),
        Some("prices") => {
            let of_calls = ["rows", "limit", "csv", "since", "until", "agent"].into_iter().find(|flag| invocation.has(flag));
            match of_calls {
                Some(flag) => Err(format!("report prices takes no --{flag}")),
                None => {
                    let model = invocation.texts.get(1).cloned().or_else(|| invocation.value("model").map(str::to_string));
                    if model.as_deref().is_some_and(|model| model.trim().is_empty()) {
                        return Err("the model's name is empty; without one, every price is listed".into());
                    }
                    Ok(Asked::Prices { model, upstream: invocation.value("provider").map(str::to_string), form })
                }
            }
        }
        Some(other) => Err(format!("unexpected argument {}; report takes `prices`, or nothing", quoted(other))),
    }
}

fn spending(invocation: &Invocation, form: Form) -> Result<Asked, String> {
    let moment = |flag: &str| {
        let parse = |text| dates::parse(text).map_err(|why| format!("--{flag}: {why}, not {}", quoted(text)));
        invocation.value(flag).map(parse).transpose()
    };
    let text = |flag: &str| invocation.value(flag).map(str::to_string);
    let which = Which {
        since: moment("since")?.map(|moment| moment.start),
        until: moment("until")?.map(|moment| moment.end),
        agent: text("agent"),
        model: text("model"),
        provider: text("provider"),
    };
    let limit = invocation.number("limit", MOST_ROWS)?.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
    match (invocation.has("rows"), limit) {
        (true, limit) => Ok(Asked::Rows(which, form, limit.unwrap_or(USUAL_ROWS))),
        (false, Some(_)) => Err("--limit goes with --rows".into()),
        (false, None) => Ok(Asked::Spend(which, form)),
    }
}

/// The report as it is written to stdout.
fn tell(asked: &Asked, settings: &Settings, outside: &Outside<'_>) -> Result<String, (String, u8)> {
    let failed = |error: Error| (error.to_string(), FAILED);
    match asked {
        Asked::Spend(which, form) => {
            let tally = sources::tally(&ledger(settings, outside)?, which).map_err(failed)?;
            let limit = settings.budget();
            Ok(match form {
                Form::Text => spend::text(&tally, limit),
                Form::Json => format!("{}\n", spend::as_json(&tally, limit)),
                Form::Csv => spend::as_csv(&tally),
            })
        }
        Asked::Rows(which, form, limit) => {
            let calls = sources::calls(&ledger(settings, outside)?, which, *limit).map_err(failed)?;
            Ok(match form {
                Form::Text => calls::text(&calls),
                Form::Json => format!("{}\n", calls::as_json(&calls)),
                Form::Csv => calls::as_csv(&calls),
            })
        }
        Asked::Prices { model, upstream, form } => {
            let table = price_table(settings, outside).map_err(|error| explain(&error))?;
            match model {
                Some(model) => price(&table, model, upstream.as_deref(), *form),
                None => every_price(&table, upstream.as_deref(), *form).map_err(|why| (why, FAILED)),
            }
        }
    }
}

/// The ledger's file, which must be there.
fn ledger(settings: &Settings, outside: &Outside<'_>) -> Result<std::path::PathBuf, (String, u8)> {
    let mut settings = settings.clone();
    settings.keep_usual_ledger(outside);
    let Some(path) = settings.ledger(outside) else {
        return Err(("there is no ledger to report from: --state is none, or this user has no home; give --state FILE".into(), USAGE));
    };
    if !Path::new(&path).exists() {
        let why =
            format!("no ledger at {}: no call was recorded there yet (serve, run and ask keep one; --state names another)", path.display());
        return Err((why, FAILED));
    }
    Ok(path)
}

fn price(table: &Prices, model: &str, upstream: Option<&str>, form: Form) -> Result<String, (String, u8)> {
    let Some(Found { price, rule }) = sources::explain(table, model, upstream) else {
        return Err((unknown_price(table, model, upstream), FAILED));
    };
    let found = prices::Explained { model, price: &price, rule };
    Ok(if form == Form::Json { format!("{}\n", found.as_json()) } else { found.text() })
}

/// What a model without a price meets, and how to give it one.
fn unknown_price(table: &Prices, model: &str, upstream: Option<&str>) -> String {
    let at = upstream.map(|upstream| format!(" at {}", quoted(upstream))).unwrap_or_default();
    let near: Vec<String> = table.matching(model).take(MOST_NEAR).map(|price| format!("{} at {}", price.model, price.provider)).collect();
    let near = if near.is_empty() {
        let names: Vec<&str> = table.all().map(|price| price.model.as_ref()).collect();
        nearest(model, names.into_iter()).map(|near| format!("\ndid you mean {near}?")).unwrap_or_default()
    } else {
        format!("\nprices with that in their name (--provider tells which is meant): {}", near.join(", "))
    };
    format!(
        "no price is known for {name}{at}: under a budget calls to it are refused, unless --unknown-model is allow; to give its price, write \
         {{\"models\": {{{name}: {{\"input\": …, \"output\": …, \"max_output_tokens\": …}}}}}} (USD per million tokens) to a file and name it \
         with --prices{near}",
        name = quoted(model)
    )
}

fn every_price(table: &Prices, provider: Option<&str>, form: Form) -> Result<String, String> {
    let wanted: Vec<_> =
        table.all().map(AsRef::as_ref).filter(|price| provider.is_none_or(|provider| price.provider == provider)).collect();
    if let (true, Some(provider)) = (wanted.is_empty(), provider) {
        let mut known: Vec<&str> = table.all().map(|price| price.provider.as_ref()).collect();
        known.dedup();
        return Err(format!("no prices of {}; the table has: {}", quoted(provider), known.join(", ")));
    }
    Ok(if form == Form::Json {
        format!("{}\n", prices::list_json(&wanted, table.version()))
    } else {
        prices::list(&wanted, table.version())
    })
}
