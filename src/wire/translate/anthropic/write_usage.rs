//! What a message used, written.

use crate::money::Usage;
use crate::wire::json::Json;

/// A `usage` object: the input without what caches had to do with, as Anthropic counts.
pub(super) fn write_usage(usage: &Usage, json: Json<'_>) {
    let written = usage.cache_write_5m.saturating_add(usage.cache_write_1h);
    json.object(|object| {
        object.whole("input_tokens", usage.input_tokens().saturating_sub(written).saturating_sub(usage.cache_read));
        object.whole("cache_creation_input_tokens", written);
        object.whole("cache_read_input_tokens", usage.cache_read);
        object.whole("output_tokens", usage.output_tokens());
        if usage.reasoning > 0 {
            object.key("output_tokens_details").object(|details| details.whole("thinking_tokens", usage.reasoning));
        }
    });
}
