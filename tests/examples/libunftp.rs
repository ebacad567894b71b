//! The stock libunftp stack as a program of its own, for the benchmark: `libunftp ADDRESS FILES CERTIFICATE KEY`.
//! User and password are [`Peer`]'s; TLS may be used, and need not be. Holds no measuring.
//!
//! [`Peer`]: landfall_tests::Peer

use std::net::SocketAddr;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or("libunftp ADDRESS FILES CERTIFICATE KEY");
    let address: SocketAddr = next()?.parse()?;
    let (files, certificate, key) = (PathBuf::from(next()?), PathBuf::from(next()?), PathBuf::from(next()?));
    landfall_tests::Peer::serve(address, files, certificate, key)
}
