//! The inspection of files, on any bytes: it ends, keeps its bounds, and says what people can read.

use std::cell::Cell;
use std::io;

use landfall::inspect::{Depth, Findings, Source, examine};

/// What may be read of a file, as a multiple of its size and something for jumps.
const READ_TIMES: u64 = 16;
const READ_BYTES: u64 = 1_024 * 1_024;

struct Counted<'b>(&'b [u8], Cell<u64>);

impl Source for Counted<'_> {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let taken = self.0.read_at(offset, buf)?;
        self.1.set(self.1.get() + taken as u64);
        Ok(taken)
    }
}

fn look(input: &[u8], depth: Depth) -> Findings {
    let counted = Counted(input, Cell::new(0));
    let findings = examine(&counted, depth).expect("memory does not fail");
    let most = READ_TIMES * input.len() as u64 + READ_BYTES;
    assert!(counted.1.get() <= most, "{} bytes read of {}", counted.1.get(), input.len());
    if let Some(fault) = &findings.fault {
        let text = fault.to_string();
        assert!(!text.is_empty() && text.len() < 400 && !text.chars().any(char::is_control), "{text:?}");
    }
    findings
}

/// Looks at it at every depth: what is deeper says the same, and more.
pub fn check(input: &[u8]) {
    let (shallow, whole) = (look(input, Depth::Type), look(input, Depth::Structure));
    assert_eq!(shallow.kind, whole.kind);
    assert_eq!(shallow.fault, None);
    if shallow.pixels.is_some() && whole.fault.is_none() {
        assert_eq!(shallow.pixels, whole.pixels);
    }
    // Decoding takes as long as the pixels are many; a fuzzer has better things to do.
    if whole.pixels.is_none_or(|(width, height)| u64::from(width) * u64::from(height) < 1_000_000) {
        let decoded = look(input, Depth::Decode);
        assert_eq!(decoded.kind, whole.kind);
        if whole.fault.is_some() {
            assert_eq!(decoded.fault, whole.fault);
        }
    }
}
