//! What a request to the provider is for: paths to endpoints, and whose protocol they speak.

use crate::call::{Headers, Protocol};

/// A place of the provider's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint<'a> {
    Chat,
    Completions,
    Responses,
    Embeddings,
    Moderations,
    Speech,
    Messages,
    CountTokens,
    Models,
    Model(&'a str),
    Files,
    File(&'a str),
    FileContent(&'a str),
}

impl<'a> Endpoint<'a> {
    /// The endpoint at a path (without query).
    pub(super) fn at(path: &'a str) -> Option<Self> {
        let mut parts = path.strip_prefix("/v1/")?.split('/');
        Some(match [parts.next(), parts.next(), parts.next(), parts.next()] {
            [Some("chat"), Some("completions"), None, None] => Self::Chat,
            [Some("completions"), None, None, None] => Self::Completions,
            [Some("responses"), None, None, None] => Self::Responses,
            [Some("embeddings"), None, None, None] => Self::Embeddings,
            [Some("moderations"), None, None, None] => Self::Moderations,
            [Some("audio"), Some("speech"), None, None] => Self::Speech,
            [Some("messages"), None, None, None] => Self::Messages,
            [Some("messages"), Some("count_tokens"), None, None] => Self::CountTokens,
            [Some("models"), None, None, None] => Self::Models,
            [Some("models"), Some(id), None, None] if !id.is_empty() => Self::Model(id),
            [Some("files"), None, None, None] => Self::Files,
            [Some("files"), Some(id), None, None] if !id.is_empty() => Self::File(id),
            [Some("files"), Some(id), Some("content"), None] if !id.is_empty() => Self::FileContent(id),
            _ => return None,
        })
    }

    /// Its path as a pattern, for statistics.
    pub(super) fn pattern(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Responses => "/v1/responses",
            Self::Embeddings => "/v1/embeddings",
            Self::Moderations => "/v1/moderations",
            Self::Speech => "/v1/audio/speech",
            Self::Messages => "/v1/messages",
            Self::CountTokens => "/v1/messages/count_tokens",
            Self::Models => "/v1/models",
            Self::Model(_) => "/v1/models/{id}",
            Self::Files => "/v1/files",
            Self::File(_) => "/v1/files/{id}",
            Self::FileContent(_) => "/v1/files/{id}/content",
        }
    }

    /// The methods it takes.
    pub(super) fn methods(self) -> &'static [&'static str] {
        match self {
            Self::Models | Self::Model(_) | Self::FileContent(_) => &["GET"],
            Self::Files => &["GET", "POST"],
            Self::File(_) => &["GET", "DELETE"],
            _ => &["POST"],
        }
    }

    /// Whether it belongs to this protocol alone; both have models.
    fn protocol(self) -> Option<Protocol> {
        match self {
            Self::Messages | Self::CountTokens => Some(Protocol::Anthropic),
            Self::Models | Self::Model(_) | Self::Files | Self::File(_) | Self::FileContent(_) => None,
            _ => Some(Protocol::OpenAi),
        }
    }
}

/// The protocol a request speaks: by its path, else by an `anthropic-version` header.
pub(super) fn protocol(endpoint: Option<Endpoint<'_>>, headers: Headers<'_>) -> Protocol {
    let by_header = || if headers.get("anthropic-version").is_some() { Protocol::Anthropic } else { Protocol::OpenAi };
    endpoint.and_then(Endpoint::protocol).unwrap_or_else(by_header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_endpoints() {
        let table = [
            ("/v1/chat/completions", Some(Endpoint::Chat)),
            ("/v1/messages/count_tokens", Some(Endpoint::CountTokens)),
            ("/v1/models", Some(Endpoint::Models)),
            ("/v1/models/gpt-4o", Some(Endpoint::Model("gpt-4o"))),
            ("/v1/files/f/content", Some(Endpoint::FileContent("f"))),
            ("/v1/models/", None),
            ("/v1/models/a/b", None),
            ("/v1/files/f/content/x", None),
            ("/v1/chat", None),
            ("/v2/models", None),
            ("/", None),
        ];
        for (path, endpoint) in table {
            assert_eq!(Endpoint::at(path), endpoint, "{path}");
        }
    }

    #[test]
    fn the_path_decides_the_protocol_before_the_header() {
        let fields = [httparse::Header { name: "Anthropic-Version", value: b"2023-06-01" }];
        let (with, without) = (Headers(&fields), Headers(&[]));
        let table = [
            (Some(Endpoint::Chat), with, Protocol::OpenAi),
            (Some(Endpoint::Messages), without, Protocol::Anthropic),
            (Some(Endpoint::Models), with, Protocol::Anthropic),
            (Some(Endpoint::Models), without, Protocol::OpenAi),
            (None, with, Protocol::Anthropic),
            (None, without, Protocol::OpenAi),
        ];
        for (endpoint, headers, expected) in table {
            assert_eq!(protocol(endpoint, headers), expected, "{endpoint:?}");
        }
    }
}
