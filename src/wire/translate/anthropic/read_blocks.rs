//! What is said in a messages request: the system prompt, the turns, and the blocks of which they are made.

use super::read_request::full_text;
use crate::call::Refusal;
use crate::wire::json::{Kind, Raw};
use crate::wire::translate::Loss;
use crate::wire::translate::field::Field;
use crate::wire::translate::form::{Call, Content, Part, Request, Role, Source, System, Text, Thought};
use crate::wire::translate::media::{Turns, is_base64};
use std::collections::HashSet;

/// How the first line of some agents' system prompts begins. It is meant for the provider's books and never the same twice, so that no
/// other provider's cache would know the prompt again.
const BOOKKEEPING: &str = "x-anthropic-billing-header:";

/// The media types of pictures.
const PICTURES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];

/// The members of this object that have one of these names, in the names' order: of each the last that is not null.
///
/// # Errors
/// 400: it is no object.
pub(super) fn pick<'a, const N: usize>(field: &Field<'a, '_>, names: [&str; N]) -> Result<[Option<Raw<'a>>; N], Refusal> {
    pick_and(field, names, |_, _| {})
}

/// The same; `others` is shown the rest.
///
/// # Errors
/// 400: it is no object.
pub(super) fn pick_and<'a, const N: usize>(
    field: &Field<'a, '_>,
    names: [&str; N],
    mut others: impl FnMut(&str, Raw<'a>),
) -> Result<[Option<Raw<'a>>; N], Refusal> {
    let mut found = [None; N];
    for (key, raw) in field.members()? {
        match names.iter().position(|name| *name == key).and_then(|nth| found.get_mut(nth)) {
            Some(slot) => *slot = Some(raw),
            None => others(&key, raw),
        }
    }
    Ok(found)
}

/// A member that was picked.
///
/// # Errors
/// 400: it is missing.
pub(super) fn need<'a, 'q>(field: &'q Field<'a, 'q>, key: &'q str, raw: Option<Raw<'a>>) -> Result<Field<'a, 'q>, Refusal> {
    raw.map_or_else(|| field.required(key), |raw| Ok(field.at(key, raw)))
}

/// The type of a block or source.
///
/// # Errors
/// 400: it is no object, or has none.
fn kind_of<'a, 'q>(field: &'q Field<'a, 'q>) -> Result<Field<'a, 'q>, Refusal> {
    field.object()?;
    field.required("type")
}

/// A cache mark, checked.
pub(super) fn cache_mark<'a>(field: &Field<'a, '_>, mark: Option<Raw<'a>>) -> Result<Option<Raw<'a>>, Refusal> {
    mark.map(|raw| field.at("cache_control", raw).object()).transpose()
}

/// Reads what stands above the conversation: a text, or blocks of text.
pub(super) fn read_system<'a>(field: &Field<'a, '_>, system: &mut Vec<System<'a>>) -> Result<(), Refusal> {
    if field.raw.kind() != Kind::Array {
        add_system(text_or_blocks(field)?, None, system);
        return Ok(());
    }
    for block in field.items()? {
        let [kind, text, cache] = pick(&block, ["type", "text", "cache_control"])?;
        let kind = need(&block, "type", kind)?;
        let word = kind.text()?;
        if word != "text" {
            return Err(uncarried(&word).map_or_else(|| kind.unknown("text"), |what| block.untranslatable(what)));
        }
        add_system(need(&block, "text", text)?.text()?, cache_mark(&block, cache)?, system);
    }
    Ok(())
}

fn add_system<'a>(text: Text<'a>, cache: Option<Raw<'a>>, system: &mut Vec<System<'a>>) {
    let text = match text.strip_prefix(BOOKKEEPING) {
        Some(rest) => rest.split_once('\n').map_or("", |(_, rest)| rest).to_owned().into(),
        None => text,
    };
    if !text.is_empty() {
        system.push(System { text, cache });
    }
}

