//! Histograms of whole numbers: microseconds, tokens, nano-dollars. Sums are exact, nothing is ever a fraction or no number, and a value is in
//! the bucket whose bound it does not exceed.

/// The most bounds a histogram has.
const MOST: usize = 14;

/// What a histogram measures.
#[derive(Debug)]
pub(super) struct Scale {
    /// The buckets' upper bounds, ascending.
    pub(super) bounds: &'static [u64],
    /// The decimals of a whole number in the unit that is shown: 6 makes seconds of microseconds.
    pub(super) decimals: usize,
}

const fn seconds(bounds: &'static [u64]) -> Scale {
    Scale { bounds, decimals: 6 }
}

/// 50 ms to 10 minutes.
pub(super) static DURATION: Scale = seconds(&[
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
    300_000_000,
    600_000_000,
]);

/// 20 ms to a minute.
pub(super) static FIRST_TOKEN: Scale = seconds(&[
    20_000, 50_000, 100_000, 200_000, 350_000, 500_000, 750_000, 1_000_000, 2_000_000, 5_000_000, 10_000_000, 20_000_000, 60_000_000,
]);

/// 10 µs to a second.
pub(super) static OVERHEAD: Scale = seconds(&[10, 20, 30, 50, 75, 100, 150, 250, 500, 1_000, 2_500, 10_000, 100_000, 1_000_000]);

/// 1 token to 128 Ki.
pub(super) static REPLY_TOKENS: Scale =
    Scale { bounds: &[1, 4, 16, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768, 131_072], decimals: 0 };

/// A thousandth of a cent to ten dollars.
pub(super) static COST: Scale = Scale {
    bounds: &[
        10_000,
        30_000,
        100_000,
        300_000,
        1_000_000,
        3_000_000,
        10_000_000,
        30_000_000,
        100_000_000,
        300_000_000,
        1_000_000_000,
        3_000_000_000,
        10_000_000_000,
    ],
    decimals: 9,
};

/// Counts by bucket, and their sum.
#[derive(Clone, Copy, Debug)]
pub(super) struct Histogram {
    pub(super) scale: &'static Scale,
    /// Of each bucket alone; the one behind the last bound has no end.
    counts: [u64; MOST + 1],
    pub(super) sum: u64,
}

impl Histogram {
    pub(super) const fn new(scale: &'static Scale) -> Self {
        assert!(scale.bounds.len() <= MOST);
        Self { scale, counts: [0; MOST + 1], sum: 0 }
    }

    pub(super) fn observe(&mut self, value: u64) {
        let bucket = self.scale.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket] += 1;
        self.sum = self.sum.saturating_add(value);
    }

    /// The counts of each bucket alone, the endless one last.
    pub(super) fn counts(&self) -> &[u64] {
        &self.counts[..=self.scale.bounds.len()]
    }

    /// The bucket counts and the sum of an earlier one of the same scale; one of another scale is left out.
    pub(super) fn restore(&mut self, counts: &[u64], sum: u64) -> bool {
        if counts.len() != self.counts().len() {
            return false;
        }
        for (mine, theirs) in self.counts.iter_mut().zip(counts) {
            *mine = mine.saturating_add(*theirs);
        }
        self.sum = self.sum.saturating_add(sum);
        true
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.restore(other.counts(), other.sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_ascend_and_belong_to_their_bucket() {
        for scale in [&DURATION, &FIRST_TOKEN, &OVERHEAD, &REPLY_TOKENS, &COST] {
            assert!(scale.bounds.windows(2).all(|pair| pair[0] < pair[1]));
            let mut histogram = Histogram::new(scale);
            for bound in scale.bounds {
                histogram.observe(*bound);
            }
            histogram.observe(u64::MAX);
            assert_eq!(histogram.counts(), vec![1; scale.bounds.len() + 1]);
            assert_eq!(histogram.sum, u64::MAX, "a sum that is too large stays the largest");
        }
    }
}
