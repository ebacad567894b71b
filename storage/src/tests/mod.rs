//! Tests of the local store from outside: failing disks, crashes, hostile links, random histories.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests, at the edge of their own world: they slow disks down and look at the clock"
)]

mod faults;
mod group;
mod hostile;
mod model;
mod opening;
mod support;
