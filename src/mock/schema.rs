//! The smallest value that satisfies a JSON schema, for tool arguments and structured replies.
//!
//! It covers what tool and reply schemas use: types, `enum`, `const`, required properties, references, combinations, bounds and well-known
//! formats. It is not a validator, and `pattern` is not understood.

use serde_json::{Map, Number, Value, json};

/// Values made for one schema; a schema that refers to itself ends here.
const MAX_NODES: usize = 2_000;

/// Nesting of one value.
const MAX_DEPTH: usize = 32;

/// The longest string made for a `minLength`.
const MAX_STRING_CHARS: u64 = 4_096;

/// A value for `schema`; `null` where there is none.
pub(super) fn minimal(schema: &Value) -> Value {
    Maker { root: schema, nodes: MAX_NODES }.value(schema, 0)
}

struct Maker<'a> {
    root: &'a Value,
    nodes: usize,
}

impl<'a> Maker<'a> {
    fn value(&mut self, schema: &'a Value, depth: usize) -> Value {
        if self.nodes == 0 || depth > MAX_DEPTH {
            return Value::Null;
        }
        self.nodes -= 1;
        if let Some(fixed) = fixed(schema) {
            return fixed.clone();
        }
        if let Some(target) = schema["$ref"].as_str() {
            let target = target.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
            return target.map_or(Value::Null, |target| self.value(target, depth + 1));
        }
        for any in ["anyOf", "oneOf"] {
            if let Some(choice) = schema[any].as_array().and_then(|choices| choices.first()) {
                return self.value(choice, depth + 1);
            }
        }
        match type_of(schema) {
            "object" => self.object(schema, depth),
            "array" => self.array(schema, depth),
            "string" => Value::String(string(schema)),
            "integer" => number(schema, 1.0),
            "number" => number(schema, 0.0),
            "boolean" => Value::Bool(true),
            _ => Value::Null,
        }
    }

    fn object(&mut self, schema: &'a Value, depth: usize) -> Value {
        let mut made = Map::new();
        self.fields(schema, depth, &mut made);
        for part in schema["allOf"].as_array().into_iter().flatten() {
            match self.value(part, depth + 1) {
                Value::Object(fields) => made.extend(fields),
                other => return other,
            }
        }
        Value::Object(made)
    }

    fn fields(&mut self, schema: &'a Value, depth: usize, made: &mut Map<String, Value>) {
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let value = match schema["properties"].get(name) {
                Some(property) => self.value(property, depth + 1),
                None => json!("mock"),
            };
            made.insert(name.to_owned(), value);
        }
    }

    fn array(&mut self, schema: &'a Value, depth: usize) -> Value {
        let mut items = Vec::new();
        for item in schema["prefixItems"].as_array().into_iter().flatten() {
            items.push(self.value(item, depth + 1));
        }
        let least = schema["minItems"].as_u64().unwrap_or(0);
        while (items.len() as u64) < least && self.nodes > 0 {
            items.push(self.value(&schema["items"], depth + 1));
        }
        Value::Array(items)
    }
}

/// A value that the schema names itself.
fn fixed(schema: &Value) -> Option<&Value> {
    let named = schema.get("const").or_else(|| schema["enum"].as_array()?.first());
    named.or_else(|| schema.get("default").filter(|value| !value.is_null()))
}

/// The type to make: the first that is not null, else what the other keywords imply.
fn type_of(schema: &Value) -> &str {
    let named = match &schema["type"] {
        Value::String(name) => Some(name.as_str()),
        Value::Array(names) => names.iter().filter_map(Value::as_str).find(|name| *name != "null"),
        _ => None,
    };
    let has = |keyword: &str| schema.get(keyword).is_some();
    match named {
        Some(name) => name,
        None if has("properties") || has("required") || has("allOf") => "object",
        None if has("items") || has("prefixItems") => "array",
        None if has("minLength") || has("format") || has("pattern") => "string",
        None if has("minimum") || has("maximum") => "number",
        None => "null",
    }
}

