//! Lists of models (`GET /v1/models`) of several providers as one, in the words of who asks.

use super::Garbled;
use crate::call::Protocol;
use crate::clock::UnixMs;
use crate::wire::bom::BOM;
use crate::wire::json::{Json, Kind, Object, Raw};
use std::collections::HashSet;

/// The last second that RFC 3339 can tell: of the year 9999. Beyond it nothing is a date.
const LAST_SECOND: u64 = 253_402_300_799;

/// The models of several providers, each id once.
///
/// ```
/// use iron_runtime::Protocol;
/// use iron_runtime::wire::translate::ModelList;
/// let mut list = ModelList::default();
/// let page = br#"{"data":[{"type":"model","id":"claude-x","display_name":"X","created_at":"2025-02-24T00:00:00Z"}],"has_more":false}"#;
/// assert_eq!(list.add(Protocol::Anthropic, "anthropic", page), Ok(None));
/// assert_eq!(
///     String::from_utf8(list.to_json(Protocol::OpenAi)).unwrap(),
///     r#"{"object":"list","data":[{"id":"claude-x","object":"model","created":1740355200,"owned_by":"anthropic"}]}"#
/// );
/// ```
#[derive(Debug, Default)]
pub struct ModelList {
    models: Vec<Model>,
    ids: HashSet<String>,
}

/// A model, as both protocols describe one.
#[derive(Clone, Debug)]
struct Model {
    id: String,
    /// Unix seconds; 0: not told.
    created: u64,
    owned_by: String,
    display_name: String,
    /// The description as it came: who speaks its protocol gets it unchanged, with whatever else stands in it.
    own: (Protocol, String),
}

impl ModelList {
    /// Adds a page of an upstream's list; `owner` is who owns the models where the page does not say. Of two models with one id the first
    /// is kept. Returns the id after which the next page begins, if there is one.
    ///
    /// # Errors
    /// [`Garbled`]: no list of models.
    pub fn add(&mut self, upstream: Protocol, owner: &str, page: &[u8]) -> Result<Option<String>, Garbled> {
        let page = Raw::parse(page.strip_prefix(BOM).unwrap_or(page)).map_err(|_| Garbled("it is no JSON".into()))?;
        // Some compatible servers answer with the bare array.
        let data = if page.kind() == Kind::Array { Some(page) } else { page.get("data") };
        let data = data.filter(|data| data.kind() == Kind::Array).ok_or_else(|| Garbled("it has no array \"data\"".into()))?;
        let mut last = None;
        for model in data.items().filter_map(|item| Model::read(upstream, owner, item)) {
            last = Some(model.id.clone());
            if self.ids.insert(model.id.clone()) {
                self.models.push(model);
            }
        }
        let more = upstream == Protocol::Anthropic && page.get("has_more").and_then(Raw::as_bool) == Some(true);
        let next = page.str_of("last_id").map(|id| id.into_owned()).filter(|id| !id.is_empty()).or(last.clone());
        // A page without models promises no other.
        Ok(next.filter(|_| more && last.is_some()))
    }

    /// The list for a client, in one page.
    pub fn to_json(&self, client: Protocol) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + 128 * self.models.len());
        Json::new(&mut out).object(|list| {
            if client == Protocol::OpenAi {
                list.text("object", "list");
            }
            list.key("data").array(|data| self.models.iter().for_each(|model| model.write(client, data.item())));
            if client == Protocol::Anthropic {
                list.text_or_null("first_id", self.models.first().map(|model| model.id.as_str()));
                list.text_or_null("last_id", self.models.last().map(|model| model.id.as_str()));
                list.key("has_more").bool(false);
            }
        });
        out
    }
}

/// Translates the description of one model (`GET /v1/models/ID`).
///
/// # Errors
/// [`Garbled`]: no model.
pub fn model(upstream: Protocol, owner: &str, client: Protocol, body: &[u8]) -> Result<Vec<u8>, Garbled> {
    let raw = Raw::parse(body.strip_prefix(BOM).unwrap_or(body)).map_err(|_| Garbled("it is no JSON".into()))?;
    let model = Model::read(upstream, owner, raw).ok_or_else(|| Garbled("it describes no model".into()))?;
    let mut out = Vec::with_capacity(128);
    model.write(client, Json::new(&mut out));
    Ok(out)
}

