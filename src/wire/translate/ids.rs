//! Ids and names that fit: what one protocol takes for a call's id or a tool's name is too long for the other, has characters that it has
//! not, or stands there twice. Here they are made to fit, the same way for a call and its result, and names are known again in the reply.
//!
//! | | Anthropic | OpenAI itself |
//! |---|---|---|
//! | id of a call | letters, digits, `_`, `-`; unique in a request, and one result each | 40 characters |
//! | name of a tool | 128 characters | 64 characters |

use super::Far;
use super::form::{Block, Content, Event, Part, Reply, Request, Role, Text, ToolChoice};
use crate::call::Protocol;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

/// The longest id of a call in OpenAI's protocol.
const OPENAI_ID: usize = 40;

/// The longest name of a tool in OpenAI's protocol.
const OPENAI_NAME: usize = 64;

/// Names that were made to fit, and what they were before.
pub(super) type Names = Vec<(String, String)>;

/// Makes the ids of all calls and results fit. A result goes to the last call of its id before it; of several at once, to each in turn.
pub(super) fn fit_ids(request: &mut Request<'_>, far: &Far) {
    let upstream = far.protocol;
    if upstream == Protocol::OpenAi && !far.own {
        return;
    }
    let mut used: HashSet<String> = HashSet::new();
    let mut open: HashMap<String, VecDeque<String>> = HashMap::new();
    for turn in &mut request.turns {
        if turn.role == Role::Assistant {
            open.clear();
        }
        for part in &mut turn.parts {
            match &mut part.content {
                Content::Call(call) => {
                    let fitted = match upstream {
                        Protocol::OpenAi => fitted_id(&call.id, upstream),
                        Protocol::Anthropic => unique(fitted_id(&call.id, upstream), &used),
                    };
                    used.insert(fitted.clone());
                    open.entry(call.id.to_string()).or_default().push_back(fitted.clone());
                    replace(&mut call.id, fitted);
                }
                Content::Result { call, .. } => {
                    let Some(fitted) = open.get_mut(&**call) else { continue };
                    // The last one stays: a second result belongs to the same call.
                    let next = if fitted.len() > 1 { fitted.pop_front() } else { fitted.front().cloned() };
                    if let Some(next) = next {
                        replace(call, next);
                    }
                }
                _ => {}
            }
        }
        if turn.role == Role::User && upstream == Protocol::Anthropic {
            join_results(&mut turn.parts);
        }
    }
}

/// Makes the names of tools fit; returns those that are others now.
pub(super) fn fit_names(request: &mut Request<'_>, far: &Far) -> Names {
    let mut names = Names::new();
    if far.protocol != Protocol::OpenAi || !far.own {
        return names;
    }
    let mut fit = |name: &mut Text<'_>| {
        if name.chars().count() <= OPENAI_NAME {
            return;
        }
        let short = shortened(name, OPENAI_NAME);
        if !names.iter().any(|(known, _)| *known == short) {
            names.push((short.clone(), name.to_string()));
        }
        *name = short.into();
    };
    request.tools.iter_mut().for_each(|tool| fit(&mut tool.name));
    if let Some(ToolChoice::Named(name)) = &mut request.tool_choice {
        fit(name);
    }
    for part in request.turns.iter_mut().flat_map(|turn| &mut turn.parts) {
        if let Content::Call(call) = &mut part.content {
            fit(&mut call.name);
        }
    }
    names
}

/// Gives the calls of a reply the names that the client knows.
pub(super) fn restore_names(reply: &mut Reply<'_>, names: &[(String, String)]) {
    for part in reply.parts.iter_mut().filter(|_| !names.is_empty()) {
        if let Content::Call(call) = &mut part.content
            && let Some(name) = known_name(names, &call.name)
        {
            call.name = name.to_owned().into();
        }
    }
}

/// Gives a call of a stream the name that the client knows.
pub(super) fn restore_name(event: &mut Event<'_>, names: &[(String, String)]) {
    if let Event::Open(_, Block::Call { name, .. }) = event
        && let Some(known) = known_name(names, name)
    {
        *name = known.to_owned().into();
    }
}

fn known_name<'n>(names: &'n [(String, String)], name: &str) -> Option<&'n str> {
    names.iter().find(|(short, _)| short == name).map(|(_, long)| long.as_str())
}

fn replace(id: &mut Text<'_>, fitted: String) {
    if **id != fitted {
        *id = fitted.into();
    }
}

fn fitted_id(id: &str, upstream: Protocol) -> String {
    match upstream {
        Protocol::OpenAi if id.chars().count() > OPENAI_ID => shortened(id, OPENAI_ID),
        Protocol::OpenAi => id.to_string(),
        Protocol::Anthropic => {
            id.chars().map(|char| if char.is_ascii_alphanumeric() || "_-".contains(char) { char } else { '_' }).collect()
        }
    }
}

