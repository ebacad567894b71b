//! The one integration-test binary: the real server, real clients, real photographs.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails, here and now")]
#![expect(clippy::disallowed_methods, reason = "tests wait, look at the environment, and speak plainly")]

mod attacks;
mod bench;
mod cli;
mod clients;
mod crash;
mod cuts;
mod events;
mod first_start;
mod flood;
mod ftp_table;
mod ftps;
mod fuzz;
mod guessing;
mod inspection;
mod landing;
mod listing;
mod network;
mod operation;
mod people;
mod photographs;
mod pipelines;
mod rules;
mod shadow;
mod ssh;
mod ssh_audit;
mod tidy;
