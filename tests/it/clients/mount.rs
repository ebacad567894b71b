//! sshfs: a mounted home, exercised beside a copy on this machine by `tests/clients/fsx.py`.

use std::path::{Path, PathBuf};
use std::process::Command;

use landfall_tests::{Run, Server, repository, tool};
use tempfile::TempDir;

use super::{PASSWORD, SSH};

/// A mounted home, until dropped.
struct Mount(PathBuf);

impl Mount {
    fn new(server: &Server, place: &Path) -> Self {
        let key = server.add_key("acme");
        let mounted = place.join("mounted");
        std::fs::create_dir(&mounted).unwrap();
        let port = format!("-oport={},IdentityFile={}", server.port("sftp"), key.display());
        let mut command = Command::new("sshfs");
        command.args(["acme@127.0.0.1:/", mounted.to_str().unwrap(), &port, "-oIdentitiesOnly=yes"]).args(SSH);
        let _ = Run::start(&mut command).outcome().ok();
        Self(mounted)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = tool("fusermount3", &["-u", "-z", self.0.to_str().unwrap_or_default()]);
    }
}

#[test]
fn sshfs() {
    if std::fs::File::open("/dev/fuse").is_err() {
        eprintln!("sshfs: nothing can be mounted here: /dev/fuse cannot be opened");
        return;
    }
    let server = Server::builder().start();
    server.add_user("acme", PASSWORD);
    let place = TempDir::new().unwrap();
    let copy = place.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    let mount = Mount::new(&server, place.path());
    let mut command = Command::new("python3");
    command.arg(repository().join("tests/clients/fsx.py")).args([&mount.0, &copy]);
    let seed = std::process::id().to_string();
    let heard = Run::start(command.args([&seed, "1000"])).outcome().ok().stdout;
    eprintln!("{}", heard.trim());

    // `cp -p` and `touch` set times by name before they close.
    let script = "set -e; touch new; echo bytes > old; touch -d 2020-02-02 old; cp -p old kept; mv kept moved; ls -l";
    let mut command = Command::new("sh");
    let _ = Run::start(command.args(["-c", script]).current_dir(&mount.0)).outcome().ok();
    drop(mount);
    let old = std::fs::metadata(server.home("acme").join("old")).unwrap().modified().unwrap();
    let moved = std::fs::metadata(server.home("acme").join("moved")).unwrap().modified().unwrap();
    assert_eq!(old, moved);
}
