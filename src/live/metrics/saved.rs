//! Figures as a text that outlives the process: one JSON object. The gauge and the time of the start are not in it.

use super::{Calls, EVENTS, Ending, Figures, Metrics};
use serde::{Deserialize, Serialize};
use std::sync::atomic::Ordering::Relaxed;

/// Changes when the classes, the buckets or their order do: figures of another version are left out.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Saved {
    version: u32,
    groups: Vec<Group>,
    /// Place in `groups`, status, ending, calls.
    statuses: Vec<(usize, Option<u16>, u8, u64)>,
    events: Vec<(String, u64)>,
}

#[derive(Serialize, Deserialize)]
struct Group {
    provider: String,
    model: String,
    tokens: [u64; super::CLASSES.len()],
    cost_nano_usd: u64,
    /// Counts of each bucket alone, and their sum.
    histograms: Vec<(Vec<u64>, u64)>,
}

impl Metrics {
    /// The figures, for [`Metrics::restore`].
    pub fn snapshot(&self) -> String {
        let calls = self.lock().clone();
        let events = EVENTS.iter().zip(&self.events).map(|(name, count)| ((*name).to_string(), count.load(Relaxed)));
        let saved = Saved {
            version: VERSION,
            groups: calls.groups.iter().map(|(provider, model, figures)| Group::of(provider, model, figures)).collect(),
            statuses: calls.statuses.iter().map(|(group, status, ending, count)| (group, status, ending as u8, count)).collect(),
            events: events.filter(|(_, count)| *count > 0).collect(),
        };
        serde_json::to_string(&saved).unwrap_or_default()
    }

    /// Adds the figures of a snapshot to those there are; whether it was one of a version that is known. Nothing was added otherwise.
    pub fn restore(&self, snapshot: &str) -> bool {
        let Ok(saved) = serde_json::from_str::<Saved>(snapshot) else { return false };
        if saved.version != VERSION {
            return false;
        }
        self.lock().restore(&saved);
        saved.events.iter().for_each(|(name, count)| self.add_events(name, *count));
        true
    }
}

impl Group {
    fn of(provider: &str, model: &str, figures: &Figures) -> Self {
        Self {
            provider: provider.into(),
            model: model.into(),
            tokens: figures.tokens,
            cost_nano_usd: figures.cost_nano_usd,
            histograms: figures.histograms().into_iter().map(|histogram| (histogram.counts().to_vec(), histogram.sum)).collect(),
        }
    }

    fn figures(&self) -> Figures {
        let mut figures = Figures { tokens: self.tokens, cost_nano_usd: self.cost_nano_usd, ..Figures::ZERO };
        for (histogram, (counts, sum)) in figures.histograms_mut().into_iter().zip(&self.histograms) {
            histogram.restore(counts, *sum);
        }
        figures
    }
}

impl Calls {
    fn restore(&mut self, saved: &Saved) {
        let mut places = Vec::with_capacity(saved.groups.len());
        for group in &saved.groups {
            let place = self.groups.restore(&group.provider, &group.model);
            self.groups.figures_mut(place).add(&group.figures());
            places.push(place);
        }
        for (group, status, ending, count) in &saved.statuses {
            if let (Some(place), Some(ending)) = (places.get(*group), Ending::ALL.get(usize::from(*ending))) {
                self.statuses.add(*place, *status, *ending, *count);
            }
        }
    }
}
