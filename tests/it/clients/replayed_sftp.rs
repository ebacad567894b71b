//! SFTP clients that only run on a desk, replayed request by request as their logs and sources show it: WinSCP, FileZilla.

use std::os::unix::fs::MetadataExt;

use landfall_tests::{Requests, Server, pattern, sha256, wait_until};
use russh_sftp::protocol::{FileAttributes, OpenFlags, Packet};

const PASSWORD: &str = "secret-of-acme";
const LONG_AGO: u32 = 1_600_000_000;

/// What a WRITE of these clients carries.
const PIECE: usize = 32 * 1024;

fn connect(server: &Server) -> Requests {
    let (requests, extensions) = Requests::connect(server.address("sftp"), "acme", PASSWORD);
    for extension in ["statvfs@openssh.com", "posix-rename@openssh.com", "check-file", "copy-data", "vendor-id"] {
        assert!(extensions.contains_key(extension), "{extension} is missing in {extensions:?}");
    }
    requests
}

fn nothing() -> FileAttributes {
    FileAttributes::empty()
}

/// As these clients set them when the file is closed.
fn dressed() -> FileAttributes {
    FileAttributes { permissions: Some(0o644), atime: Some(LONG_AGO), mtime: Some(LONG_AGO), ..FileAttributes::empty() }
}

#[track_caller]
fn open(client: &Requests, name: &str, flags: OpenFlags) -> String {
    client.ask(|sftp| sftp.open(name, flags, nothing())).unwrap().handle
}

#[track_caller]
fn write(client: &Requests, handle: &str, bytes: &[u8], from: usize) {
    for (index, piece) in bytes[from..].chunks(PIECE).enumerate() {
        let at = (from + index * PIECE) as u64;
        client.ask(|sftp| sftp.write(handle, at, piece.to_vec())).unwrap();
    }
}

/// An extended request with strings and numbers.
#[track_caller]
fn extended(client: &Requests, name: &str, fields: &[Field]) -> Packet {
    let mut data = Vec::new();
    for field in fields {
        match field {
            Text(text) => {
                data.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
                data.extend(text.as_bytes());
            }
            Long(number) => data.extend(number.to_be_bytes()),
            Word(number) => data.extend(number.to_be_bytes()),
        }
    }
    client.ask(|sftp| sftp.extended(name, data)).unwrap()
}

enum Field<'a> {
    Text(&'a str),
    Long(u64),
    Word(u32),
}
use Field::{Long, Text, Word};

/// What stands on the disk, with its time, and in the ledger.
#[track_caller]
fn check(server: &Server, names: &[&str], bytes: &[u8]) {
    let landed = server.landed();
    let receipts: Vec<_> = landed.iter().map(|row| (row.path.as_str(), row.sha256.clone())).collect();
    assert_eq!(receipts, names.iter().map(|name| (*name, Some(sha256(bytes)))).collect::<Vec<_>>());
    for name in names {
        let on_disk = server.home("acme").join(name.trim_start_matches('/'));
        assert!(std::fs::read(&on_disk).unwrap() == bytes, "{name} on disk");
        assert_eq!(std::fs::metadata(&on_disk).unwrap().mtime(), i64::from(LONG_AGO), "{name}");
    }
}

#[track_caller]
fn wait_for_suspension(server: &Server) {
    wait_until("the upload to be suspended", || {
        server.ledger().iter().any(|row| row.status == "suspended").then_some(())
    });
}

/// From its connect to the first listing.
fn winscp(server: &Server) -> Requests {
    let client = connect(server);
    extended(&client, "vendor-id", &[Text("Martin Prikryl"), Text("WinSCP"), Text("6.3.5"), Long(15_000)]);
    assert_eq!(client.ask(|sftp| sftp.realpath(".")).unwrap().files[0].filename, "/");
    let listing = client.ask(|sftp| sftp.opendir("/")).unwrap().handle;
    while client.ask(|sftp| sftp.readdir(listing.as_str())).is_ok() {}
    client.ask(|sftp| sftp.close(listing.as_str())).unwrap();
    client
}

/// A temporary name, the rename that ends it, and then time and mode; an older file is removed first.
#[test]
fn winscp_sftp_temporary_name() {
    let server = Server::start();
    let (client, bytes) = (winscp(&server), pattern(300_000));
    for round in 1..=2 {
        assert_eq!(client.ask(|sftp| sftp.lstat("/a.jpg")).is_ok(), round == 2);
        client.ask(|sftp| sftp.lstat("/a.jpg.filepart")).unwrap_err();
        let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE;
        let handle = open(&client, "/a.jpg.filepart", flags);
        write(&client, &handle, &bytes, 0);
        client.ask(|sftp| sftp.close(handle.as_str())).unwrap();
        assert_eq!(server.landed().len(), round - 1, "a temporary name is no delivery");
        if round == 2 {
            client.ask(|sftp| sftp.remove("/a.jpg")).unwrap();
        }
        client.ask(|sftp| sftp.rename("/a.jpg.filepart", "/a.jpg")).unwrap();
        client.ask(|sftp| sftp.setstat("/a.jpg", dressed())).unwrap();
    }
    check(&server, &["/a.jpg", "/a.jpg"], &bytes);
}

