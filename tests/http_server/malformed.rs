//! The table of malformed requests, sent raw.

use super::*;

/// Every case of the table: the status, one reply, the connection closed, the service called or not, the server alive.
#[test]
fn malformed_requests() {
    let cases: Vec<Case> = include_str!("../data/malformed_requests.txt").lines().filter_map(Case::parse).collect();
    let house = House::new(limits(), echo);
    let failures: Vec<String> = cases.iter().filter_map(|case| check(&house, case).map(|why| format!("{}: {why}", case.name))).collect();
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
    assert!(cases.len() >= 136, "{} cases", cases.len());
}

/// What is wrong with the answer to a case, if anything.
fn check(house: &House, case: &Case) -> Option<String> {
    let before = house.calls();
    let mut client = connect(house.address());
    client.write_all(&case.bytes).unwrap();
    if case.half_close {
        client.shutdown(Shutdown::Write).unwrap();
    }
    let mut reply = Vec::new();
    let ended = client.read_to_end(&mut reply);
    let (reply, calls) = (String::from_utf8_lossy(&reply), house.calls() - before);
    let right = ended.is_ok()
        && reply.starts_with(&format!("HTTP/1.1 {} ", case.status))
        && reply.matches("HTTP/1.1 ").count() == 1
        && reply.contains("\r\nConnection: close\r\n")
        && calls == usize::from(case.seen != "no")
        && reply.ends_with("bad body") == (case.seen == "body")
        && house.alive();
    (!right).then(|| format!("{ended:?}, {calls} calls, {reply:?}"))
}

/// One line of the table.
struct Case {
    status: u16,
    seen: String,
    half_close: bool,
    name: String,
    bytes: Vec<u8>,
}

impl Case {
    fn parse(line: &str) -> Option<Self> {
        let line = Some(line).filter(|line| !line.is_empty() && !line.starts_with('#'))?;
        let (status, rest) = line.split_once(' ')?;
        let (seen, rest) = rest.trim_start().split_once(' ')?;
        let (name, text) = rest.trim_start().split_once(' ')?;
        let (seen, half_close) = seen.strip_suffix("+eof").map_or((seen, false), |seen| (seen, true));
        let bytes = unescape(&expand(text.trim_start()));
        Some(Self { status: status.parse().unwrap(), seen: seen.into(), half_close, name: name.into(), bytes })
    }
}

/// Replaces `{get}`, `{3*abc}` and the like; any other brace stands for itself.
fn expand(text: &str) -> String {
    let Some(open) = text.find('{') else { return text.into() };
    let (before, rest) = (&text[..open], &text[open + 1..]);
    let replaced = matching_brace(rest).and_then(|close| Some((replacement(&rest[..close])?, &rest[close + 1..])));
    match replaced {
        Some((value, after)) => format!("{before}{value}{}", expand(after)),
        None => format!("{before}{{{}", expand(rest)),
    }
}

fn matching_brace(text: &str) -> Option<usize> {
    let mut depth = 0;
    text.char_indices()
        .find(|(_, c)| {
            depth += i32::from(*c == '{') - i32::from(*c == '}');
            depth < 0
        })
        .map(|(at, _)| at)
}

fn replacement(name: &str) -> Option<String> {
    let post = "POST / HTTP/1.1\\r\\nHost: h\\r\\n";
    match name {
        "get" => Some("GET / HTTP/1.1\\r\\nHost: h\\r\\n".into()),
        "post" => Some(post.into()),
        "chunked" => Some(format!("{post}Transfer-Encoding: chunked\\r\\n\\r\\n")),
        "end" => Some("\\r\\n\\r\\n".into()),
        _ => {
            let (count, text) = name.split_once('*')?;
            Some(expand(text).repeat(count.parse().ok()?))
        }
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, after @ ..] = rest {
        (rest, _) = match (first, after) {
            (b'\\', [b'x', high, low, after @ ..]) => {
                let digits = [*high, *low];
                (after, bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()))
            }
            (b'\\', [escape, after @ ..]) => {
                let byte = match escape {
                    b'r' => b'\r',
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'0' => 0,
                    other => *other,
                };
                (after, bytes.push(byte))
            }
            _ => (after, bytes.push(*first)),
        };
    }
    bytes
}
