//! What a reply used, in the words of chat completions.

use crate::money::Usage;
use crate::wire::json::Json;

/// Writes a `usage` object. All input counts as the prompt, what the cache knew included.
pub(super) fn write_usage(usage: &Usage, place: Json<'_>) {
    let (prompt, completion) = (usage.input_tokens(), usage.output_tokens());
    place.object(|object| {
        object.whole("prompt_tokens", prompt);
        object.whole("completion_tokens", completion);
        object.whole("total_tokens", prompt.saturating_add(completion));
        object.key("prompt_tokens_details").object(|details| details.whole("cached_tokens", usage.cache_read));
        if usage.reasoning > 0 {
            object.key("completion_tokens_details").object(|details| details.whole("reasoning_tokens", usage.reasoning));
        }
    });
}
