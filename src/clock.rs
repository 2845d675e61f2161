//! Time as a value. Nothing here reads a clock: the edges do and pass the result in, so that policy is testable.

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct UnixMs(pub u64);

impl UnixMs {
    /// The time as RFC 3339 in UTC with milliseconds, e.g. `2026-11-21T02:03:28.004Z`.
    ///
    /// ```
    /// assert_eq!(iron_runtime::UnixMs(951_782_400_004).rfc3339(), "2000-02-29T00:00:00.004Z");
    /// ```
    pub fn rfc3339(self) -> String {
        let (seconds, ms) = (self.0 / 1000, self.0 % 1000);
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        let (year, month, day) = civil(days as i64);
        format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{ms:03}Z", second / 3600, second / 60 % 60, second % 60)
    }

    /// A time of RFC 3339, with any offset and any fraction of a second (what is below a millisecond is cut off). `None`: it is none, or one
    /// before 1970.
    ///
    /// ```
    /// use iron_runtime::UnixMs;
    /// assert_eq!(UnixMs::from_rfc3339("1970-01-01T01:00:02.5+01:00"), Some(UnixMs(2500)));
    /// ```
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        let (date, time) = text.split_at_checked(10)?;
        let (clock, rest) = time.strip_prefix(['T', 't', ' '])?.split_at_checked(8)?;
        let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
        let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
        let days = days(year, month, day).filter(|days| civil(*days) == (year, month, day))?;
        // A leap second is the first of the next minute.
        if hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let (ms, zone) = fraction(rest)?;
        let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset(zone)?;
        u64::try_from(seconds * 1000 + ms).ok().map(Self)
    }
}

/// Numbers of so many digits each, between separators.
fn numbers(text: &str, separator: char, digits: [usize; 3]) -> Option<[i64; 3]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; 3];
    for (number, digits) in numbers.iter_mut().zip(digits) {
        *number = parts.next().filter(|part| part.len() == digits).and_then(whole)?;
    }
    parts.next().is_none().then_some(numbers)
}

/// A number of digits only: no sign.
fn whole(text: &str) -> Option<i64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Milliseconds of `.5`, where there is a fraction, and what follows it.
fn fraction(text: &str) -> Option<(i64, &str)> {
    let Some(text) = text.strip_prefix('.') else { return Some((0, text)) };
    let (digits, rest) = text.split_at(text.bytes().take_while(u8::is_ascii_digit).count());
    let ms = whole(&format!("{digits:0<3}")[..3])?;
    (!digits.is_empty()).then_some((ms, rest))
}

/// Seconds east of Greenwich of `Z` or `+01:00`.
fn offset(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("Z") {
        return Some(0);
    }
    let sign = match zone.bytes().next()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = zone.get(1..)?.split_once(':').filter(|(hours, minutes)| hours.len() == 2 && minutes.len() == 2)?;
    let (hours, minutes) = (whole(hours)?, whole(minutes)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// The count of days that [`civil`] takes apart; of no real day, that of some other. `None` before 1970.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    if year < 1970 || !(1..=12).contains(&month) {
        return None;
    }
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    Some(365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468)
}

/// Year, month and day of a count of days since 1970-01-01 in the proleptic Gregorian calendar
/// (days are counted from 1 March, so that the leap day ends a year).
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
            (1_735_689_599_999, "2024-12-31T23:59:59.999Z"),
            (4_102_444_800_000, "2100-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(UnixMs(ms).rfc3339(), text);
        }
    }

    #[test]
    fn every_day_is_read_as_it_was_written() {
        for day in 0..60_000 {
            let time = UnixMs(day * 86_400_000 + 43_210_987);
            assert_eq!(UnixMs::from_rfc3339(&time.rfc3339()), Some(time));
        }
    }

    #[test]
    fn times_of_others() {
        for (text, ms) in [
            ("2025-02-24T00:00:00Z", Some(1_740_355_200_000)),
            ("2025-02-24t01:30:00.123456789z", Some(1_740_360_600_123)),
            ("2025-02-23T22:00:00-02:00", Some(1_740_355_200_000)),
            ("2016-12-31T23:59:60Z", Some(1_483_228_800_000)),
            ("1970-01-01T00:30:00+01:00", None),
            ("1969-12-31T23:59:59Z", None),
            ("2025-02-29T00:00:00Z", None),
            ("2025-02-24T24:00:00Z", None),
            ("2025-02-24T00:00:00", None),
            ("2025-02-24T00:00:00.Z", None),
            ("2025-02-24T00:00:00+1:00", None),
            ("2025-02-24T+1:00:00Z", None),
            ("2025-02-24", None),
            ("2025-02-2é", None),
            ("2025-02-24T00:00:00é", None),
            ("", None),
        ] {
            assert_eq!(UnixMs::from_rfc3339(text), ms.map(UnixMs), "{text}");
        }
    }
}
