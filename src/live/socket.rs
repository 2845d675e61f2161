//! One WebSocket subscriber: frames out, pings answered, close handled, never waited for.
