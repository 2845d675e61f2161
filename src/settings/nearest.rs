//! "Did you mean …?": the known name nearest to a mistyped one.

/// The candidate with the fewest single-letter edits to `name`, if they are few for its length.
pub fn nearest<'c>(name: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    let most = (name.len() / 3).clamp(1, 3);
    let (edits, best) = candidates.map(|candidate| (distance(name, candidate), candidate)).min_by_key(|(edits, _)| *edits)?;
    (edits <= most && edits < best.len()).then_some(best)
}

/// Insertions, deletions, substitutions and swaps of neighbours that lead from `a` to `b`.
fn distance(a: &str, b: &str) -> usize {
    // Names are short; a longer one is near nothing, and must not cost time.
    if a.len() > 64 {
        return usize::MAX;
    }
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let substituted = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = substituted.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, edits) in
            [("port", "port", 0), ("prot", "port", 1), ("por", "port", 1), ("", "port", 4), ("post", "port", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(a, b), edits, "{a} {b}");
        }
    }

    #[test]
    fn suggests_only_what_is_near() {
        let names = ["port", "host", "openai_key", "max_body_bytes"];
        for (name, want) in [
            ("prot", Some("port")),
            ("openai-key", Some("openai_key")),
            ("opnai_kye", Some("openai_key")),
            ("max_body_byte", Some("max_body_bytes")),
            ("budget", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, names.into_iter()), want, "{name}");
        }
    }
}
