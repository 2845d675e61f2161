//! What OpenAI asks of JSON schemas: that a tool's says it is an object's and names its properties, if only none; and that one which is
//! held to to the letter leaves nothing open.

use crate::wire::json::{Json, Raw};
use std::collections::HashSet;

/// What a schema may not have where it is held to to the letter; the provider refuses such a one.
const UNHEARD_OF: [&str; 9] = ["allOf", "oneOf", "not", "if", "then", "else", "patternProperties", "dependentRequired", "dependentSchemas"];

/// Whether the provider could hold to it to the letter: it is an object's, and every object in it takes the properties it names and no
/// others, and needs all of them.
pub(super) fn is_strict(schema: Raw<'_>) -> bool {
    schema.str_of("type").as_deref() == Some("object") && schema.get("anyOf").is_none() && is_closed(schema)
}

fn is_closed(schema: Raw<'_>) -> bool {
    let (mut is_object, mut takes_others) = (false, true);
    let (mut properties, mut required) = (None, None);
    for (key, value) in schema.members() {
        let inside = match &*key {
            key if UNHEARD_OF.contains(&key) => false,
            "properties" => value.members().all(|(_, property)| is_closed(property)),
            "$defs" | "definitions" => value.members().all(|(_, schema)| is_closed(schema)),
            "items" => is_closed(value),
            "anyOf" | "allOf" | "oneOf" | "prefixItems" => value.items().all(is_closed),
            _ => true,
        };
        if !inside {
            return false;
        }
        match &*key {
            "type" => is_object |= std::iter::once(value).chain(value.items()).any(|kind| kind.as_str().as_deref() == Some("object")),
            "additionalProperties" => takes_others = value.as_bool() != Some(false),
            "properties" => properties = Some(value),
            "required" => required = Some(value),
            _ => {}
        }
    }
    if !is_object && properties.is_none() {
        return true;
    }
    let required: HashSet<_> = required.into_iter().flat_map(Raw::items).filter_map(Raw::as_str).collect();
    !takes_others && properties.into_iter().flat_map(Raw::members).all(|(name, _)| required.contains(&name))
}

/// Writes the schema of a tool's arguments as it is. Where it lacks what the provider insists on, that is put in: `{"type":"object"}`
/// alone is what many tools without arguments have.
pub(super) fn write_parameters(schema: Raw<'_>, place: Json<'_>) {
    let (mut kind, mut properties) = (r#""type":"object""#, r#""properties":{}"#);
    for (key, _) in schema.members() {
        match &*key {
            "type" => kind = "",
            "properties" => properties = "",
            _ => {}
        }
    }
    let inside = schema.text().strip_prefix('{').and_then(|text| text.strip_suffix('}'));
    match inside {
        Some(inside) if !(kind.is_empty() && properties.is_empty()) => {
            let members = [kind, inside.trim(), properties];
            let members: Vec<_> = members.into_iter().filter(|members| !members.is_empty()).collect();
            place.verbatim(&["{", &members.join(","), "}"].concat());
        }
        _ => place.raw(schema),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Raw<'_> {
        Raw::parse(text.as_bytes()).expect(text)
    }

    #[test]
    fn only_a_closed_schema_is_strict() {
        for (schema, strict) in [
            (r#"{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}"#, true),
            (r#"{"type":"object","additionalProperties":false}"#, true),
            (r#"{"type":"object","properties":{"a":{}},"additionalProperties":false}"#, false),
            (r#"{"type":"object","properties":{"a":{}},"required":["a"]}"#, false),
            (r#"{"type":"object","properties":{"a":{}},"required":["a"],"additionalProperties":{}}"#, false),
            (r#"{"type":"object","properties":{"a":{"type":["object","null"]}},"required":["a"],"additionalProperties":false}"#, false),
            (r#"{"type":"object","properties":{"a":{"anyOf":[{"properties":{}}]}},"required":["a"],"additionalProperties":false}"#, false),
            (r#"{"type":"object","properties":{"a":{"items":{"type":"object"}}},"required":["a"],"additionalProperties":false}"#, false),
            (
                r##"{"type":"object","properties":{"a":{"$ref":"#/$defs/b"}},"required":["a"],"additionalProperties":false,"$defs":{"b":{"type":"object"}}}"##,
                false,
            ),
            (r#"{"type":"array","items":{}}"#, false),
            (r#"{"type":"object","properties":7,"required":{},"additionalProperties":false}"#, true),
            ("{}", false),
        ] {
            assert_eq!(is_strict(raw(schema)), strict, "{schema}");
        }
    }

    #[test]
    fn schemas_go_on_byte_for_byte_but_for_what_is_missing() {
        for (schema, expected) in [
            (r#"{"type" : "object","properties": {"é":{ }} }"#, r#"{"type" : "object","properties": {"é":{ }} }"#),
            (r#"{"type":"object"}"#, r#"{"type":"object","properties":{}}"#),
            (r#"{ "properties": {"a":{}} }"#, r#"{"type":"object","properties": {"a":{}}}"#),
            ("{ }", r#"{"type":"object","properties":{}}"#),
        ] {
            let mut out = Vec::new();
            write_parameters(raw(schema), Json::new(&mut out));
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
    }
}
