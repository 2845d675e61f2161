//! What the shapes of several endpoints share: limits, tiers, tools, schemas.

use super::reader::{Read, Reader, invalid};
use super::short;
use crate::money::{Tier, Tiers};
use std::borrow::Cow;

/// Once for a request with tools: what the provider adds to explain to the model that it has tools. Anthropic publishes 159 to 530 tokens
/// (346 for the models of 2025); OpenAI's tools cost some twenty tokens beyond their text.
pub const TOOLS_TOKENS: u64 = 1024;

/// For each tool of the provider's own design that the client runs: its description is not in the request. Anthropic publishes 245 tokens
/// for bash, 700 for the text editor, 735 and a prompt of 499 for the computer.
pub const DESIGNED_TOOL_TOKENS: u64 = 2048;

/// For a schema of the answer: the words that ask the model to keep to it.
pub const SCHEMA_TOKENS: u64 = 256;

impl<'a> Reader<'a> {
    /// A member that means the same at every endpoint that has it.
    pub(super) fn common(&mut self, key: &'static str) -> Read<()> {
        match key {
            "model" => {
                self.model = self.word()?;
                if self.model.is_none() {
                    return Err(invalid("model", "must be a string"));
                }
                Ok(())
            }
            "max_completion_tokens" | "max_tokens" | "max_output_tokens" => self.output_limit(key),
            "n" | "best_of" => {
                self.answers = self.number(key)?.max(self.answers);
                Ok(())
            }
            "service_tier" => self.tier(),
            "models" => self.unbounded_if_set("`models` lets a gateway fall back to a model with another price"),
            "plugins" => self.unbounded_if_set("`plugins` run at the provider, which bills what they find"),
            _ => self.skip(),
        }
    }

    /// Of two limits the larger is the bound: which one a provider goes by is its own business.
    fn output_limit(&mut self, key: &'static str) -> Read<()> {
        let limit = self.number(key)?;
        self.terms.output_limit = self.terms.output_limit.max(Some(limit));
        if self.terms.output_field != Some("max_completion_tokens") {
            self.terms.output_field = Some(key);
        }
        Ok(())
    }

    fn tier(&mut self) -> Read<()> {
        self.terms.tiers = match self.word()?.as_deref() {
            Some("default" | "standard" | "standard_only") => Tiers::Only(Tier::Standard),
            Some("flex") => Tiers::Only(Tier::Flex),
            Some("priority") => Tiers::Only(Tier::Priority),
            _ => Tiers::Any,
        };
        Ok(())
    }

    /// The array of tools. `client_runs` says whether a tool of that type is run by the client; its second argument: whether the tool's
    /// environment says that it is local.
    pub(super) fn tools(&mut self, client_runs: impl Fn(Option<&str>, bool) -> bool) -> Read<()> {
        let mut any = false;
        self.rewritten(|reader| {
            reader.array(|reader| {
                any = true;
                let (kind, local) = reader.tool()?;
                let kind = kind.as_deref();
                if !client_runs(kind, local) {
                    reader.unbounded(match kind {
                        Some(kind) => format!("`tools[]` of type `{}` run at the provider, which bills what they find", short(kind)),
                        // `{"google_search": {}}`, for one.
                        None => "`tools[]` without a type may run at the provider, which bills what they find".into(),
                    });
                }
                reader.extra_tokens += if matches!(kind, None | Some("function" | "custom")) { 0 } else { DESIGNED_TOOL_TOKENS };
                Ok(())
            })
        })?;
        self.extra_tokens += if any { TOOLS_TOKENS } else { 0 };
        Ok(())
    }

    fn tool(&mut self) -> Read<(Option<Cow<'a, str>>, bool)> {
        let (mut kind, mut local) = (None, false);
        self.object(&["type", "environment"], |reader, key| match key {
            "type" => {
                kind = reader.word()?;
                Ok(())
            }
            _ => reader.object(&["type"], |reader, _| {
                local = reader.word()?.as_deref() == Some("local");
                Ok(())
            }),
        })?;
        Ok((kind, local))
    }

    /// What the answer must look like.
    pub(super) fn schema(&mut self) -> Read<()> {
        self.extra_tokens += SCHEMA_TOKENS;
        self.rewritten(Reader::skip)
    }
}
