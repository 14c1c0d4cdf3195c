//! What several of these tests need.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod flaky;
pub(crate) mod suite;
