//! The label values that are kept apart, and a bound on how many: whatever clients name as a model, there are at most 64 groups of provider
//! and model, and 240 of those with a status. What comes beyond that is counted under `other`.
//!
//! A name that never answered with a 2xx takes one of the first half of the places only: those who ask for models that do not exist leave room
//! for those that do.

use super::{Ending, Figures};
use std::borrow::Cow;

/// The most groups of provider and model, those named `other` included.
pub const MAX_GROUPS: usize = 64;

/// The most groups of provider, model, status and outcome.
pub const MAX_STATUSES: usize = 240;

/// The most bytes of a label's value.
pub const MAX_LABEL: usize = 128;

/// Of the groups, those for `other` models of a provider each.
const OTHER_MODELS: usize = 8;

/// Groups with a model's name.
const NAMED: usize = MAX_GROUPS - OTHER_MODELS - 1;

/// What stands for names that have no place.
const OTHER: &str = "other";

/// What stands for no name.
const NONE: &str = "none";

/// The groups of provider and model. Their names lie apart from their figures: looking for one touches a few lines of memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups {
    names: Vec<(Box<str>, Box<str>)>,
    figures: Vec<Figures>,
    /// How many have a model's name, and how many are a provider's `other`.
    named: usize,
    others: usize,
}

impl Groups {
    /// The group of a call: its own, a new one, or one of the `other`.
    pub(super) fn find(&mut self, provider: &str, model: Option<&str>, completed: bool) -> usize {
        let model = model.unwrap_or(NONE);
        self.position(provider, model).unwrap_or_else(|| self.settle(provider, model, if completed { NAMED } else { NAMED / 2 }))
    }

    /// The group of earlier figures.
    pub(super) fn restore(&mut self, provider: &str, model: &str) -> usize {
        self.find(provider, Some(model), true)
    }

    fn position(&self, provider: &str, model: &str) -> Option<usize> {
        self.names.iter().position(|(of, name)| **name == *model && **of == *provider)
    }

    /// A group for names that have none as they are.
    fn settle(&mut self, provider: &str, model: &str, most: usize) -> usize {
        let (provider, model) = (clean(provider), clean(model));
        if let Some(known) = self.position(&provider, &model) {
            return known;
        }
        if model != OTHER && self.named < most {
            self.named += 1;
            return self.push(&provider, &model);
        }
        self.other(&provider)
    }

    fn other(&mut self, provider: &str) -> usize {
        if let Some(known) = self.position(provider, OTHER) {
            return known;
        }
        if provider != OTHER && self.others < OTHER_MODELS {
            self.others += 1;
            return self.push(provider, OTHER);
        }
        self.position(OTHER, OTHER).unwrap_or_else(|| self.push(OTHER, OTHER))
    }

    fn push(&mut self, provider: &str, model: &str) -> usize {
        self.names.push((provider.into(), model.into()));
        self.figures.push(Figures::ZERO);
        self.names.len() - 1
    }

    /// The figures of a group.
    pub(super) fn figures_mut(&mut self, group: usize) -> &mut Figures {
        &mut self.figures[group]
    }

    /// Provider, model and figures of every group.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str, &Figures)> {
        self.names.iter().zip(&self.figures).map(|((provider, model), figures)| (&**provider, &**model, figures))
    }
}

/// Calls by group, status and ending.
#[derive(Clone, Debug, Default)]
pub(super) struct Statuses {
    /// By group: status, ending, calls.
    of: Vec<Vec<(u16, Ending, u64)>>,
    kept: usize,
    /// By ending: those that had no place.
    beyond: [u64; Ending::ALL.len()],
}

impl Statuses {
    /// Counts calls; `None`: their status was not kept apart before.
    pub(super) fn add(&mut self, group: usize, status: Option<u16>, ending: Ending, more: u64) {
        let Some(status) = status else {
            self.put_beyond(ending, more);
            return;
        };
        if self.of.len() <= group {
            self.of.resize_with(group + 1, Vec::new);
        }
        let calls = &mut self.of[group];
        if let Some((.., count)) = calls.iter_mut().find(|(known, end, _)| *known == status && *end == ending) {
            *count = count.saturating_add(more);
        } else if self.kept < MAX_STATUSES - Ending::ALL.len() {
            self.kept += 1;
            calls.push((status, ending, more));
        } else {
            self.put_beyond(ending, more);
        }
    }

    fn put_beyond(&mut self, ending: Ending, more: u64) {
        let count = &mut self.beyond[ending as usize];
        *count = count.saturating_add(more);
    }

    /// Group, status, ending and calls of every place; those without a place have no status and group 0.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, Option<u16>, Ending, u64)> {
        let kept = self.of.iter().enumerate();
        let kept = kept.flat_map(|(group, calls)| calls.iter().map(move |(status, ending, count)| (group, Some(*status), *ending, *count)));
        let beyond = Ending::ALL.into_iter().zip(self.beyond).filter(|(_, count)| *count > 0);
        kept.chain(beyond.map(|(ending, count)| (0, None, ending, count)))
    }
}

/// A name as a label has it: bounded, and without control characters.
fn clean(name: &str) -> Cow<'_, str> {
    let name = if name.chars().any(char::is_control) {
        Cow::Owned(name.chars().filter(|letter| !letter.is_control()).collect::<String>())
    } else {
        Cow::Borrowed(name)
    };
    let end = (0..=name.len().min(MAX_LABEL)).rev().find(|at| name.is_char_boundary(*at)).unwrap_or(0);
    match (name, end) {
        // A label without a value is no label.
        (_, 0) => Cow::Borrowed(NONE),
        (Cow::Borrowed(name), end) => Cow::Borrowed(&name[..end]),
        (Cow::Owned(mut name), end) => {
            name.truncate(end);
            Cow::Owned(name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_without_control_characters() {
        assert_eq!(clean("gpt-4o"), "gpt-4o");
        assert_eq!(clean("a\nb\u{85}c\0"), "abc");
        assert_eq!(clean(&"é".repeat(100)), "é".repeat(64));
        assert_eq!(clean(&format!("x{}", "€".repeat(100))).len(), 127);
        assert_eq!((clean("\r\n"), clean("")), (Cow::Borrowed("none"), Cow::Borrowed("none")));
    }

    #[test]
    fn what_never_answered_leaves_room_for_what_does() {
        let mut groups = Groups::default();
        for n in 0..1000 {
            groups.find("openai", Some(&format!("no-such-{n}")), false);
        }
        let known = groups.find("openai", Some("gpt-4o"), true);
        assert_eq!(&*groups.names[known].1, "gpt-4o");
        assert_eq!(groups.names.len(), NAMED / 2 + 2);
    }

    #[test]
    fn there_are_never_more_groups_than_the_bound() {
        let mut groups = Groups::default();
        for n in 0..1000 {
            for provider in 0..20 {
                groups.find(&format!("upstream-{provider}"), Some(&format!("m{n}")), true);
            }
        }
        assert_eq!(groups.names.len(), MAX_GROUPS);
        assert_eq!(groups.names.iter().filter(|(_, model)| &**model == OTHER).count(), OTHER_MODELS + 1);
    }
}
