//! The names that may stand for a model, in the order in which they are tried. What is dropped is a date or `-latest`, never any other part:
//! a model whose name merely begins like a known one is unknown.

use std::borrow::Cow;

/// How a name was made out of the one that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// It is that name.
    Exact,
    /// In lower case.
    Lower,
    /// `ft:BASE:org:suffix:id` is charged as `ft:BASE`.
    FineTune,
    /// Without `-latest`.
    Latest,
    /// Without its date.
    Undated,
}

/// The names, each made when it is asked for. A fine-tune has rates of its own, so it never becomes its base.
pub(super) fn forms(model: &str) -> impl Iterator<Item = (Form, Cow<'_, str>)> {
    let exact = std::iter::once_with(move || (Form::Exact, Cow::Borrowed(model)));
    exact.chain(std::iter::once_with(move || further(model)).flatten())
}

/// All but the first.
fn further(model: &str) -> Vec<(Form, Cow<'_, str>)> {
    let mut names = Vec::new();
    let lower = if model.bytes().any(|byte| byte.is_ascii_uppercase()) {
        let lower = model.to_ascii_lowercase();
        names.push((Form::Lower, lower.clone().into()));
        Cow::Owned(lower)
    } else {
        Cow::Borrowed(model)
    };
    if let Some(base) = fine_tune(&lower) {
        names.push((Form::FineTune, base.into()));
        return names;
    }
    if let Some(base) = lower.strip_suffix("-latest") {
        names.push((Form::Latest, base.to_owned().into()));
    }
    if let Some(base) = undated(&lower) {
        names.push((Form::Undated, base.to_owned().into()));
        names.push((Form::Undated, format!("{base}-latest").into()));
    }
    names
}

/// The name under which a fine-tune is charged: of OpenAI's form `ft:BASE:…`, or Azure's `BASE.ft-…`. `None`: it is none.
fn fine_tune(name: &str) -> Option<String> {
    if let Some(rest) = name.strip_prefix("ft:") {
        return Some(format!("ft:{}", rest.split(':').next().unwrap_or(rest)));
    }
    name.split_once(".ft-").map(|(base, _)| format!("ft:{base}"))
}

/// The name without the date at its end: `-2024-11-20`, `-20250514`, `@20250514`. `None`: it has none.
fn undated(name: &str) -> Option<&str> {
    [11, 9].into_iter().find_map(|length| {
        let (base, date) = name.split_at_checked(name.len().checked_sub(length)?)?;
        let date = date.strip_prefix(['-', '@'])?;
        (!base.is_empty() && is_date(date)).then_some(base)
    })
}

/// `YYYY-MM-DD` or `YYYYMMDD`, of this century.
fn is_date(text: &str) -> bool {
    let digits = match text.len() {
        10 if text.bytes().enumerate().all(|(at, byte)| (byte == b'-') == matches!(at, 4 | 7)) => text.replace('-', ""),
        8 => text.to_owned(),
        _ => return false,
    };
    let number = |part: &str| part.parse::<u32>().ok();
    digits.bytes().all(|byte| byte.is_ascii_digit())
        && digits.starts_with("20")
        && number(&digits[4..6]).is_some_and(|month| (1..=12).contains(&month))
        && number(&digits[6..]).is_some_and(|day| (1..=31).contains(&day))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_a_name() {
        use Form::{Exact, FineTune, Latest, Lower, Undated};
        for (model, expected) in [
            ("gpt-4o", &[(Exact, "gpt-4o")][..]),
            ("GPT-4o", &[(Exact, "GPT-4o"), (Lower, "gpt-4o")]),
            ("m-latest", &[(Exact, "m-latest"), (Latest, "m")]),
            ("m-2024-11-20", &[(Exact, "m-2024-11-20"), (Undated, "m"), (Undated, "m-latest")]),
            ("m-20250514", &[(Exact, "m-20250514"), (Undated, "m"), (Undated, "m-latest")]),
            ("m@20250514", &[(Exact, "m@20250514"), (Undated, "m"), (Undated, "m-latest")]),
            ("M-20250514", &[(Exact, "M-20250514"), (Lower, "m-20250514"), (Undated, "m"), (Undated, "m-latest")]),
            ("m-20251314", &[(Exact, "m-20251314")]),
            ("m-2024-1120", &[(Exact, "m-2024-1120")]),
            ("m-12345678", &[(Exact, "m-12345678")]),
            ("-20250514", &[(Exact, "-20250514")]),
            ("m20250514", &[(Exact, "m20250514")]),
            ("é20250514", &[(Exact, "é20250514")]),
            ("m-0613", &[(Exact, "m-0613")]),
            ("", &[(Exact, "")]),
            ("ft:m-2024-07-18:org::id", &[(Exact, "ft:m-2024-07-18:org::id"), (FineTune, "ft:m-2024-07-18")]),
            ("ft:m:o:s:id:ckpt-step-8", &[(Exact, "ft:m:o:s:id:ckpt-step-8"), (FineTune, "ft:m")]),
            ("m.ft-abc-20250514", &[(Exact, "m.ft-abc-20250514"), (FineTune, "ft:m")]),
        ] {
            let got: Vec<_> = forms(model).collect();
            let got: Vec<_> = got.iter().map(|(form, name)| (*form, name.as_ref())).collect();
            assert_eq!(got, expected, "{model}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_name_is_taken(model in "\\PC{0,40}") {
            proptest::prop_assert!(forms(&model).count() <= 5);
        }
    }
}
