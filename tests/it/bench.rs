//! The benchmark goes on working: its tiny form runs every section with Landfall alone. Holds no figure.

use std::process::Command;
use std::sync::Arc;

use landfall_tests::{Run, Server, repository};
use tempfile::TempDir;

#[test]
fn the_benchmark_runs() {
    let server = Server::builder().prepare(Arc::new(TempDir::new().unwrap()));
    let landfall = server.command(&[]).get_program().to_owned();
    let script = repository().join("tests/bench/bench.py");
    let mut command = Command::new("python3");
    let outcome = Run::start(command.arg(script).arg("--smoke").arg("--landfall").arg(landfall)).outcome().ok();
    for section in ["big", "small", "disk", "scale", "delay", "login", "idle"] {
        for protocol in ["ftp", "ftps", "sftp", "sftp-chacha20"] {
            assert!(outcome.stdout.contains(&format!("{section}, {protocol}\n  landfall")), "{}", outcome.stdout);
        }
    }
}
