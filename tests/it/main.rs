//! The one integration-test binary: the real server, real clients, real photographs.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails, here and now")]

mod clients;
mod ftp_table;
mod photographs;
mod tidy;