impl Model {
    /// Reads a description; `None` without an id. Compatible servers of either protocol have fields of the other: both are looked for.
    fn read(upstream: Protocol, owner: &str, raw: Raw<'_>) -> Option<Self> {
        let text = |name| raw.str_of(name).filter(|text| !text.is_empty()).map(|text| text.into_owned());
        let id = text("id")?;
        let seconds = || raw.get("created").and_then(Raw::as_f64).map(|seconds| seconds as u64);
        let time = || raw.str_of("created_at").and_then(|time| UnixMs::from_rfc3339(&time)).map(|time| time.0 / 1000);
        Some(Self {
            created: seconds().or_else(time).filter(|created| *created <= LAST_SECOND).unwrap_or(0),
            owned_by: text("owned_by").unwrap_or_else(|| owner.into()),
            display_name: text("display_name").or_else(|| text("name")).unwrap_or_else(|| id.clone()),
            own: (upstream, raw.text().into()),
            id,
        })
    }

    fn write(&self, client: Protocol, place: Json<'_>) {
        match client {
            own if own == self.own.0 => place.verbatim(&self.own.1),
            Protocol::OpenAi => place.object(|model| self.write_openai(model)),
            Protocol::Anthropic => place.object(|model| self.write_anthropic(model)),
        }
    }

    fn write_openai(&self, model: &mut Object<'_>) {
        model.text("id", &self.id);
        model.text("object", "model");
        model.whole("created", self.created);
        model.text("owned_by", &self.owned_by);
    }

    fn write_anthropic(&self, model: &mut Object<'_>) {
        model.text("type", "model");
        model.text("id", &self.id);
        model.text("display_name", &self.display_name);
        // Without the milliseconds: the protocol has none.
        let time = UnixMs(self.created * 1000).rfc3339().replace(".000Z", "Z");
        model.text("created_at", &time);
    }
}

#[cfg(test)]
mod tests {
    use super::Protocol::{Anthropic, OpenAi};
    use super::*;
    use serde_json::{Value, json};

    fn listed(pages: &[(Protocol, &str, &str)], client: Protocol) -> Value {
        let mut list = ModelList::default();
        for (upstream, owner, page) in pages {
            list.add(*upstream, owner, page.as_bytes()).expect(page);
        }
        serde_json::from_slice(&list.to_json(client)).expect("JSON")
    }