fn string(schema: &Value) -> String {
    let text = match schema["format"].as_str().unwrap_or_default() {
        "date-time" => "2025-01-01T00:00:00Z",
        "date" => "2025-01-01",
        "time" => "00:00:00Z",
        "duration" => "P1D",
        "email" => "mock@example.com",
        "hostname" => "example.com",
        "uri" => "https://example.com/",
        "ipv4" => "192.0.2.1",
        "ipv6" => "2001:db8::1",
        "uuid" => "00000000-0000-4000-8000-000000000000",
        _ => "mock",
    };
    let mut text = text.to_owned();
    let least = schema["minLength"].as_u64().unwrap_or(0).min(MAX_STRING_CHARS) as usize;
    while text.len() < least {
        text.push('k');
    }
    if let Some(most) = schema["maxLength"].as_u64().and_then(|most| usize::try_from(most).ok()) {
        text.truncate(most);
    }
    text
}

/// A number within the bounds; `step` is what lies between two of its type, 0 for fractions.
fn number(schema: &Value, step: f64) -> Value {
    let bound = |name: &str| schema[name].as_f64();
    let gap = if step > 0.0 { step } else { 0.5 };
    let least =
        bound("exclusiveMinimum").map(|least| if step > 0.0 { least.floor() + gap } else { least + gap }).or_else(|| bound("minimum"));
    let most = bound("exclusiveMaximum").map(|most| if step > 0.0 { most.ceil() - gap } else { most - gap }).or_else(|| bound("maximum"));
    let mut value: f64 = 1.0;
    if let Some(most) = most {
        value = value.min(most);
    }
    if let Some(least) = least {
        value = value.max(least);
    }
    if let Some(factor) = bound("multipleOf").filter(|factor| *factor > 0.0) {
        value = (value / factor).ceil() * factor;
    }
    if step > 0.0 {
        return json!(value.ceil() as i64);
    }
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_the_smallest_value() {
        let table = [
            (json!({"type": "string"}), json!("mock")),
            (json!({"type": ["null", "string"], "minLength": 6}), json!("mockkk")),
            (json!({"type": "string", "maxLength": 2}), json!("mo")),
            (json!({"type": "string", "format": "date"}), json!("2025-01-01")),
            (json!({"enum": ["c", "f"]}), json!("c")),
            (json!({"const": 7}), json!(7)),
            (json!({"type": "integer", "minimum": 5}), json!(5)),
            (json!({"type": "integer", "exclusiveMinimum": 5}), json!(6)),
            (json!({"type": "integer", "maximum": -3}), json!(-3)),
            (json!({"type": "integer", "minimum": 5, "multipleOf": 4}), json!(8)),
            (json!({"type": "number", "exclusiveMinimum": 2, "exclusiveMaximum": 3}), json!(2.5)),
            (json!({"type": "boolean"}), json!(true)),
            (json!({"type": "array", "items": {"type": "integer"}}), json!([])),
            (json!({"type": "array", "items": {"type": "integer"}, "minItems": 2}), json!([1, 1])),
            (json!({"anyOf": [{"type": "string"}, {"type": "null"}]}), json!("mock")),
            (
                json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}, "required": ["a"]}),
                json!({"a": "mock"}),
            ),
            (
                json!({"allOf": [{"required": ["a"]}, {"required": ["b"], "properties": {"b": {"type": "null"}}}]}),
                json!({"a": "mock", "b": null}),
            ),
            (
                json!({"$defs": {"City": {"enum": ["Brno"]}}, "type": "object", "required": ["city"], "properties": {"city": {"$ref": "#/$defs/City"}}}),
                json!({"city": "Brno"}),
            ),
            (json!({}), json!(null)),
            (json!(true), json!(null)),
        ];
        for (schema, value) in table {
            assert_eq!(minimal(&schema), value, "{schema}");
        }
    }

    #[test]
    fn a_schema_within_itself_ends() {
        let tree = json!({"type": "object", "required": ["l", "r"], "properties": {"l": {"$ref": "#"}, "r": {"$ref": "#"}}});
        assert!(minimal(&tree).is_object());
        let huge = json!({"type": "array", "minItems": u64::MAX, "items": {"type": "string", "minLength": 8}});
        assert!(minimal(&huge).as_array().is_some_and(|items| items.len() < MAX_NODES));
    }
}