/// It goes on without TRUNC, from the size that LSTAT tells.
#[test]
fn winscp_sftp_resume() {
    let server = Server::start();
    let (client, bytes) = (winscp(&server), pattern(3_000_000));
    let flags = OpenFlags::WRITE | OpenFlags::CREATE;
    let handle = open(&client, "/a.jpg.filepart", flags | OpenFlags::TRUNCATE);
    write(&client, &handle, &bytes[..1_000_000], 0);
    client.cut();
    wait_for_suspension(&server);
    let client = winscp(&server);
    let held = client.ask(|sftp| sftp.lstat("/a.jpg.filepart")).unwrap().attrs.size.unwrap();
    assert_eq!(held, 1_000_000);
    let handle = open(&client, "/a.jpg.filepart", flags);
    write(&client, &handle, &bytes, 1_000_000);
    client.ask(|sftp| sftp.close(handle.as_str())).unwrap();
    client.ask(|sftp| sftp.rename("/a.jpg.filepart", "/a.jpg")).unwrap();
    client.ask(|sftp| sftp.setstat("/a.jpg", dressed())).unwrap();
    check(&server, &["/a.jpg"], &bytes);
}

/// "Duplicate" and "Calculate checksum": time and mode are set under the new name while it is still open.
#[test]
fn winscp_sftp_duplicate() {
    let server = Server::start();
    let (client, bytes) = (winscp(&server), pattern(300_000));
    let handle = open(&client, "/a.jpg", OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE);
    write(&client, &handle, &bytes, 0);
    client.ask(|sftp| sftp.close(handle.as_str())).unwrap();
    client.ask(|sftp| sftp.setstat("/a.jpg", dressed())).unwrap();
    let new = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCLUDE;
    let (from, to) = (open(&client, "/a.jpg", OpenFlags::READ), open(&client, "/b.jpg", new));
    let copied = extended(&client, "copy-data", &[Text(&from), Long(0), Long(0), Text(&to), Long(0)]);
    assert!(matches!(&copied, Packet::Status(status) if status.error_message == "OK"), "{copied:?}");
    client.ask(|sftp| sftp.setstat("/b.jpg", dressed())).unwrap();
    for handle in [from, to] {
        client.ask(|sftp| sftp.close(handle)).unwrap();
    }
    check(&server, &["/a.jpg", "/b.jpg"], &bytes);
    client.ask(|sftp| sftp.open("/b.jpg", new, nothing())).unwrap_err();
    let digest = extended(&client, "check-file-name", &[Text("/b.jpg"), Text("sha256"), Long(0), Long(0), Word(0)]);
    let Packet::ExtendedReply(digest) = digest else { panic!("{digest:?}") };
    let (name, digest) = digest.data.split_at(10);
    assert_eq!((name, hexadecimal(digest)), (&b"\0\0\0\x06sha256"[..], sha256(&bytes)));
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

#[test]
fn filezilla_sftp_upload() {
    let server = Server::start();
    let (client, bytes) = (connect(&server), pattern(300_000));
    client.ask(|sftp| sftp.mkdir("/Fotos", nothing())).unwrap();
    assert_eq!(client.ask(|sftp| sftp.realpath("/Fotos")).unwrap().files[0].filename, "/Fotos");
    let name = "/Fotos/Größe 1.jpg";
    let handle = open(&client, name, OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE);
    write(&client, &handle, &bytes, 0);
    client.ask(|sftp| sftp.close(handle.as_str())).unwrap();
    let times = FileAttributes { permissions: None, ..dressed() };
    client.ask(|sftp| sftp.setstat(name, times)).unwrap();
    check(&server, &[name], &bytes);
}

/// It opens what is there, asks the handle for its size, and goes on from there.
#[test]
fn filezilla_sftp_resume() {
    let server = Server::start();
    let (client, bytes) = (connect(&server), pattern(3_000_000));
    let handle = open(&client, "/a.jpg", OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE);
    write(&client, &handle, &bytes[..1_000_000], 0);
    client.cut();
    wait_for_suspension(&server);
    let client = connect(&server);
    let handle = open(&client, "/a.jpg", OpenFlags::WRITE);
    assert_eq!(client.ask(|sftp| sftp.fstat(handle.as_str())).unwrap().attrs.size, Some(1_000_000));
    write(&client, &handle, &bytes, 1_000_000);
    client.ask(|sftp| sftp.close(handle.as_str())).unwrap();
    client.ask(|sftp| sftp.setstat("/a.jpg", dressed())).unwrap();
    check(&server, &["/a.jpg"], &bytes);
}
