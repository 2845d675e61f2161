//! Columns for people, fields for programs: how lists of figures are written.

use crate::money::NANO;

/// The longest name in a column.
const MOST_NAME: usize = 48;

/// Lines of columns under their heads; the first `left` columns are aligned to the left, the others to the right.
pub(super) fn columns(heads: &[&str], left: usize, rows: &[Vec<String>]) -> Vec<String> {
    let heads: Vec<String> = heads.iter().map(|head| head.to_string()).collect();
    let width = |column: usize| {
        let cells = std::iter::once(&heads).chain(rows).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let gap = if column == 0 { "" } else { "  " };
            line += &if column < left { format!("{gap}{cell:<width$}") } else { format!("{gap}{cell:>width$}") };
        }
        line.trim_end().to_string()
    };
    std::iter::once(&heads).chain(rows).map(line).collect()
}

/// A name that came from a client, as it may stand in a line: no control characters, not longer than a column bears.
pub(super) fn name(text: &str) -> String {
    let shown: String = text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect();
    match shown.char_indices().nth(MOST_NAME) {
        Some((cut, _)) => format!("{}…", &shown[..cut]),
        None => shown,
    }
}

/// Amounts in nano-USD with the same number of decimals, as many as the finest needs and two at least, so that their points stand in a line.
pub(super) fn dollars(amounts: &[u64]) -> Vec<String> {
    let needed = |amount: &u64| format!("{:09}", amount % NANO).trim_end_matches('0').len();
    let decimals = amounts.iter().map(needed).max().unwrap_or(0).max(2);
    amounts.iter().map(|amount| format!("${}.{}", amount / NANO, &format!("{:09}", amount % NANO)[..decimals])).collect()
}

/// Fields of a line of comma-separated values (RFC 4180).
pub(super) fn csv<'f>(fields: impl IntoIterator<Item = &'f str>) -> String {
    let quoted = |field: &str| {
        if field.contains([',', '"', '\n', '\r']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field.to_string() }
    };
    fields.into_iter().map(quoted).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligned() {
        let rows = vec![vec!["a".to_string(), "1".into()], vec!["länger".into(), "1,000".into()]];
        assert_eq!(columns(&["name", "calls"], 1, &rows), ["name    calls", "a           1", "länger  1,000"]);
        assert_eq!(columns(&["name", "what"], 2, &rows), ["name    what", "a       1", "länger  1,000"]);
        assert_eq!(columns(&["name"], 1, &[]), ["name"]);
    }

    #[test]
    fn names_can_not_write_over_the_screen() {
        assert_eq!(name("gpt-4o"), "gpt-4o");
        assert_eq!(name("a\x1b[2Jb\nc"), "a\\u{1b}[2Jb\\nc");
        assert_eq!(name(&"é".repeat(100)).chars().count(), MOST_NAME + 1);
    }

    #[test]
    fn points_in_a_line() {
        assert_eq!(dollars(&[0, 1_500_000_000, 525_000]), ["$0.000000", "$1.500000", "$0.000525"]);
        assert_eq!(dollars(&[2_000_000_000]), ["$2.00"]);
        assert_eq!(dollars(&[]), Vec::<String>::new());
    }

    #[test]
    fn fields() {
        assert_eq!(csv(["a", "b c", ""]), "a,b c,");
        assert_eq!(csv(["a,b", "say \"x\"", "l\nm"]), "\"a,b\",\"say \"\"x\"\"\",\"l\nm\"");
    }
}
