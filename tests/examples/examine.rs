//! Looks at files by name: one line of JSON per file on stdin, for judges that compare us with another decoder.
//!
//!     examine [--depth type|structure|decode] [--cuts COUNT] [--times COUNT] < NAMES
//!
//! With `--cuts` each file is looked at as a whole and cut off at so many places, evenly spread; with `--times` it is looked at
//! so often and the best time is told.
#![expect(clippy::unwrap_used, reason = "a tool of the tests: it fails here and now")]

use std::io::{self, BufRead, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use landfall::inspect::{Depth, Findings, Source, examine};
use serde_json::json;

/// A file that ends early.
struct Cut<'f>(&'f std::fs::File, u64);

impl Source for Cut<'_> {
    fn size(&self) -> u64 {
        self.1
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(self.1.saturating_sub(offset)).unwrap_or(usize::MAX).min(buf.len());
        Source::read_at(self.0, offset, &mut buf[..rest])
    }
}

fn value(findings: &Findings) -> serde_json::Value {
    json!({
        "kind": findings.kind,
        "pixels": findings.pixels,
        "fault": findings.fault.as_ref().map(ToString::to_string),
    })
}

fn main() {
    let (mut depth, mut cuts, mut times) = (Depth::Structure, 0, 1);
    let mut arguments = std::env::args().skip(1);
    while let (Some(name), Some(text)) = (arguments.next(), arguments.next()) {
        match (name.as_str(), text.as_str()) {
            ("--depth", "type") => depth = Depth::Type,
            ("--depth", "structure") => depth = Depth::Structure,
            ("--depth", "decode") => depth = Depth::Decode,
            ("--cuts", count) => cuts = count.parse().unwrap(),
            ("--times", count) => times = count.parse().unwrap(),
            (name, text) => panic!("what is {name} {text}?"),
        }
    }
    let mut out = io::stdout().lock();
    for name in io::stdin().lock().lines() {
        let name = name.unwrap();
        let file = std::fs::File::open(Path::new(&name)).unwrap();
        let size = file.size();
        let (mut best, mut findings) = (Duration::MAX, Findings::default());
        for _ in 0..times {
            let begun = Instant::now();
            findings = examine(&file, depth).unwrap();
            best = best.min(begun.elapsed());
        }
        let mut line = value(&findings);
        let places = (0..cuts).map(|index: u64| 1 + (size - 2) * index / cuts.max(2));
        let cut: Vec<_> = places
            .map(|length| {
                let mut findings = value(&examine(&Cut(&file, length), depth).unwrap());
                findings["length"] = length.into();
                findings
            })
            .collect();
        line["name"] = name.into();
        line["size"] = size.into();
        line["milliseconds"] = (best.as_secs_f64() * 1_000.0).into();
        line["cuts"] = cut.into();
        writeln!(out, "{line}").unwrap();
    }
}
