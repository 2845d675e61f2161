//! Settings for a router in front of a mock provider: what they say about providers, and what the environment says about them, is not for it.

use super::{Origin, Outside, SETTINGS, Setting, Settings};
use crate::error::Error;
use std::ffi::OsString;

/// Whether a setting says where calls go or with which key.
pub fn names_a_place(name: &str) -> bool {
    matches!(name, "openai_key" | "anthropic_key" | "openai_base_url" | "anthropic_base_url" | "api_key" | "server_url" | "config")
}

impl Settings {
    /// Completes the settings with both providers on the mock at `url`. Made-up spending does not belong into anybody's real ledger, so
    /// that only a `state` given here counts.
    ///
    /// # Errors
    /// [`Error::Config`]: a setting that names a provider was given; a malformed variable.
    pub fn on_mock(mut self, url: &str, outside: &Outside<'_>) -> Result<Self, Error> {
        if let Some((name, given)) = self.given.iter().find(|(name, _)| names_a_place(name)) {
            let label = Setting::named(name).map(|setting| given.origin.label(setting)).unwrap_or_default();
            return Err(Error::Config(format!("the mock is a provider of its own: leave out {label}")));
        }
        for (name, value) in
            [("openai_key", "sk-mock"), ("anthropic_key", "sk-ant-mock"), ("openai_base_url", url), ("anthropic_base_url", url)]
        {
            if let Some(setting) = Setting::named(name) {
                self.set(setting, value.into(), Origin::Argument)?;
            }
        }
        let hidden = |variable: &str| {
            SETTINGS.iter().any(|setting| setting.variable == variable && (names_a_place(setting.name) || setting.name == "state"))
        };
        let variable = |name: &str| -> Option<OsString> { if hidden(name) { None } else { (outside.variable)(name) } };
        self.complete(&Outside { variable: &variable, read: outside.read })
    }
}
