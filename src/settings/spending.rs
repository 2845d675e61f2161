//! Settings of money to [`Spending`], and where the ledger is.

use super::value::Value;
use super::{Given, Origin, Outside, Settings};
use crate::config::{Allow, Config, OnBudget, OnLedgerError, Spending, UsageMode, Window};
use crate::error::Error;
use crate::money::NanoUsd;
use std::path::{Path, PathBuf};

/// The ledger's place below the state directory.
const LEDGER: &str = "iron-runtime/ledger.db";

impl Settings {
    /// Gives the ledger the place where the commands keep it, if none was given: `$XDG_STATE_HOME/iron-runtime/ledger.db`, without that
    /// variable `~/.local/state/…`. Without a home directory there is no ledger.
    pub fn keep_usual_ledger(&mut self, outside: &Outside<'_>) {
        if self.given.contains_key("state") || !cfg!(feature = "ledger") {
            return;
        }
        if let Some(path) = usual_ledger(outside) {
            self.given.insert("state", Given { value: Value::File(path), origin: Origin::Usual });
        }
    }

    /// Where the ledger is; `None`: there is none.
    pub fn ledger(&self, outside: &Outside<'_>) -> Option<PathBuf> {
        self.path("state", outside)
    }

    /// The budget.
    pub fn budget(&self) -> Option<NanoUsd> {
        if let Some(Value::Usd(budget)) = self.value("budget") { Some(*budget) } else { None }
    }

    /// The file of prices beside the bundled ones.
    pub fn prices(&self, outside: &Outside<'_>) -> Option<PathBuf> {
        self.path("prices", outside)
    }

    /// What calls may cost, and where rows are kept.
    pub(super) fn money(&self, config: &mut Config, outside: &Outside<'_>) -> Result<(), Error> {
        config.spending = self.spending(outside);
        config.state = self.ledger(outside);
        config.on_ledger_error = if self.words("on_ledger_error") == Some("stop") { OnLedgerError::Stop } else { OnLedgerError::Continue };
        if config.state.is_some() && !cfg!(feature = "ledger") {
            return Err(self.wrong("state", "this program was built without a ledger (feature ledger)"));
        }
        if config.spending.window != Window::Run && config.state.is_none() {
            let word = self.words("budget_window").unwrap_or_default();
            let why =
                format!("{word} counts calls of earlier runs, so it needs a ledger: give state (a file), or leave budget_window at run");
            return Err(self.wrong("budget_window", &why));
        }
        Ok(())
    }

    fn spending(&self, outside: &Outside<'_>) -> Spending {
        let usual = Spending::default();
        Spending {
            budget: self.budget(),
            on_budget: if self.words("on_budget") == Some("refuse") { OnBudget::Refuse } else { OnBudget::Clamp },
            wait: self.time("budget_wait").unwrap_or(usual.wait),
            window: match self.words("budget_window") {
                Some("day") => Window::Day,
                Some("month") => Window::Month,
                Some("total") => Window::Total,
                _ => Window::Run,
            },
            unknown_model: self.allow("unknown_model"),
            unmetered: self.allow("unmetered"),
            thresholds: if let Some(Value::Percents(percents)) = self.value("thresholds") { percents.clone() } else { usual.thresholds },
            prices: self.prices(outside),
        }
    }

    fn allow(&self, name: &str) -> Allow {
        if self.words(name) == Some("allow") { Allow::Allow } else { Allow::Refuse }
    }

    /// How the two providers' requests are treated.
    pub(super) fn usage(&self) -> UsageMode {
        if self.words("usage") == Some("observe") { UsageMode::Observe } else { UsageMode::Inject }
    }
}

/// A relative `XDG_STATE_HOME` counts as none, as its specification says.
fn usual_ledger(outside: &Outside<'_>) -> Option<PathBuf> {
    let folder = |name: &str| (outside.variable)(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = folder("XDG_STATE_HOME").or_else(|| folder("HOME").map(|home| home.join(".local").join("state")))?;
    Some(state.join(Path::new(LEDGER)))
}
