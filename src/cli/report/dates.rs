//! Days and times as a user writes them, in UTC, to milliseconds since 1970.

use crate::clock::UnixMs;

const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 86_400_000;

/// A day or a moment of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// Its beginning.
    pub start: UnixMs,
    /// The first moment after it; of a time the time itself.
    pub end: UnixMs,
}

/// Reads `2026-01-31`, `2026-01-31T12:00`, `2026-01-31T12:00:30`, the last two perhaps with a `Z`.
///
/// # Errors
/// What is allowed.
pub(super) fn parse(text: &str) -> Result<Moment, String> {
    moment(text).ok_or_else(|| "must be a day such as 2026-01-31 or a time such as 2026-01-31T12:00, both in UTC".into())
}

fn moment(text: &str) -> Option<Moment> {
    let (date, time) = match text.split_once(['T', ' ']) {
        Some((date, time)) => (date, Some(time.strip_suffix('Z').unwrap_or(time))),
        None => (text, None),
    };
    let day = day(date)? * DAY_MS;
    let Some(time) = time else {
        return Some(Moment { start: UnixMs(day), end: UnixMs(day + DAY_MS) });
    };
    let parts: Vec<u64> = time.split(':').map(two_digits).collect::<Option<_>>()?;
    let (hour, minute, second) = match parts[..] {
        [hour, minute] => (hour, minute, 0),
        [hour, minute, second] => (hour, minute, second),
        _ => return None,
    };
    let at = (hour < 24 && minute < 60 && second < 60).then_some(UnixMs(day + (hour * 60 + minute) * MINUTE_MS + second * 1000))?;
    Some(Moment { start: at, end: at })
}

fn two_digits(text: &str) -> Option<u64> {
    if text.len() == 2 { digits(text) } else { None }
}

fn digits(text: &str) -> Option<u64> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// Days since 1970-01-01 of `YYYY-MM-DD`; `None` for a day that no calendar has.
fn day(text: &str) -> Option<u64> {
    let [year, month, day] = text.split('-').map(digits).collect::<Option<Vec<_>>>()?[..] else { return None };
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || text.len() != 10 {
        return None;
    }
    // Years that begin in March, so that the leap day ends one.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day.checked_sub(1)?;
    let days = days.checked_sub(719_468)?;
    // The calendar has the last word: 30 February comes back as 2 March.
    (UnixMs(days * DAY_MS).rfc3339().get(..10) == Some(text)).then_some(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_times() {
        for (text, start, length_ms) in [
            ("1970-01-01", "1970-01-01T00:00:00.000Z", DAY_MS),
            ("2024-02-29", "2024-02-29T00:00:00.000Z", DAY_MS),
            ("2026-12-31", "2026-12-31T00:00:00.000Z", DAY_MS),
            ("2026-01-31T12:05", "2026-01-31T12:05:00.000Z", 0),
            ("2026-01-31 23:59:59", "2026-01-31T23:59:59.000Z", 0),
            ("2026-01-31T00:00:01Z", "2026-01-31T00:00:01.000Z", 0),
        ] {
            let moment = parse(text).unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!((moment.start.rfc3339().as_str(), moment.end.0 - moment.start.0), (start, length_ms), "{text}");
        }
    }

    #[test]
    fn every_day_of_a_century_is_itself() {
        for nth in 0..36_525 {
            let start = UnixMs(nth * DAY_MS);
            assert_eq!(moment(&start.rfc3339()[..10]).map(|moment| moment.start), Some(start));
        }
    }

    #[test]
    fn no_days() {
        for text in [
            "",
            "today",
            "2026",
            "2026-1-1",
            "2026-02-29",
            "2026-00-10",
            "2026-13-01",
            "2026-01-00",
            "2026-01-32",
            "1969-12-31",
            "26-01-01",
            "2026-01-01T",
            "2026-01-01T24:00",
            "2026-01-01T1:00",
            "2026-01-01T12:60",
            "2026-01-01T12",
            "2026-01-01T12:00:60",
            "+026-01-01",
            "2026-01-01T12:00+01:00",
            "99999-01-01",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
