//! Whether and how a model is told to think: what was asked for, as far as the model and the rest of the request allow it.

use crate::wire::translate::claude::{Facts, Thinking, Unasked};
use crate::wire::translate::form::{Content, Effort, Part, Reasoning, Request, Role};
use crate::wire::translate::loss::Setting;
use crate::wire::translate::{DEFAULT_MAX_TOKENS, Far};

/// The least budget that the provider takes, tokens.
const LEAST_BUDGET: u64 = 1_024;

/// How a model is told to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Think {
    /// At most so many tokens.
    Budget(u64),
    /// As it sees fit, or this hard.
    Adaptive(Option<Effort>),
    /// Not, in the one word for it that a model takes which thinks unasked.
    Not(&'static str),
}

impl Think {
    /// Whether it thinks.
    pub(super) fn is_on(self) -> bool {
        !matches!(self, Self::Not(_))
    }

    /// The word of `output_config.effort`, if there is to be one.
    pub(super) fn effort(self, facts: Facts) -> Option<&'static str> {
        match self {
            Self::Adaptive(Some(effort)) => Some(match effort {
                Effort::Minimal => "low",
                Effort::XHigh if !facts.late => "max",
                effort => effort.as_str(),
            }),
            Self::Adaptive(None) | Self::Budget(_) | Self::Not(_) => None,
        }
    }
}

/// Decides it. Beside a forced call (`forced`) there is no thinking: what must be called is the harder wish.
pub(super) fn think(request: &Request<'_>, far: &Far, facts: Facts, forced: bool, lose: &mut dyn FnMut(Setting)) -> Option<Think> {
    let not = match facts.unasked {
        Unasked::Until(word) => Some(Think::Not(word)),
        Unasked::Rests | Unasked::Always => None,
    };
    let effort = match request.reasoning {
        None => return not.filter(|_| forced),
        Some(Reasoning::Off) => {
            if facts.unasked == Unasked::Always {
                lose(Setting::Reasoning);
            }
            return not;
        }
        Some(Reasoning::On(effort)) => effort,
        Some(Reasoning::Budget(tokens)) => Some(Effort::of_budget(tokens)),
    };
    let think = match facts.thinking {
        _ if forced => None,
        Thinking::Never => None,
        // An answer that is begun can't begin with thinking any more.
        Thinking::Budget if ends_in_calls_without_thought(request) || request.begins_answer() => None,
        Thinking::Budget => budget(request, far).filter(|tokens| *tokens >= LEAST_BUDGET).map(Think::Budget),
        Thinking::Adaptive => Some(Think::Adaptive(effort)),
    };
    if think.is_none() {
        lose(Setting::Reasoning);
    }
    think.or(not)
}

/// The budget asked for, but never so much that no room is left for the answer.
fn budget(request: &Request<'_>, far: &Far) -> Option<u64> {
    let wanted = match request.reasoning? {
        Reasoning::Off => return None,
        Reasoning::On(effort) => effort.unwrap_or(Effort::Medium).budget(),
        Reasoning::Budget(tokens) => tokens,
    };
    let limit = request.max_output.or(far.model_limit).unwrap_or(DEFAULT_MAX_TOKENS);
    Some(wanted.min(limit - limit.div_ceil(5)))
}

/// Whether the loop of calls and results at the end began without thinking: with thinking on, the provider would refuse that. What the
/// model says later in a loop may well come without any.
fn ends_in_calls_without_thought(request: &Request<'_>) -> bool {
    let is_result = |part: &Part<'_>| matches!(part.content, Content::Result { .. });
    let asked = request.turns.iter().rposition(|turn| turn.role == Role::User && !turn.parts.iter().any(is_result));
    let begun = request.turns.iter().skip(asked.map_or(0, |at| at + 1)).find(|turn| turn.role == Role::Assistant);
    begun.is_some_and(|turn| {
        let calls = turn.parts.iter().any(|part| matches!(part.content, Content::Call(_)));
        calls && !turn.parts.first().is_some_and(|part| matches!(part.content, Content::Thought(_)))
    })
}
