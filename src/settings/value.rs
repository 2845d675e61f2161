//! One value: text in, something of its kind out, or what would be allowed.

use super::{Kind, quoted};
use crate::config::BaseUrl;
use crate::money::{MOST_USD, NanoUsd};
use crate::secret::Secret;
use std::path::PathBuf;
use std::time::Duration;

/// The longest time a setting may hold: 30 days. Longer ones are slips of the pen, and would overflow somebody's clock.
const MOST_SECONDS: f64 = 30.0 * 86_400.0;
/// The shortest time that is not zero.
const LEAST_SECONDS: f64 = 0.001;

/// A value of one of the kinds.
#[derive(Clone)]
pub(super) enum Value {
    Number(u64),
    Time(Duration),
    Text(String),
    Hosts(Vec<String>),
    Key(Secret),
    Url(BaseUrl),
    File(PathBuf),
    /// The word `none` in a file's place.
    NoFile,
    Usd(NanoUsd),
    Percents(Vec<u8>),
    Switch(bool),
}

impl Value {
    /// Reads `text` as a value of `kind`; the error says what is allowed.
    pub(super) fn parse(kind: Kind, text: String) -> Result<Self, String> {
        match kind {
            Kind::Port => number(&text, 0, 65_535, "a port, 0 to 65535").map(Self::Number),
            Kind::Count { most } => number(&text, 1, most, &format!("a whole number from 1 to {most}")).map(Self::Number),
            Kind::Bytes { most } => bytes(&text, most).map(Self::Number),
            Kind::Seconds { zero } => seconds(&text, zero).map(Self::Time),
            Kind::Host => host(&text).map(Self::Text),
            Kind::Hosts => text.split(',').map(|name| host(name.trim())).collect::<Result<_, _>>().map(Self::Hosts),
            Kind::Key if text.is_empty() => Err("is empty; it takes a key, env:NAME or file:PATH".into()),
            Kind::Key => Ok(Self::Key(Secret::new(text))),
            Kind::Url => url(&text).map(Self::Url),
            Kind::Word(words) if words.contains(&text.as_str()) => Ok(Self::Text(text)),
            Kind::Word(words) => Err(format!("must be {}, not {}", words.join(" or "), quoted(&text))),
            Kind::File if text.is_empty() => Err("is empty; it takes the path of a file".into()),
            Kind::FileOrNone if text.is_empty() => Err("is empty; it takes the path of a file, or none".into()),
            Kind::FileOrNone if text == "none" => Ok(Self::NoFile),
            Kind::File | Kind::FileOrNone => Ok(Self::File(text.into())),
            Kind::Usd => usd(&text).map(Self::Usd),
            Kind::Percents => percents(&text).map(Self::Percents),
            Kind::Switch => match text.as_str() {
                "true" | "1" => Ok(Self::Switch(true)),
                "false" | "0" => Ok(Self::Switch(false)),
                _ => Err(format!("must be true or false, not {}", quoted(&text))),
            },
        }
    }
}

/// An address; what may be a password or a key in it is not repeated.
pub(super) fn url(text: &str) -> Result<BaseUrl, String> {
    text.parse().map_err(|error| {
        let shown = quoted(text);
        if shown.starts_with('"') {
            format!("{error}")
        } else {
            "must be an address such as https://host/path, without user, password or key".into()
        }
    })
}

fn number(text: &str, least: u64, most: u64, allowed: &str) -> Result<u64, String> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = if digits { text.parse().ok() } else { None };
    number.filter(|n| (least..=most).contains(n)).ok_or_else(|| format!("must be {allowed}, not {}", quoted(text)))
}

fn bytes(text: &str, most: u64) -> Result<u64, String> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let scale = match unit.trim_start() {
        "" | "B" => Some(1),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        _ => None,
    };
    let size = scale.and_then(|scale: u64| digits.parse::<u64>().ok()?.checked_mul(scale));
    let allowed = || format!("must be a size such as 1048576 or 32MiB (KiB, MiB, GiB), from 1 to {most} bytes, not {}", quoted(text));
    size.filter(|size| (1..=most).contains(size)).ok_or_else(allowed)
}

fn seconds(text: &str, zero: bool) -> Result<Duration, String> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let seconds = if plain { text.parse::<f64>().ok() } else { None };
    let fits = |s: &f64| (LEAST_SECONDS..=MOST_SECONDS).contains(s) || (zero && *s == 0.0);
    let from = if zero { "0, or 0.001" } else { "0.001" };
    let allowed = || format!("must be a time in seconds from {from} to {MOST_SECONDS}, such as 10 or 0.5, not {}", quoted(text));
    seconds.filter(fits).map(Duration::from_secs_f64).ok_or_else(allowed)
}

