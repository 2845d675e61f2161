//! What is known of Anthropic's models beside their prices: how they are told to think, which sampling settings they take, whether they
//! hold to a schema by themselves. Read off the version in the name, so that models to come are taken for the newest kind.

/// How a model is told to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thinking {
    /// Not at all.
    Never,
    /// With a budget: `{"type":"enabled","budget_tokens":N}`.
    Budget,
    /// As it sees fit: `{"type":"adaptive"}` and `output_config.effort`.
    Adaptive,
}

/// Whether a model thinks where nobody asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unasked {
    /// It does not.
    Rests,
    /// It does, unless `thinking.type` is this.
    Until(&'static str),
    /// It does, and can't be kept from it.
    Always,
}

/// Which sampling settings a model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sampling {
    /// `temperature` and `top_p`.
    Both,
    /// One of them.
    One,
    /// Neither.
    Neither,
}

/// What a model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) thinking: Thinking,
    pub(super) unasked: Unasked,
    pub(super) sampling: Sampling,
    /// Whether it can be made to call a tool, if only while it does not think.
    pub(super) forced: bool,
    /// Whether it goes on with an answer that the client has begun.
    pub(super) goes_on: bool,
    /// Whether it knows the effort `xhigh`, and shows its thinking only where it is told to.
    pub(super) late: bool,
    /// Whether it takes `output_config.format` and strict tools.
    pub(super) structured: bool,
}

/// What is known of a model by its name. Names that are not Claude's are those of compatible servers, which know the protocol as it was
/// when it spread: thinking by budget, all sampling settings, no schemas.
pub(super) fn facts(model: &str) -> Facts {
    let Some(version) = version(model) else {
        return Facts {
            thinking: Thinking::Budget,
            unasked: Unasked::Rests,
            sampling: Sampling::Both,
            forced: true,
            goes_on: true,
            late: false,
            structured: false,
        };
    };
    let unasked = unasked(model, version);
    Facts {
        thinking: match version {
            old if old < (3, 7) => Thinking::Never,
            old if old < (4, 6) => Thinking::Budget,
            _ => Thinking::Adaptive,
        },
        sampling: match version {
            old if old < (4, 1) => Sampling::Both,
            old if old < (4, 7) => Sampling::One,
            _ => Sampling::Neither,
        },
        unasked,
        forced: version < (5, 1) || matches!(unasked, Unasked::Until("disabled")),
        goes_on: version < (4, 6),
        late: version >= (4, 7),
        structured: version >= (4, 5),
    }
}

/// Models of a line that is not known here are taken for those that can't be kept from thinking.
fn unasked(model: &str, version: (u8, u8)) -> Unasked {
    if version < (5, 0) {
        return Unasked::Rests;
    }
    let name = model.to_ascii_lowercase();
    let is_of = |line: &str| name.contains(line);
    match version < (5, 5) {
        true if is_of("sonnet") || is_of("opus") || is_of("haiku") => Unasked::Until("disabled"),
        false if is_of("haiku") => Unasked::Until("disabled"),
        false if is_of("sonnet") => Unasked::Until("between_tools"),
        _ => Unasked::Always,
    }
}

/// The version in the name of one of Claude's models, in whatever order and with whatever marks its parts stand; a name without one is
/// that of a model to come. `None`: it is not Claude's.
fn version(model: &str) -> Option<(u8, u8)> {
    let name = model.to_ascii_lowercase();
    let (_, behind) = name.split_once("claude")?;
    // Two digits at most: dates are longer.
    let number = |word: &str| if word.len() <= 2 { word.parse::<u8>().ok() } else { None };
    let mut words = behind.split(|char: char| !char.is_ascii_alphanumeric());
    let major = words.find_map(|word| number(word.strip_prefix('v').unwrap_or(word)));
    Some(major.map_or((u8::MAX, 0), |major| (major, words.next().and_then(number).unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_off_names() {
        for (name, expected) in [
            ("claude-sonnet-4-20250514", Some((4, 0))),
            ("claude-opus-4-1-20250805", Some((4, 1))),
            ("claude-opus-4-1", Some((4, 1))),
            ("claude-haiku-4-5-20251001", Some((4, 5))),
            ("claude-sonnet-4-0", Some((4, 0))),
            ("claude-3-5-sonnet-20241022", Some((3, 5))),
            ("claude-3-7-sonnet-latest", Some((3, 7))),
            ("claude-3-opus-20240229", Some((3, 0))),
            ("claude-2.1", Some((2, 1))),
            ("claude-instant-1.2", Some((1, 2))),
            ("anthropic/claude-3.7-sonnet", Some((3, 7))),
            ("us.anthropic.claude-opus-4-6-v1", Some((4, 6))),
            ("anthropic.claude-3-5-sonnet-20240620-v1:0", Some((3, 5))),
            ("anthropic.claude-v2:1", Some((2, 1))),
            ("Claude-Opus-4@20250514", Some((4, 0))),
            ("claude-sonnet-5", Some((5, 0))),
            ("claude-opus-10-12", Some((10, 12))),
            ("claude", Some((u8::MAX, 0))),
            ("claude-next-20290101", Some((u8::MAX, 0))),
            ("glm-4.6", None),
            ("", None),
        ] {
            assert_eq!(version(name), expected, "{name}");
        }
    }

    #[test]
    fn what_each_kind_takes() {
        let facts = |name| {
            let Facts { thinking, sampling, structured, .. } = facts(name);
            (thinking, sampling, structured)
        };
        for name in ["claude-2.1", "claude-3-5-haiku-latest"] {
            assert_eq!(facts(name), (Thinking::Never, Sampling::Both, false), "{name}");
        }
        for name in ["claude-3-7-sonnet-latest", "claude-sonnet-4-20250514", "kimi-k2"] {
            assert_eq!(facts(name), (Thinking::Budget, Sampling::Both, false), "{name}");
        }
        assert_eq!(facts("claude-opus-4-1"), (Thinking::Budget, Sampling::One, false));
        for name in ["claude-sonnet-4-5", "claude-haiku-4-5"] {
            assert_eq!(facts(name), (Thinking::Budget, Sampling::One, true), "{name}");
        }
        assert_eq!(facts("claude-opus-4-6"), (Thinking::Adaptive, Sampling::One, true));
        for name in ["claude-opus-4-7", "claude-sonnet-5", "claude-next"] {
            assert_eq!(facts(name), (Thinking::Adaptive, Sampling::Neither, true), "{name}");
        }
    }

    #[test]
    fn who_thinks_unasked_and_can_be_made_to_call() {
        for (name, unasked, forced) in [
            ("glm-4.6", Unasked::Rests, true),
            ("claude-sonnet-4-5", Unasked::Rests, true),
            ("claude-opus-4-8", Unasked::Rests, true),
            ("claude-sonnet-5", Unasked::Until("disabled"), true),
            ("claude-opus-5", Unasked::Until("disabled"), true),
            ("claude-haiku-5-5", Unasked::Until("disabled"), true),
            ("claude-sonnet-5-5", Unasked::Until("between_tools"), false),
            ("claude-opus-5-5", Unasked::Always, false),
            ("claude-fable-5", Unasked::Always, true),
            ("claude-fable-5-1", Unasked::Always, false),
            ("claude-next", Unasked::Always, false),
        ] {
            let facts = facts(name);
            assert_eq!((facts.unasked, facts.forced), (unasked, forced), "{name}");
        }
    }
}