/// A text where blocks might stand as well.
fn text_or_blocks<'a>(field: &Field<'a, '_>) -> Result<Text<'a>, Refusal> {
    if field.raw.kind() == Kind::String { field.text() } else { Err(field.refused("must be a string or an array of content blocks")) }
}

/// Reads the conversation.
pub(super) fn read_messages<'a>(messages: &Field<'a, '_>, request: &mut Request<'a>, loss: &mut Loss) -> Result<(), Refusal> {
    let mut turns = Turns::default();
    let mut reader = Blocks { calls: HashSet::new(), loss };
    for message in messages.items()? {
        let [role, content] = pick(&message, ["role", "content"])?;
        let role = need(&message, "role", role)?;
        let content = need(&message, "content", content)?;
        match &*role.text()? {
            "user" => {
                let parts = reader.content(&content, Role::User)?;
                if parts.is_empty() {
                    return Err(content.refused("must not be empty"));
                }
                turns.push(Role::User, parts);
            }
            "assistant" => turns.push(Role::Assistant, reader.content(&content, Role::Assistant)?),
            // Some versions of the protocol let the system speak in the midst of the conversation.
            "system" => read_system(&content, &mut request.system)?,
            _ => return Err(role.unknown("user, assistant, system")),
        }
    }
    request.turns = turns.finish();
    // Thoughts alone are nothing to answer, and not every writer carries them.
    let is_thought = |part: &Part<'_>| matches!(part.content, Content::Thought(_));
    if request.turns.iter().all(|turn| turn.parts.iter().all(is_thought)) {
        return Err(messages.refused("must hold at least one user's or assistant's message that is not empty"));
    }
    Ok(())
}

/// Reads blocks, and remembers what later ones refer to.
struct Blocks<'a, 'l> {
    /// The ids of the tool calls so far.
    calls: HashSet<Text<'a>>,
    loss: &'l mut Loss,
}

