//! From the rates a source gives to the rates of every class.

use crate::money::Rates;

/// The classes in the order of the data files.
pub(super) const CLASSES: [&str; 9] =
    ["input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "input_audio", "output_audio", "input_image", "output_image"];

/// Pico-USD a token by class, as far as a source gives them.
pub(super) type Given = [Option<u64>; CLASSES.len()];

/// Fills what is not given, on the safe side: reading a cache costs as much as no cache; writing to it what Anthropic takes (a quarter more
/// for five minutes, double for an hour) where it is Anthropic's, and else as much as no cache.
pub(super) fn complete(provider: &str, given: &Given) -> Rates {
    let [input, cache_read, cache_write_5m, cache_write_1h, output, input_audio, output_audio, input_image, output_image] = *given;
    let input = input.unwrap_or_default();
    let (five_minutes, hour) = if provider == "anthropic" { ((input * 5).div_ceil(4), input * 2) } else { (input, input) };
    let cache_write_5m = cache_write_5m.unwrap_or(five_minutes);
    Rates {
        input,
        cache_read: cache_read.unwrap_or(input),
        cache_write_5m,
        cache_write_1h: cache_write_1h.unwrap_or(hour.max(cache_write_5m)),
        input_audio,
        input_image,
        output: output.unwrap_or_default(),
        output_audio,
        output_image,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_on_the_safe_side() {
        let given = |classes: &[(usize, u64)]| {
            let mut given = Given::default();
            classes.iter().for_each(|(class, rate)| given[*class] = Some(*rate));
            given
        };
        for (provider, classes, cache) in [
            ("anthropic", &[(0, 3_000_000)][..], (3_000_000, 3_750_000, 6_000_000)),
            ("anthropic", &[(0, 1)], (1, 2, 2)),
            ("anthropic", &[(0, 4), (1, 1), (2, 9)], (1, 9, 9)),
            ("openai", &[(0, 8)], (8, 8, 8)),
            ("openai", &[(0, 8), (2, 10)], (8, 10, 10)),
            ("openai", &[(0, 8), (1, 0), (2, 0), (3, 16)], (0, 0, 16)),
        ] {
            let rates = complete(provider, &given(classes));
            assert_eq!((rates.cache_read, rates.cache_write_5m, rates.cache_write_1h), cache, "{provider} {classes:?}");
        }
    }
}
