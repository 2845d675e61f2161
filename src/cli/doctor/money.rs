//! Money: whether the ledger can be kept, the prices read, and the configured models charged.

use super::Report;
use crate::cli::report::{is_priced, ledger_fault, price_table};
use crate::config::{Allow, Config, Upstream};
use crate::settings::{Checked, Origin, Outside, Settings, quoted};
use std::path::Path;

pub(super) fn check(settings: &Settings, checked: &Checked, outside: &Outside<'_>, report: &mut Report) {
    check_ledger(settings, checked.config.state.as_deref(), report);
    let unpriced = check_prices(settings, &checked.config, outside, report);
    check_budget(&checked.config, unpriced, report);
}

fn check_ledger(settings: &Settings, path: Option<&Path>, report: &mut Report) {
    let Some(path) = path else {
        let why = if settings.origin("state").is_some() { "none, as set" } else { "none: neither HOME nor XDG_STATE_HOME is set" };
        report.ok("ledger", why);
        return;
    };
    let mend = "give --state another file, or none";
    let usual = if settings.origin("state") == Some(&Origin::Usual) { ", the usual place" } else { "" };
    let shown = path.display();
    if !path.exists() {
        match nearest_folder(path) {
            Some(folder) if may_write(folder) => report.ok("ledger", format!("will be kept at {shown}{usual}")),
            Some(folder) => report.problem("ledger", format!("{shown} can't be made: {} is no folder to write to", folder.display()), mend),
            None => report.problem("ledger", format!("{shown} can't be made"), mend),
        }
    } else if let Some(error) = ledger_fault(path) {
        let why = error.to_string();
        report.problem("ledger", why.strip_prefix("ledger ").unwrap_or(&why), "put the file aside, or give --state another one");
    } else if !may_write(path) {
        report.problem("ledger", format!("{shown} may not be written by this user"), mend);
    } else {
        report.ok("ledger", format!("{shown}{usual}"));
    }
}

/// The nearest of the folders above that is there.
fn nearest_folder(path: &Path) -> Option<&Path> {
    let above = path.ancestors().skip(1).map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
    above.into_iter().find(|folder| folder.exists())
}

#[cfg(unix)]
fn may_write(path: &Path) -> bool {
    let folder = if path.is_dir() { nix::unistd::AccessFlags::X_OK } else { nix::unistd::AccessFlags::empty() };
    nix::unistd::access(path, nix::unistd::AccessFlags::W_OK | folder).is_ok() && (path.is_dir() || path.is_file())
}

/// Other systems' permissions can't be told by the standard library.
#[cfg(not(unix))]
fn may_write(path: &Path) -> bool {
    path.is_dir() || path.is_file()
}

/// Reads the prices; the configured models that have none.
fn check_prices(settings: &Settings, config: &Config, outside: &Outside<'_>, report: &mut Report) -> Vec<String> {
    let prices = match price_table(settings, outside) {
        Ok(prices) => prices,
        Err(error) => {
            report.error("prices", &error);
            return Vec::new();
        }
    };
    match &config.spending.prices {
        Some(path) => report.ok("prices", format!("the bundled table, and {}", path.display())),
        None => report.ok("prices", "the bundled table"),
    }
    let models = config.upstreams.iter().flat_map(|upstream| names_of(upstream).map(move |model| (upstream, model)));
    models
        .filter(|(upstream, model)| !is_priced(&prices, upstream, model))
        .map(|(upstream, model)| format!("{} at {}", quoted(model), upstream.name))
        .collect()
}

/// The models that an upstream is sure to be asked for by their names.
fn names_of(upstream: &Upstream) -> impl Iterator<Item = &str> {
    let whole = upstream.models.iter().filter(|model| !model.ends_with('*'));
    whole.chain(upstream.aliases.iter().map(|(_, model)| model)).map(String::as_str)
}

fn check_budget(config: &Config, unpriced: Vec<String>, report: &mut Report) {
    let limited = config.spending.budget.is_some() || config.agents.iter().any(|agent| agent.budget.is_some());
    match config.spending.budget {
        Some(limit) if limit.0 == 0 => {
            report.warning("budget", "is 0: every call that costs something is refused", "raise --budget, or leave it away for no limit");
        }
        Some(limit) => report.ok("budget", format!("{limit}")),
        None if limited => report.ok("budget", "of agents only"),
        None => report.ok("budget", "no limit"),
    }
    if limited && !unpriced.is_empty() && config.spending.unknown_model == Allow::Refuse {
        report.warning(
            "prices",
            format!("no price is known for {}: under a budget calls to it are refused", unpriced.join(", ")),
            "give its price in a file with --prices, or set --unknown-model allow",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders() {
        assert_eq!(nearest_folder(Path::new("/no-such-folder/x/ledger.db")), Some(Path::new("/")));
        assert_eq!(nearest_folder(Path::new("ledger.db")), Some(Path::new(".")));
        let here = std::env::temp_dir();
        assert_eq!(nearest_folder(&here.join("ledger.db")), Some(here.as_path()));
        assert!(may_write(&here) && !may_write(Path::new("/no-such-folder")));
    }
}
