//! Which addresses cost anything, and of which the body says how much: [`metered`].

use crate::call::Endpoint;

/// What a call to an address may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metering {
    /// Nothing.
    Free,
    /// What [`read`](super::read) finds in the body.
    Read,
    /// More than anything here could bound; the words say why.
    Unbounded(&'static str),
}

/// What a call may cost, by its method and its path (without query and provider prefix).
///
/// ```
/// use iron_runtime::call::Endpoint;
/// use iron_runtime::wire::terms::{Metering, metered};
/// assert_eq!(metered("POST", "/v1/chat/completions", Endpoint::ChatCompletions), Metering::Read);
/// assert_eq!(metered("GET", "/v1/batches", Endpoint::Other), Metering::Free);
/// ```
pub fn metered(method: &str, path: &str, endpoint: Endpoint) -> Metering {
    if matches!(method, "GET" | "HEAD" | "DELETE" | "OPTIONS") {
        return Metering::Free;
    }
    match endpoint {
        Endpoint::CountTokens => Metering::Free,
        Endpoint::ChatCompletions | Endpoint::Completions | Endpoint::Responses | Endpoint::Embeddings | Endpoint::Messages => {
            Metering::Read
        }
        Endpoint::Other if is_free(path) => Metering::Free,
        Endpoint::Other => Metering::Unbounded(why(path)),
    }
}

/// Uploads, moderation, counting and cancelling. A model's own address is none of them: some providers compute there
/// (`/v1/models/NAME:generate`). Nor is a path that servers may read in more than one way (`/v1/files/..%2fchat%2fcompletions`, `/..;/`):
/// no id of a file or a job has an escape, a dot behind a dot, or a parameter.
fn is_free(path: &str) -> bool {
    if path.contains(['%', ';']) || path.contains("..") || path.contains("//") {
        return false;
    }
    let under = |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let cancels = path.strip_suffix("/cancel").is_some_and(|what| {
        ["/v1/responses/", "/v1/batches/", "/v1/messages/batches/", "/v1/fine_tuning/jobs/", "/v1/threads/", "/v1/vector_stores/"]
            .iter()
            .any(|root| what.starts_with(root))
    });
    cancels
        || under("/v1/files")
        || under("/v1/uploads")
        || matches!(path, "/v1/models" | "/v1/moderations" | "/v1/responses/input_tokens" | "/v1/messages/count_tokens")
}

fn why(path: &str) -> &'static str {
    let path = path.strip_prefix("/v1/").unwrap_or(path);
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    match first {
        "batches" => "batches run later and are billed for every line of their file",
        "messages" if rest.starts_with("batches") => "batches run later and are billed for every request in them",
        "fine_tuning" | "fine-tunes" => "fine-tuning is billed for every pass over its file",
        "images" => "pictures have no price in the table",
        "audio" => "speech has no price in the table",
        "videos" | "video" => "videos have no price in the table",
        "realtime" => "realtime sessions have no limit",
        "assistants" | "threads" => "assistants and threads add stored input of unknown length",
        "vector_stores" => "vector stores are billed by size and time",
        "containers" => "containers are billed by time",
        "evals" | "graders" => "evaluations run over stored data of unknown size",
        "responses" | "conversations" => "stored responses and conversations are of unknown length",
        "complete" => "the old text completions have no price in the table",
        _ => "what this address costs is not known",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::route::endpoint;

    #[test]
    fn addresses() {
        for (method, path, expected) in [
            ("GET", "/v1/models", "free"),
            ("HEAD", "/v1/anything", "free"),
            ("DELETE", "/v1/responses/r", "free"),
            ("OPTIONS", "/v1/chat/completions", "free"),
            ("get", "/v1/models/x", "not known"),
            ("POST", "/v1/models", "free"),
            ("POST", "/v1/models/x:generate", "not known"),
            ("POST", "/v1/files", "free"),
            ("POST", "/v1/filesystem", "not known"),
            ("POST", "/v1/files/..%2fchat/completions", "not known"),
            ("POST", "/v1/files/%2e%2e%2Fchat%2Fcompletions", "not known"),
            ("POST", "/v1/files/..;/chat/completions", "not known"),
            ("POST", "/v1/uploads//x", "not known"),
            ("POST", "/v1/threads/..%2fchat%2fcompletions/cancel", "assistants"),
            ("POST", "/v1/uploads/u/parts", "free"),
            ("POST", "/v1/moderations", "free"),
            ("POST", "/v1/messages/count_tokens", "free"),
            ("POST", "/v1/responses/r/cancel", "free"),
            ("POST", "/v1/responses/input_tokens", "free"),
            ("POST", "/v1/batches/b/cancel", "free"),
            ("POST", "/v1/messages/batches/b/cancel", "free"),
            ("POST", "/v1/fine_tuning/jobs/j/cancel", "free"),
            ("POST", "/v1/threads/t/runs/r/cancel", "free"),
            ("POST", "/v1/images/cancel", "pictures"),
            ("POST", "/v1/chat/completions", "read"),
            ("PUT", "/v1/chat/completions", "read"),
            ("POST", "/v1/completions", "read"),
            ("POST", "/v1/responses", "read"),
            ("POST", "/v1/embeddings", "read"),
            ("POST", "/v1/messages", "read"),
            ("POST", "/v1/chat/completions/", "not known"),
            ("POST", "/v1/responses/compact", "stored"),
            ("POST", "/v1/batches", "batches"),
            ("POST", "/v1/messages/batches", "batches"),
            ("POST", "/v1/fine_tuning/jobs", "fine-tuning"),
            ("POST", "/v1/images/generations", "pictures"),
            ("POST", "/v1/audio/speech", "speech"),
            ("POST", "/v1/audio/transcriptions", "speech"),
            ("POST", "/v1/videos", "videos"),
            ("POST", "/v1/threads/t/runs", "threads"),
            ("POST", "/v1/vector_stores/v/search", "vector stores"),
            ("POST", "/v1/realtime/client_secrets", "realtime"),
            ("POST", "/v1/complete", "old"),
            ("PATCH", "/v2/future", "not known"),
            ("POST", "/", "not known"),
        ] {
            let found = match metered(method, path, endpoint(path)) {
                Metering::Free => "free",
                Metering::Read => "read",
                Metering::Unbounded(words) => words,
            };
            assert!(found.contains(expected), "{method} {path}: {found}");
        }
    }
}