/// An amount of dollars. Exponents are read because other languages write small numbers with them.
pub(super) fn usd(text: &str) -> Result<NanoUsd, String> {
    let plain =
        text.starts_with(|c: char| c.is_ascii_digit() || c == '.') && text.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b));
    let usd = if plain { text.parse::<f64>().ok() } else { None };
    let allowed = || format!("must be an amount of US dollars from 0 to {MOST_USD}, such as 10 or 0.05, not {}", quoted(text));
    usd.and_then(NanoUsd::from_usd).ok_or_else(allowed)
}

/// Percentages, ascending and each once. No text, or `none`: none.
fn percents(text: &str) -> Result<Vec<u8>, String> {
    if text.trim().is_empty() || text == "none" {
        return Ok(Vec::new());
    }
    let allowed = || format!("must be whole percentages from 1 to 100 such as 50,80,95,100, or none, not {}", quoted(text));
    let percent = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<u8>().ok().filter(|percent| digits && (1..=100).contains(percent)).ok_or_else(allowed)
    };
    let mut percents: Vec<u8> = text.split(',').map(|text| percent(text.trim())).collect::<Result<_, _>>()?;
    percents.sort_unstable();
    percents.dedup();
    Ok(percents)
}

/// A host name or address without port; brackets around an IPv6 address are dropped.
fn host(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let name = !bare.is_empty() && bare.len() <= 253 && bare.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    if name || bare.parse::<std::net::IpAddr>().is_ok() {
        Ok(bare.to_ascii_lowercase())
    } else {
        Err(format!("must be a host name or IP address without port, not {}", quoted(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str, zero: bool) -> Option<u128> {
        seconds(text, zero).ok().map(|time| time.as_micros())
    }

    #[test]
    fn times() {
        for (text, micros) in [("10", 10_000_000), ("0.5", 500_000), ("0.001", 1000), (".25", 250_000), ("2592000", 2_592_000_000_000)] {
            assert_eq!(time(text, false), Some(micros), "{text}");
        }
        for text in ["", "0", "0.0001", "-1", "+1", "1e3", "inf", "NaN", "1s", "2592001", ".", "1.2.3", " 1"] {
            assert_eq!(time(text, false), None, "{text}");
        }
        assert_eq!(time("0", true), Some(0));
        assert_eq!(time("0.0001", true), None);
    }

    #[test]
    fn sizes() {
        let most = 4 << 30;
        for (text, size) in
            [("1", 1), ("1048576", 1 << 20), ("32MiB", 32 << 20), ("32 MiB", 32 << 20), ("4GiB", 4 << 30), ("8KiB", 8192), ("5B", 5)]
        {
            assert_eq!(bytes(text, most).ok(), Some(size), "{text}");
        }
        for text in ["", "0", "MiB", "1MB", "1mib", "-1", "5GiB", "99999999999999999999", "17179869184GiB", "1.5MiB"] {
            assert!(bytes(text, most).is_err(), "{text}");
        }
    }

    #[test]
    fn amounts() {
        for (text, nano) in
            [("0", 0), ("10", 10_000_000_000), ("10.0", 10_000_000_000), ("0.05", 50_000_000), (".5", 500_000_000), ("1e-05", 10_000)]
        {
            assert_eq!(usd(text), Ok(NanoUsd(nano)), "{text}");
        }
        assert!(usd("1000000000").is_ok());
        for text in
            ["", "-1", "-0.0", "+1", "nan", "NaN", "inf", "-inf", "infinity", "$5", "5 USD", "1,5", "1e", "1e99", "1000000001", " 1"]
        {
            assert!(usd(text).is_err_and(|why| why.starts_with("must be an amount of US dollars from 0 to 1000000000")), "{text}");
        }
    }

    #[test]
    fn percentages() {
        for (text, want) in
            [("50,80,95,100", &[50, 80, 95, 100][..]), ("100, 1,50,1", &[1, 50, 100]), ("", &[]), (" ", &[]), ("none", &[]), ("7", &[7])]
        {
            assert_eq!(percents(text).as_deref(), Ok(want), "{text}");
        }
        for text in ["0", "101", "300", "-1", "50%", "50,", ",", "50.5", "half", "50 80"] {
            assert!(percents(text).is_err(), "{text}");
        }
    }

    #[test]
    fn hosts_and_ports() {
        for (text, want) in
            [("127.0.0.1", "127.0.0.1"), ("[::1]", "::1"), ("::", "::"), ("Router.Local", "router.local"), ("0.0.0.0", "0.0.0.0")]
        {
            assert_eq!(host(text).ok().as_deref(), Some(want), "{text}");
        }
        for text in ["", "a b", "host:80", "http://host", "[host", "a/b"] {
            assert!(host(text).is_err(), "{text}");
        }
        for (text, want) in [("0", Some(0)), ("65535", Some(65_535)), ("65536", None), ("+1", None), ("", None), ("8o", None)] {
            assert_eq!(number(text, 0, 65_535, "a port").ok(), want, "{text}");
        }
    }
}
