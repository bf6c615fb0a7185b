//! Empty: see `web.rs`.
