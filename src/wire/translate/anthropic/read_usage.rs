//! What a message used, as told in one place or, in a stream, bit by bit.

use crate::money::Usage;
use crate::wire::json::Raw;

/// The figures told so far. A stream tells them more than once, each time the whole sum and not always all of them: of each figure the
/// last word counts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    input: u64,
    cache_read: u64,
    cache_written: u64,
    written_5m: u64,
    written_1h: u64,
    output: u64,
    thinking: u64,
}

impl Counts {
    /// Takes in a `usage` object. What is no count leaves the figure as it was.
    pub(super) fn read(&mut self, usage: Raw<'_>) {
        for (name, value) in usage.members() {
            match name.as_ref() {
                "input_tokens" => set(&mut self.input, value),
                "cache_read_input_tokens" => set(&mut self.cache_read, value),
                "cache_creation_input_tokens" => set(&mut self.cache_written, value),
                "output_tokens" => set(&mut self.output, value),
                "cache_creation" => self.read_written(value),
                "output_tokens_details" => self.read_details(value),
                _ => {}
            }
        }
    }

    /// The tokens in disjoint classes.
    pub(super) fn usage(&self) -> Usage {
        // What is not broken down was written for the usual time.
        let unsaid = self.cache_written.saturating_sub(self.written_5m.saturating_add(self.written_1h));
        Usage {
            input: self.input,
            cache_read: self.cache_read,
            cache_write_5m: self.written_5m.saturating_add(unsaid),
            cache_write_1h: self.written_1h,
            output: self.output,
            reasoning: self.thinking.min(self.output),
            ..Usage::default()
        }
    }

    fn read_written(&mut self, parts: Raw<'_>) {
        for (name, value) in parts.members() {
            match name.as_ref() {
                "ephemeral_5m_input_tokens" => set(&mut self.written_5m, value),
                "ephemeral_1h_input_tokens" => set(&mut self.written_1h, value),
                _ => {}
            }
        }
    }

    fn read_details(&mut self, parts: Raw<'_>) {
        for (name, value) in parts.members() {
            if matches!(name.as_ref(), "thinking_tokens" | "reasoning_tokens") {
                set(&mut self.thinking, value);
            }
        }
    }
}

fn set(figure: &mut u64, told: Raw<'_>) {
    *figure = told.as_u64().unwrap_or(*figure);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(told: &[&str]) -> Usage {
        let mut counts = Counts::default();
        told.iter().for_each(|text| counts.read(Raw::parse(text.as_bytes()).expect(text)));
        counts.usage()
    }

    #[test]
    fn the_last_word_on_each_figure_counts() {
        let found = usage(&[
            r#"{"input_tokens":8,"output_tokens":1,"cache_read_input_tokens":5}"#,
            r#"{"output_tokens":30,"output_tokens_details":{"thinking_tokens":9}}"#,
            r#"{"output_tokens":40,"input_tokens":null,"cache_read_input_tokens":"7"}"#,
        ]);
        assert_eq!(found, Usage { input: 8, cache_read: 5, output: 40, reasoning: 9, ..Usage::default() });
    }

    #[test]
    fn cache_writes_are_counted_once() {
        let broken_down =
            r#"{"cache_creation_input_tokens":10,"cache_creation":{"ephemeral_5m_input_tokens":3,"ephemeral_1h_input_tokens":4}}"#;
        assert_eq!(usage(&[broken_down]), Usage { cache_write_5m: 6, cache_write_1h: 4, ..Usage::default() });
        assert_eq!(usage(&[r#"{"cache_creation_input_tokens":10}"#]).cache_write_5m, 10);
        assert_eq!(usage(&[broken_down, r#"{"cache_creation_input_tokens":7}"#]).input_tokens(), 7);
    }

    #[test]
    fn no_figures_overflow() {
        let most = format!(r#"{{"cache_creation_input_tokens":{0},"cache_creation":{{"ephemeral_5m_input_tokens":{0}}}}}"#, u64::MAX);
        assert_eq!(usage(&[&most, r#"[1]"#]).input_tokens(), u64::MAX);
    }
}
