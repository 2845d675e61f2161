//! The connection: requests in order on one socket.