impl<'a> Blocks<'a, '_> {
    /// The content of a message.
    fn content(&mut self, content: &Field<'a, '_>, role: Role) -> Result<Vec<Part<'a>>, Refusal> {
        let mut parts = Vec::new();
        if content.raw.kind() == Kind::Array {
            for block in content.items()? {
                match role {
                    Role::User => self.of_user(&block, &mut parts)?,
                    Role::Assistant => self.of_assistant(&block, &mut parts)?,
                }
            }
        } else {
            parts.extend(text_part(text_or_blocks(content)?));
        }
        Ok(parts)
    }

    fn of_user(&mut self, block: &Field<'a, '_>, parts: &mut Vec<Part<'a>>) -> Result<(), Refusal> {
        let kind = kind_of(block)?;
        match &*kind.text()? {
            "tool_result" => self.result(block, parts),
            "container_upload" => Err(block.untranslatable("a container's file")),
            word => self.plain(block, word, parts)?.then_some(()).ok_or_else(|| kind.unknown("text, image, document, tool_result")),
        }
    }

    /// What may stand in a user's turn, in a tool's result, and in a document. False: the word is none of its types.
    fn plain(&mut self, block: &Field<'a, '_>, kind: &str, parts: &mut Vec<Part<'a>>) -> Result<bool, Refusal> {
        match kind {
            "text" => parts.extend(self.text(block)?),
            "image" => parts.push(self.image(block)?),
            "document" => self.document(block, parts)?,
            word => return uncarried(word).map_or(Ok(false), |what| Err(block.untranslatable(what))),
        }
        Ok(true)
    }

    fn text(&mut self, block: &Field<'a, '_>) -> Result<Option<Part<'a>>, Refusal> {
        let [text, citations, cache] = pick(block, ["text", "citations", "cache_control"])?;
        if citations.is_some_and(|citations| citations.items().next().is_some()) {
            self.loss.add("messages.citations");
        }
        let cache = cache_mark(block, cache)?;
        Ok(text_part(need(block, "text", text)?.text()?).map(|part| Part { cache, ..part }))
    }

    fn image(&mut self, block: &Field<'a, '_>) -> Result<Part<'a>, Refusal> {
        let asked = block.raw.get("transformations").and_then(|asked| asked.str_of("oversized_image"));
        if asked.is_some_and(|word| word != "downsize") {
            self.loss.add("messages.transformations");
        }
        read_image(block)
    }

    fn document(&mut self, block: &Field<'a, '_>, parts: &mut Vec<Part<'a>>) -> Result<(), Refusal> {
        let [source, title, context, citations, cache] = pick(block, ["source", "title", "context", "citations", "cache_control"])?;
        if citations.and_then(|citations| citations.get("enabled")).and_then(Raw::as_bool) == Some(true) {
            self.loss.add("messages.citations");
        }
        // What the client says about a document is for the model to read, too.
        parts.extend(context.map(|raw| block.at("context", raw).text()).transpose()?.and_then(text_part));
        let title = title.map(|raw| block.at("title", raw).text()).transpose()?.filter(|title| !title.is_empty());
        let source = need(block, "source", source)?;
        let cache = cache_mark(block, cache)?;
        let kind = kind_of(&source)?;
        let source = match &*kind.text()? {
            "base64" => base64(&source, &["application/pdf"])?,
            "text" => Source::Text(full_text(&source.required("data")?)?),
            "content" => {
                parts.extend(title.and_then(text_part));
                return self.nested(&source.required("content")?, &["text", "image"], parts);
            }
            "url" => return Err(source.untranslatable("a document at an address")),
            "file" => return Err(source.untranslatable("a stored file")),
            _ => return Err(kind.unknown("base64, text, content, url, file")),
        };
        parts.push(Part { content: Content::Document { source, title }, cache });
        Ok(())
    }

    /// Content inside a block, of these types. A document holds no documents: how deep a body nests must not decide how much of the
    /// thread's stack is used.
    fn nested(&mut self, content: &Field<'a, '_>, known: &[&str], parts: &mut Vec<Part<'a>>) -> Result<(), Refusal> {
        if content.raw.kind() != Kind::Array {
            parts.extend(text_part(text_or_blocks(content)?));
            return Ok(());
        }
        for block in content.items()? {
            let kind = kind_of(&block)?;
            let word = kind.text()?;
            let misplaced = word == "document" && !known.contains(&"document");
            if misplaced || !self.plain(&block, &word, parts)? {
                return Err(kind.unknown(&known.join(", ")));
            }
        }
        Ok(())
    }

    fn result(&mut self, block: &Field<'a, '_>, parts: &mut Vec<Part<'a>>) -> Result<(), Refusal> {
        let [id, content, is_error, cache] = pick(block, ["tool_use_id", "content", "is_error", "cache_control"])?;
        let id = need(block, "tool_use_id", id)?;
        let call = id.text()?;
        if !self.calls.contains(&call) {
            return Err(id.refused("is the id of no tool_use block before it"));
        }
        let mut inside = Vec::new();
        if let Some(content) = content {
            self.nested(&block.at("content", content), &["text", "image", "document"], &mut inside)?;
        }
        let is_error = is_error.map(|raw| block.at("is_error", raw).bool()).transpose()?.unwrap_or_default();
        parts.push(Part { content: Content::Result { call, content: inside, is_error }, cache: cache_mark(block, cache)? });
        Ok(())
    }

    fn of_assistant(&mut self, block: &Field<'a, '_>, parts: &mut Vec<Part<'a>>) -> Result<(), Refusal> {
        let kind = kind_of(block)?;
        match &*kind.text()? {
            "text" => parts.extend(self.text(block)?),
            "tool_use" => parts.push(self.call(block)?),
            "thinking" | "redacted_thinking" => parts.push(Content::Thought(read_thought(block)?).into()),
            // Where another model took over, which no model reads.
            "fallback" => {}
            "mcp_tool_listing" => self.loss.add("messages.mcp_tool_listing"),
            "compaction" => return Err(block.untranslatable("a compacted conversation")),
            // What the provider did between the model's words; what came of it the words tell.
            word if word.ends_with("_tool_use") || word.ends_with("_tool_result") => self.loss.add(format!("messages.{word}")),
            _ => return Err(kind.unknown("text, tool_use, thinking, redacted_thinking")),
        }
        Ok(())
    }

    fn call(&mut self, block: &Field<'a, '_>) -> Result<Part<'a>, Refusal> {
        let [id, name, input, caller, toolset, cache] = pick(block, ["id", "name", "input", "caller", "toolset_name", "cache_control"])?;
        if caller.and_then(|caller| caller.str_of("type")).is_some_and(|kind| kind != "direct") {
            self.loss.add("messages.caller");
        }
        if toolset.is_some() {
            self.loss.add("messages.toolset_name");
        }
        let id = full_text(&need(block, "id", id)?)?;
        let name = full_text(&need(block, "name", name)?)?;
        let input = input.map(|raw| block.at("input", raw).object()).transpose()?;
        self.calls.insert(id.clone());
        let arguments = input.map_or("{}", Raw::text).into();
        Ok(Part { content: Content::Call(Call { id, name, arguments }), cache: cache_mark(block, cache)? })
    }
}

