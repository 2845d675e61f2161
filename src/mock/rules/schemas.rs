//! What providers ask of a JSON schema that a reply has to keep to.

use super::{items, unknown};
use serde_json::Value;

/// Nesting that is looked at; deeper is left to the provider's own limit.
const MAX_DEPTH: usize = 32;

/// The first place in a schema that a strict reply can't keep to: an object that is open, or (`all_required`) has optional properties.
pub(super) fn strict_fault(schema: &Value, all_required: bool) -> Option<String> {
    fault(schema, all_required, &mut Vec::new())
}

fn fault<'a>(schema: &'a Value, all_required: bool, path: &mut Vec<&'a str>) -> Option<String> {
    if path.len() > MAX_DEPTH {
        return None;
    }
    let properties = schema.get("properties").filter(|properties| properties.is_object());
    if schema["type"] == "object" || properties.is_some() {
        if schema.get("additionalProperties") != Some(&Value::Bool(false)) {
            return Some(format!("In context=({}), 'additionalProperties' is required to be supplied and to be false.", context(path)));
        }
        let required: Vec<&str> = items(&schema["required"]).iter().filter_map(Value::as_str).collect();
        if let Some(optional) = properties.and_then(|properties| unknown(properties, &required).next()).filter(|_| all_required) {
            return Some(format!(
                "In context=({}), 'required' is required to be supplied and to be an array including every key in properties. Missing '{optional}'.",
                context(path)
            ));
        }
    }
    let named = ["properties", "$defs", "definitions"].into_iter().filter_map(|holder| Some((holder, schema.get(holder)?.as_object()?)));
    let listed = ["anyOf", "oneOf", "allOf"].into_iter().flat_map(|holder| items(&schema[holder]).iter().map(move |inner| (holder, inner)));
    let inner: Vec<(&str, &Value)> = named
        .flat_map(|(_, holder)| holder.iter().map(|(name, inner)| (name.as_str(), inner)))
        .chain(listed)
        .chain(schema.get("items").map(|inner| ("items", inner)))
        .collect();
    inner.into_iter().find_map(|(name, inner)| {
        path.push(name);
        let found = fault(inner, all_required, path);
        path.pop();
        found
    })
}

fn context(path: &[&str]) -> String {
    path.iter().map(|step| format!("'{step}'")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn strict_schemas_are_closed_all_the_way_down() {
        let closed = json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": false});
        let optional = json!({"type": "object", "properties": {"a": {}}, "additionalProperties": false});
        let table = [
            (closed.clone(), true, None),
            (json!({"type": "object"}), false, Some("context=()")),
            (optional.clone(), false, None),
            (optional, true, Some("Missing 'a'")),
            (json!({"type": "array", "items": {"type": "object"}}), false, Some("context=('items')")),
            (json!({"$defs": {"x": {"type": "object"}}, "anyOf": [closed]}), true, Some("context=('x')")),
        ];
        for (schema, all_required, expected) in table {
            let got = strict_fault(&schema, all_required);
            match expected {
                None => assert_eq!(got, None, "{schema}"),
                Some(part) => assert!(got.as_deref().is_some_and(|got| got.contains(part)), "{schema} {got:?}"),
            }
        }
    }
}
