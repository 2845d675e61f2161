//! What Claude models can do, by the version in their name.
//!
//! Written from the provider's model table, apart from the router's own: what one of the two has wrong, the other shows.

/// A Claude model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claude {
    version: (u32, u32),
    opus: bool,
}

impl Claude {
    /// The model of this name, if it is Claude's; one without a version is the newest.
    pub(super) fn named(model: &str) -> Option<Self> {
        let rest = model.strip_prefix("claude-")?;
        let mut figures = rest.split(['-', '.', '@']).filter(|part| part.len() < 3).filter_map(|part| part.parse().ok());
        let version = figures.next().map_or((u32::MAX, 0), |major| (major, figures.next().unwrap_or(0)));
        Some(Self { version, opus: rest.contains("opus") })
    }

    /// Whether it thinks where the caller can see it.
    pub(super) fn thinks(self) -> bool {
        self.version >= (3, 7)
    }

    /// Whether it takes `thinking.type` `adaptive`.
    pub(super) fn adapts(self) -> bool {
        self.version >= (4, 6)
    }

    /// Whether it takes a thinking budget.
    pub(super) fn budgets(self) -> bool {
        self.thinks() && self.version <= (4, 6)
    }

    /// Whether it takes `output_config.effort`.
    pub(super) fn has_effort(self) -> bool {
        self.version >= (4, 5)
    }

    /// Whether it keeps to a schema: `output_config.format`, strict tools.
    pub(super) fn structures(self) -> bool {
        self.version >= (4, 5) || self.opus && self.version == (4, 1)
    }

    /// How many of `temperature` and `top_p` it takes at once.
    pub(super) fn samplings(self) -> usize {
        match self.version {
            (..=3, _) | (4, 0) => 2,
            (4, ..=6) => 1,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_names() {
        let table = [
            ("claude-3-5-haiku-latest", (3, 5)),
            ("claude-3-7-sonnet-20250219", (3, 7)),
            ("claude-sonnet-4-20250514", (4, 0)),
            ("claude-opus-4-1", (4, 1)),
            ("claude-opus-4-6-20260205", (4, 6)),
            ("claude-2.1", (2, 1)),
            ("claude-instant-1.2", (1, 2)),
            ("claude-next", (u32::MAX, 0)),
        ];
        for (name, version) in table {
            assert_eq!(Claude::named(name).map(|claude| claude.version), Some(version), "{name}");
        }
        assert_eq!(Claude::named("gpt-4o"), None);
    }

    #[test]
    fn abilities_follow_the_version() {
        // thinks, budgets, adapts, has effort, structures, samplings
        let table = [
            ("claude-3-5-sonnet-latest", (false, false, false, false, false, 2)),
            ("claude-sonnet-4-0", (true, true, false, false, false, 2)),
            ("claude-opus-4-1", (true, true, false, false, true, 1)),
            ("claude-sonnet-4-5", (true, true, false, true, true, 1)),
            ("claude-opus-4-6", (true, true, true, true, true, 1)),
            ("claude-opus-4-7", (true, false, true, true, true, 0)),
            ("claude-sonnet-5", (true, false, true, true, true, 0)),
        ];
        for (name, abilities) in table {
            let claude = Claude::named(name).expect("a Claude");
            let got = (claude.thinks(), claude.budgets(), claude.adapts(), claude.has_effort(), claude.structures(), claude.samplings());
            assert_eq!(got, abilities, "{name}");
        }
    }
}
