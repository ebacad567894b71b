//! Landfall's rooms, as a library so that tests and fuzzers can reach them.

pub mod app;
pub mod archive;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod delivery;
pub mod first_start;
pub mod ftp;
pub mod hostkeys;
pub mod http;
pub mod inspect;
pub mod lifecycle;
pub mod listen;
pub mod outbox;
pub mod people;
pub mod private;
pub mod proxy;
pub mod sftp;
pub mod telemetry;
pub mod tls;
