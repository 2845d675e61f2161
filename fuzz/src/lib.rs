//! Changes JSON as JSON: bytes changed at random are seldom a request that gets beyond the parser.

use libfuzzer_sys::fuzzer_mutate;
use serde_json::{Map, Value};

/// Words of both protocols, as keys and as values.
const WORDS: &str = include_str!("../protocols.dict");

/// A mutator for inputs that are JSON: a value put in another's place, taken away, said twice. One time in four, and whatever is no JSON,
/// the bytes are changed instead.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let changed = if seed.is_multiple_of(4) { None } else { serde_json::from_slice(&data[..size]).ok() };
    let changed = changed.map(|tree: Value| changed_tree(tree, &mut Random(seed)).to_string().into_bytes());
    match changed.filter(|changed| changed.len() <= max_size) {
        Some(changed) => {
            data[..changed.len()].copy_from_slice(&changed);
            changed.len()
        }
        None => fuzzer_mutate(data, size, max_size),
    }
}

struct Random(u32);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as usize % bound.max(1)
    }
}

fn changed_tree(mut tree: Value, random: &mut Random) -> Value {
    for _ in 0..=random.below(3) {
        let donor = match random.below(3) {
            0 => word(random).into(),
            1 => [Value::Null, true.into(), 0.into(), 1_500.into(), 0.5.into(), "".into(), Value::Array(Vec::new()), Map::new().into()]
                [random.below(8)]
            .clone(),
            _ => {
                let nth = random.below(count(&tree));
                find(&mut tree, &mut { nth }).cloned().unwrap_or_default()
            }
        };
        let nth = random.below(count(&tree));
        if let Some(place) = find(&mut tree, &mut { nth }) {
            change(place, donor, random);
        }
    }
    tree
}

fn change(place: &mut Value, donor: Value, random: &mut Random) {
    match (place, random.below(3)) {
        (Value::Array(items), 0) => items.insert(random.below(items.len() + 1), donor),
        (Value::Array(items), 1) if !items.is_empty() => drop(items.remove(random.below(items.len()))),
        (Value::Object(members), 0) => drop(members.insert(word(random).into(), donor)),
        (Value::Object(members), 1) if !members.is_empty() => {
            let key = members.keys().nth(random.below(members.len())).cloned().unwrap_or_default();
            members.remove(&key);
        }
        (place, _) => *place = donor,
    }
}

/// One of the words that need no escapes.
fn word(random: &mut Random) -> &'static str {
    let words: Vec<&str> = WORDS.lines().filter_map(|line| line.strip_prefix("\"\\\"")?.strip_suffix("\\\"\"")).collect();
    words[random.below(words.len())]
}

/// How many values a tree is made of.
fn count(tree: &Value) -> usize {
    1 + match tree {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(members) => members.values().map(count).sum(),
        _ => 0,
    }
}

/// The nth of them.
fn find<'t>(tree: &'t mut Value, nth: &mut usize) -> Option<&'t mut Value> {
    if *nth == 0 {
        return Some(tree);
    }
    *nth -= 1;
    match tree {
        Value::Array(items) => items.iter_mut().find_map(|item| find(item, nth)),
        Value::Object(members) => members.values_mut().find_map(|member| find(member, nth)),
        _ => None,
    }
}
