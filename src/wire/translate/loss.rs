//! What a translation could not carry: [`Loss`], the value of `x-iron-lossy`.

use crate::call::{Protocol, Reason, Refusal};
use std::borrow::Cow;

/// The most names that are told.
const MOST: usize = 32;

/// The longest name that is told.
const LONGEST: usize = 64;

/// Names of what was not carried, in the words of the client's protocol, in the order in which it was noticed, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loss(Vec<Cow<'static, str>>);

/// What a writer may find it can't carry, whatever the client calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setting {
    /// The thinking budget or effort, or that there should be thinking.
    Reasoning,
    /// How long the answer may be, beyond what the model puts out.
    OutputLimit,
    /// `temperature`.
    Temperature,
    /// `top_p`.
    TopP,
    /// Some or all stop sequences.
    Stop,
    /// That a tool must be called.
    ToolChoice,
    /// That several tools may, or may not, be called at once.
    ParallelCalls,
    /// That a tool's arguments follow its schema to the letter.
    ToolStrict,
    /// The form of the answer.
    Format,
    /// That a tool's result is an error.
    ResultError,
    /// Arguments of an earlier call that were no JSON object: carried inside one.
    CallArguments,
}

impl Setting {
    /// The client's name for it.
    fn name(self, client: Protocol) -> &'static str {
        let (openai, anthropic) = match self {
            Self::Reasoning => ("reasoning_effort", "thinking"),
            Self::OutputLimit => ("max_tokens", "max_tokens"),
            Self::Temperature => ("temperature", "temperature"),
            Self::TopP => ("top_p", "top_p"),
            Self::Stop => ("stop", "stop_sequences"),
            Self::ToolChoice => ("tool_choice", "tool_choice"),
            Self::ParallelCalls => ("parallel_tool_calls", "tool_choice.disable_parallel_tool_use"),
            Self::ToolStrict => ("tools.strict", "tools.strict"),
            Self::Format => ("response_format", "output_config.format"),
            Self::ResultError => ("messages.is_error", "messages.is_error"),
            Self::CallArguments => ("messages.tool_calls.arguments", "messages.input"),
        };
        if client == Protocol::OpenAi { openai } else { anthropic }
    }
}

impl Loss {
    /// One more name. What can't stand in a header field is left out of it.
    pub(super) fn add(&mut self, name: impl Into<Cow<'static, str>>) {
        let mut name = name.into();
        if name.is_empty() || name.len() > LONGEST || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
            let fit = |char: &char| char.is_ascii_alphanumeric() || "._-".contains(*char);
            let cleaned: String = name.chars().filter(fit).take(LONGEST).collect();
            name = if cleaned.is_empty() { "unknown".into() } else { cleaned.into() };
        }
        if self.0.len() < MOST && !self.0.contains(&name) {
            self.0.push(name);
        }
    }

    /// A setting that a writer could not carry.
    pub(super) fn setting(&mut self, setting: Setting, client: Protocol) {
        self.add(setting.name(client));
    }

    /// Whether everything was carried.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of `x-iron-lossy`: names and commas.
    pub fn to_header(&self) -> String {
        self.0.join(",")
    }

    /// The refusal under `strict_translation`.
    pub fn refusal(&self, client: Protocol, upstream: Protocol) -> Refusal {
        let names = self.0.join(", ");
        Refusal::new(
            Reason::Invalid("lossy_translation"),
            format!(
                "{names} can't be carried from {}'s protocol to {}'s, and --strict-translation refuses what would be lost: leave it out, \
                 or turn the setting off to have it dropped and named in x-iron-lossy",
                client.as_str(),
                upstream.as_str(),
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_once_and_fit_a_header() {
        let mut loss = Loss::default();
        for name in ["top_k", "a b\r\nx: y", "top_k", "é", ""] {
            loss.add(name);
        }
        (0..100).for_each(|nth| loss.add(format!("n{nth}")));
        assert!(loss.to_header().starts_with("top_k,abxy,unknown,n0,n1,"), "{}", loss.to_header());
        assert_eq!(loss.to_header().split(',').count(), MOST);
        loss.setting(Setting::Reasoning, Protocol::Anthropic);
    }
}
