//! Prices as they are written, USD a million tokens, into whole pico-USD a token: digit by digit, never through a float.
//!
//! The build script compiles the bundled table with this same file.

/// The most a million tokens may cost, USD: what is more is a slip of the pen, and sums have room for this.
const MOST_USD: u64 = 1_000_000;

/// A million tokens at a dollar are a million pico-USD a token.
const PICO_DIGITS: i32 = 6;

/// Pico-USD a token of a price in USD a million tokens, written as JSON writes numbers (`0.15`, `3`, `2.5e-1`).
///
/// # Errors
/// What is wrong with it, to stand after its name.
pub fn pico_usd(text: &str) -> Result<u64, &'static str> {
    const TOO_MUCH: &str = "is more than 1000000 USD a million tokens";
    if text.starts_with('-') {
        return Err("is negative");
    }
    let (digits, exponent) = parts(text).ok_or("is no number")?;
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        return Ok(0);
    }
    let idle = i32::try_from(digits.len() - significant.len()).map_err(|_| TOO_MUCH)?;
    let shift = exponent.saturating_add(idle).saturating_add(PICO_DIGITS);
    let Ok(shift) = u32::try_from(shift) else {
        return Err("is finer than 0.000001 USD a million tokens, which is one pico-USD a token");
    };
    let factor = 10u64.checked_pow(shift).ok_or(TOO_MUCH)?;
    let value = significant.trim_start_matches('0').parse::<u64>().ok().and_then(|value| value.checked_mul(factor)).ok_or(TOO_MUCH)?;
    if value > MOST_USD * 10u64.pow(PICO_DIGITS.unsigned_abs()) { Err(TOO_MUCH) } else { Ok(value) }
}

/// A number's digits without its point, and the power of ten they count.
fn parts(text: &str) -> Option<(String, i32)> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    Some(([whole, fraction].concat(), exponent.saturating_sub(i32::try_from(fraction.len()).ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_or_refused() {
        for (text, pico_usd_a_token) in [
            ("0", Some(0)),
            ("0.0", Some(0)),
            ("0e99", Some(0)),
            ("0.15", Some(150_000)),
            ("2.5", Some(2_500_000)),
            ("3", Some(3_000_000)),
            ("600", Some(600_000_000)),
            ("0.000001", Some(1)),
            ("0.0000010", Some(1)),
            ("1e-6", Some(1)),
            ("1E+2", Some(100_000_000)),
            ("0.1e1", Some(1_000_000)),
            ("1000000", Some(1_000_000_000_000)),
            ("1000000.000001", None),
            ("1000001", None),
            ("1e400", None),
            ("99999999999999999999", None),
            ("0.0000001", None),
            ("0.30000000000000004", None),
            ("0.1500000000000000000000001", None),
            ("1e-7", None),
            ("1e-2147483648", None),
            ("1e99999999999", None),
            ("-1", None),
            ("-0", None),
            ("", None),
            (".5", None),
            ("1.", None),
            ("1e", None),
            ("NaN", None),
            ("null", None),
            ("\"1\"", None),
            ("+1", None),
            ("1_000", None),
        ] {
            assert_eq!(pico_usd(text).ok(), pico_usd_a_token, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_what_is_read(pico in 0u64..=MOST_USD * 1_000_000) {
            let written = format!("{}.{:06}", pico / 1_000_000, pico % 1_000_000);
            proptest::prop_assert_eq!(pico_usd(&written), Ok(pico));
            proptest::prop_assert_eq!(pico_usd(&format!("{pico}e-6")), Ok(pico));
        }
    }
}
