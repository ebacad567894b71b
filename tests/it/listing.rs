//! A directory of many names: told whole, in memory that does not grow with them.

use std::fs;

use landfall_tests::{Ftp, Server};

/// Held all at once they would be several times [`MAX_GROWTH_KIB`].
const NAMES: usize = 50_000;
const MAX_GROWTH_KIB: u64 = 3_072;

/// The most memory that the server has had since it was last asked to forget that.
fn peak_kib(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux says it");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn forget_peak(server: &Server) {
    fs::write(format!("/proc/{}/clear_refs", server.pid()), "5").expect("one's own child");
}

#[test]
fn a_directory_of_many_names_costs_no_memory() {
    let server = Server::start();
    let mut ftp = Ftp::connect(server.address("ftp"));
    ftp.login("acme", "secret-of-acme").expect(230);
    for number in 0..NAMES {
        fs::File::create(server.home("acme").join(format!("a-name-that-is-not-very-short-{number:06}.jpg"))).unwrap();
    }
    // Threads and buffers that any transfer needs.
    ftp.download("NLST nothing*").1.expect(226);
    for line in ["LIST", "NLST", "MLSD", "NLST *.jpg"] {
        forget_peak(&server);
        let before = peak_kib(&server);
        let (bytes, reply) = ftp.download(line);
        reply.expect(226);
        assert_eq!(String::from_utf8(bytes).unwrap().lines().count(), NAMES, "{line}");
        let growth = peak_kib(&server) - before;
        assert!(growth < MAX_GROWTH_KIB, "{line}: {growth} KiB more");
    }
}
