//! What the end of a conversation asks for, in no protocol: the user's last text, the tools called since, what they said, what is shown.
//!
//! The builders of both protocols tell the conversation as [`Event`]s; the mock has no other memory of it.

use super::encode;
use super::speech::THOUGHT;

/// The most characters that are quoted of one result.
const MAX_QUOTED: usize = 4096;

/// One thing in a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The user said this.
    Asked(String),
    /// A tool was called.
    Called(String),
    /// A tool said this.
    Result(String),
    /// Something to look at, in words.
    Shown(String),
    /// An assistant's turn ended.
    Turn,
}

/// How a conversation stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scene {
    /// The user's last text.
    pub(super) asked: String,
    /// The tools called since.
    pub(super) called: Vec<String>,
    /// What tools said in the last turn.
    pub(super) results: Vec<String>,
    /// Whether the last turn ends with such results and not with a new text of the user.
    pub(super) answered: bool,
    /// What the last turn shows.
    shown: Vec<String>,
}

impl Scene {
    /// The scene at the end of `events`.
    pub(super) fn of(events: impl IntoIterator<Item = Event>) -> Self {
        let mut scene = Self::default();
        for event in events {
            match event {
                Event::Asked(text) => {
                    scene.asked = text;
                    scene.called.clear();
                    scene.answered = false;
                }
                Event::Called(name) => scene.called.push(name),
                Event::Result(text) => {
                    scene.results.push(text);
                    scene.answered = true;
                }
                Event::Shown(what) => scene.shown.push(what),
                Event::Turn => {
                    scene.results.clear();
                    scene.shown.clear();
                    scene.answered = false;
                }
            }
        }
        scene
    }

    /// Whether the user's text has a word, in any case.
    pub(super) fn asks(&self, word: &str) -> bool {
        self.asked.split(|c: char| !c.is_alphanumeric()).any(|said| said.eq_ignore_ascii_case(word))
    }

    /// What a reply begins with: that what was shown and said has arrived.
    pub(super) fn seen(&self) -> String {
        let mut text = String::new();
        self.shown.iter().for_each(|shown| text.push_str(&format!("I see {shown}. ")));
        if !self.results.is_empty() {
            let quoted: Vec<String> = self.results.iter().map(|result| result.chars().take(MAX_QUOTED).collect()).collect();
            text.push_str(&format!("The tools said: {}. ", quoted.join(" | ")));
        }
        text
    }

    /// A thought, which is another one after every step, so that none can be taken for another.
    pub(super) fn thought(&self) -> String {
        match self.called.len() {
            0 => THOUGHT.to_owned(),
            calls => format!("{THOUGHT} Calls so far: {calls}."),
        }
    }
}

/// A picture of a media type by its base64 content, in words.
pub(super) fn picture(media_type: &str, content: &str) -> String {
    let bytes = encode::from_base64(content).unwrap_or_default();
    let length = bytes.len();
    match png_size(&bytes) {
        Some((width, height)) => format!("an {media_type} of {length} bytes, {width} by {height} pixels"),
        None => format!("an {media_type} of {length} bytes"),
    }
}

/// A document by its title and base64 content, in words.
pub(super) fn document(title: Option<&str>, content: &str) -> String {
    let length = encode::from_base64(content).unwrap_or_default().len();
    format!("a document of {length} bytes named {}", title.unwrap_or("nothing"))
}

/// Width and height from the header of a PNG file.
fn png_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let header = bytes.strip_prefix(b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR")?;
    let figure = |at: usize| Some(u32::from_be_bytes(header.get(at..at + 4)?.try_into().ok()?));
    Some((figure(0)?, figure(4)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> Event {
        Event::Asked(text.into())
    }

    #[test]
    fn the_end_is_what_counts() {
        let called = |name: &str| Event::Called(name.into());
        let said = |text: &str| Event::Result(text.into());
        let loop_ = [asked("old"), called("x"), Event::Turn, said("1"), Event::Turn, asked("new"), called("f"), Event::Turn, said("2")];
        let scene = Scene::of(loop_);
        assert_eq!((scene.asked.as_str(), &scene.called[..], &scene.results[..]), ("new", &["f".to_owned()][..], &["2".to_owned()][..]));
        assert!(scene.answered && scene.seen() == "The tools said: 2. ");
        let scene = Scene::of([asked("a"), called("f"), Event::Turn, said("2"), asked("b")]);
        assert!(!scene.answered && scene.called.is_empty());
    }

    #[test]
    fn words_are_whole_words() {
        let scene = Scene::of([asked("The weather, Then the clock")]);
        assert!(scene.asks("then") && !scene.asks("eat") && !scene.asks("the weather"));
    }

    #[test]
    fn what_is_shown_is_measured() {
        let png = [&b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR"[..], &[0, 0, 0, 2, 0, 0, 0, 3, 8, 2, 0, 0, 0]].concat();
        assert_eq!(picture("image/png", &encode::base64(&png)), "an image/png of 29 bytes, 2 by 3 pixels");
        assert_eq!(picture("image/gif", "AAAA"), "an image/gif of 3 bytes");
        assert_eq!(document(Some("a.pdf"), "AAAA"), "a document of 3 bytes named a.pdf");
        for end in 0..png.len() {
            picture("image/png", &encode::base64(&png[..end]));
        }
    }
}