/// The id, or where it is taken the same with a number behind it.
fn unique(id: String, used: &HashSet<String>) -> String {
    if !used.contains(&id) {
        return id;
    }
    (2..).map(|nth| format!("{id}_{nth}")).find(|candidate| !used.contains(candidate)).unwrap_or(id)
}

/// Its beginning, and a digest of the whole.
fn shortened(text: &str, most: usize) -> String {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let digest = format!("_{:08x}", hasher.finish() as u32);
    text.chars().take(most - digest.len()).chain(digest.chars()).collect()
}

/// One call has one result: what more there is goes into it.
fn join_results(parts: &mut Vec<Part<'_>>) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut at = 0;
    while at < parts.len() {
        let Content::Result { call, .. } = &parts[at].content else {
            at += 1;
            continue;
        };
        let Some(first) = seen.get(&**call).copied() else {
            seen.insert(call.to_string(), at);
            at += 1;
            continue;
        };
        if let Content::Result { content: more, is_error: failed, .. } = parts.remove(at).content
            && let Content::Result { content, is_error, .. } = &mut parts[first].content
        {
            content.extend(more);
            *is_error |= failed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::form::{Call, Turn};
    use super::*;

    fn far(protocol: Protocol) -> Far {
        Far { protocol, own: true, model_limit: None }
    }

    fn request(turns: &[(Role, &[&'static str])]) -> Request<'static> {
        let part = |role: Role, id: &'static str| match role {
            Role::Assistant => Content::Call(Call { id: id.into(), name: "look".into(), arguments: "{}".into() }),
            Role::User => Content::Result { call: id.into(), content: vec![Content::Text(id.into()).into()], is_error: false },
        };
        let turn =
            |(role, ids): &(Role, &[&'static str])| Turn { role: *role, parts: ids.iter().map(|id| part(*role, id).into()).collect() };
        Request { turns: turns.iter().map(turn).collect(), ..Request::default() }
    }

    fn ids(request: &Request<'_>) -> Vec<Vec<String>> {
        let id = |part: &Part<'_>| match &part.content {
            Content::Call(call) => call.id.to_string(),
            Content::Result { call, content, .. } => format!("{call}x{}", content.len()),
            _ => "?".into(),
        };
        request.turns.iter().map(|turn| turn.parts.iter().map(id).collect()).collect()
    }

    #[test]
    fn ids_are_unique_and_results_follow_their_calls() {
        use Role::{Assistant, User};
        let turns: [(Role, &[&str]); 6] = [
            (Assistant, &["c.1", "c:1"]),
            (User, &["c:1", "c.1"]),
            (Assistant, &["c.1"]),
            (User, &["c.1", "c.1"]),
            (Assistant, &["d", "d"]),
            (User, &["d", "d"]),
        ];
        let mut request = request(&turns);
        fit_ids(&mut request, &far(Protocol::Anthropic));
        let expected =
            [vec!["c_1", "c_1_2"], vec!["c_1_2x1", "c_1x1"], vec!["c_1_3"], vec!["c_1_3x2"], vec!["d", "d_2"], vec!["dx1", "d_2x1"]];
        assert_eq!(ids(&request), expected);
    }

    #[test]
    fn long_ids_are_shortened_alike() {
        let long: &'static str = "toolu_0123456789012345678901234567890123456789";
        let mut request = request(&[(Role::Assistant, &[long, "short"]), (Role::User, &[long, "short"])]);
        fit_ids(&mut request, &far(Protocol::OpenAi));
        let ids = ids(&request);
        assert!(ids[0][0].len() == OPENAI_ID && ids[0][0].starts_with("toolu_0123") && ids[0][1] == "short", "{ids:?}");
        assert_eq!(ids[1], [format!("{}x1", ids[0][0]), "shortx1".into()]);
    }

    #[test]
    fn long_names_are_known_again() {
        let long = format!("mcp__server__{}", "tool_".repeat(15));
        let call = Content::Call(Call { id: "c".into(), name: long.clone().into(), arguments: "{}".into() });
        let turns = vec![Turn { role: Role::Assistant, parts: vec![call.into()] }];
        let mut request = Request { turns, tool_choice: Some(ToolChoice::Named(long.clone().into())), ..Request::default() };
        assert!(fit_names(&mut request, &far(Protocol::Anthropic)).is_empty());
        let names = fit_names(&mut request, &far(Protocol::OpenAi));
        let Some(ToolChoice::Named(short)) = &request.tool_choice else { panic!("it was named") };
        assert_eq!((names.len(), short.len(), known_name(&names, short)), (1, OPENAI_NAME, Some(long.as_str())));
        assert_eq!(known_name(&names, "look"), None);
    }
}