/// What a block is that is known and can't be carried.
fn uncarried(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "search_result" => "a search result",
        "tool_reference" => "a reference to a tool",
        "browser_state" => "the state of a browser",
        "tool_addition" | "tool_removal" => "a change of the tools in mid-conversation",
        _ => return None,
    })
}

/// A text as a part; an empty one says nothing.
fn text_part(text: Text<'_>) -> Option<Part<'_>> {
    (!text.is_empty()).then(|| Content::Text(text).into())
}

fn read_image<'a>(block: &Field<'a, '_>) -> Result<Part<'a>, Refusal> {
    let [source, cache] = pick(block, ["source", "cache_control"])?;
    let source = need(block, "source", source)?;
    let kind = kind_of(&source)?;
    let image = match &*kind.text()? {
        "base64" => base64(&source, &PICTURES)?,
        "url" => Source::Url(address(&source.required("url")?)?),
        "file" => return Err(source.untranslatable("a stored file")),
        _ => return Err(kind.unknown("base64, url, file")),
    };
    Ok(Part { content: Content::Image(image), cache: cache_mark(block, cache)? })
}

fn base64<'a>(source: &Field<'a, '_>, known: &[&str]) -> Result<Source<'a>, Refusal> {
    let media = source.required("media_type")?;
    let mut media_type = media.text()?;
    if !known.contains(&&*media_type) {
        media_type = media_type.to_ascii_lowercase().into();
    }
    if !known.contains(&&*media_type) {
        return Err(media.unknown(&known.join(", ")));
    }
    let field = source.required("data")?;
    let data = field.text()?;
    if is_base64(&data) { Ok(Source::Base64 { media_type, data }) } else { Err(field.refused("must be base64")) }
}

fn address<'a>(field: &Field<'a, '_>) -> Result<Text<'a>, Refusal> {
    let url = field.text()?;
    let is_web = |scheme: &str| url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    if is_web("https://") || is_web("http://") { Ok(url) } else { Err(field.refused("must be an http or https address")) }
}

fn read_thought<'a>(block: &Field<'a, '_>) -> Result<Thought<'a>, Refusal> {
    let [text, signature, data] = pick(block, ["thinking", "signature", "data"])?;
    if let Some(data) = data {
        return Ok(Thought::Redacted { data: block.at("data", data).text()? });
    }
    let signature = signature.map(|raw| block.at("signature", raw).text()).transpose()?.unwrap_or_default();
    Ok(Thought::Signed { text: need(block, "thinking", text)?.text()?, signature })
}