    const OPENAI: &str = r#"{"object":"list","data":[
        {"id":"gpt-a","object":"model","created":1740355200,"owned_by":"system","extra":[1]},
        {"id":"llama","object":"model"}, {"id":""}, {"object":"model"}, 7, null]}"#;
    const ANTHROPIC: &str = r#"{"data":[{"type":"model","id":"claude-a","display_name":"Claude \"A\"","created_at":"2025-02-24T00:00:00Z","caps":{}},
        {"type":"model","id":"claude-b","created_at":"soon"}],"has_more":false,"first_id":"claude-a","last_id":"claude-b"}"#;

    #[test]
    fn one_list_of_both_for_openai_clients() {
        let expected = json!({"object": "list", "data": [
            {"id": "gpt-a", "object": "model", "created": 1_740_355_200, "owned_by": "system", "extra": [1]},
            {"id": "llama", "object": "model"},
            {"id": "claude-a", "object": "model", "created": 1_740_355_200, "owned_by": "anthropic"},
            {"id": "claude-b", "object": "model", "created": 0, "owned_by": "anthropic"}]});
        assert_eq!(listed(&[(OpenAi, "openai", OPENAI), (Anthropic, "anthropic", ANTHROPIC)], OpenAi), expected);
    }

    #[test]
    fn one_list_of_both_for_anthropic_clients() {
        let expected = json!({"data": [
            {"type": "model", "id": "claude-a", "display_name": "Claude \"A\"", "created_at": "2025-02-24T00:00:00Z", "caps": {}},
            {"type": "model", "id": "claude-b", "created_at": "soon"},
            {"type": "model", "id": "gpt-a", "display_name": "gpt-a", "created_at": "2025-02-24T00:00:00Z"},
            {"type": "model", "id": "llama", "display_name": "llama", "created_at": "1970-01-01T00:00:00Z"}],
            "first_id": "claude-a", "last_id": "llama", "has_more": false});
        assert_eq!(listed(&[(Anthropic, "anthropic", ANTHROPIC), (OpenAi, "openai", OPENAI)], Anthropic), expected);
    }

    #[test]
    fn nothing_is_a_list_too() {
        assert_eq!(listed(&[], OpenAi), json!({"object": "list", "data": []}));
        assert_eq!(listed(&[], Anthropic), json!({"data": [], "first_id": null, "last_id": null, "has_more": false}));
    }

    #[test]
    fn of_two_with_one_id_the_first_is_kept() {
        let page = |owner: &str| format!(r#"{{"data":[{{"id":"m","owned_by":"{owner}"}},{{"id":"m"}}]}}"#);
        let list = listed(&[(OpenAi, "x", &page("first")), (OpenAi, "y", &page("second"))], OpenAi);
        assert_eq!(list["data"], json!([{"id": "m", "owned_by": "first"}]));
    }

    #[test]
    fn the_next_page_begins_after_the_last_id() {
        for (upstream, page, next) in [
            (Anthropic, r#"{"data":[{"id":"a"}],"has_more":true,"last_id":"z"}"#, Some("z")),
            (Anthropic, r#"{"data":[{"id":"a"},{"id":"b"}],"has_more":true}"#, Some("b")),
            (Anthropic, r#"{"data":[{"id":"a"}],"has_more":false,"last_id":"z"}"#, None),
            (Anthropic, r#"{"data":[],"has_more":true,"last_id":"z"}"#, None),
            (OpenAi, r#"{"data":[{"id":"a"}],"has_more":true,"last_id":"z"}"#, None),
            (OpenAi, r#"[{"id":"a"}]"#, None),
        ] {
            assert_eq!(ModelList::default().add(upstream, "o", page.as_bytes()), Ok(next.map(String::from)), "{page}");
        }
    }

    #[test]
    fn what_is_no_list() {
        for page in ["", "<html>", "{}", r#"{"data":{}}"#, r#"{"data":null}"#, "7", r#"{"error":{"message":"no"}}"#] {
            assert!(ModelList::default().add(OpenAi, "o", page.as_bytes()).is_err(), "{page}");
        }
    }

    #[test]
    fn one_model() {
        let one = |upstream, client, body: &str| {
            model(upstream, "owner", client, body.as_bytes()).map(|out| String::from_utf8_lossy(&out).into_owned())
        };
        let claude = r#"{"type":"model","id":"c","display_name":"C","created_at":"2025-02-24T00:00:00Z"}"#;
        let gpt = r#"{"id":"g","object":"model","created":1740355200.0,"owned_by":"system"}"#;
        for (upstream, client, body, expected) in [
            (Anthropic, OpenAi, claude, r#"{"id":"c","object":"model","created":1740355200,"owned_by":"owner"}"#),
            (OpenAi, Anthropic, gpt, r#"{"type":"model","id":"g","display_name":"g","created_at":"2025-02-24T00:00:00Z"}"#),
            (OpenAi, OpenAi, gpt, gpt),
            (
                OpenAi,
                Anthropic,
                r#"{"id":"g","created":1e300}"#,
                r#"{"type":"model","id":"g","display_name":"g","created_at":"1970-01-01T00:00:00Z"}"#,
            ),
            (
                OpenAi,
                Anthropic,
                r#"{"id":"g","created":-1}"#,
                r#"{"type":"model","id":"g","display_name":"g","created_at":"1970-01-01T00:00:00Z"}"#,
            ),
        ] {
            assert_eq!(one(upstream, client, body).as_deref(), Ok(expected), "{body}");
        }
        for body in ["", "{}", "[]", r#"{"id":7}"#, r#"{"id":"\ud800"}"#] {
            assert!(one(OpenAi, Anthropic, body).is_err(), "{body}");
        }
    }
}
