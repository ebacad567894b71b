//! Tests of the local store from outside: failing disks, crashes, hostile links, random histories.

#![expect(clippy::unwrap_used, reason = "tests")]

mod faults;
mod group;
mod hostile;
mod model;
mod opening;
mod support;
