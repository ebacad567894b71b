//! Judges a staged file by its content before it becomes visible: what it is, how large its picture is, and whether all of
//! it is there. Knows bytes and limits; no user, no protocol, no ledger, no path.
//!
//! | file | holds |
//! |---|---|
//! | `source.rs` | where the bytes come from, and the window through which formats look at them |
//! | `kind.rs` | what a file is by its first bytes |
//! | `jpeg.rs`, `huffman.rs`, `scan.rs` | JPEG's segments; its codes; a walk through a scan that counts blocks |
//! | `png.rs`, `gif.rs`, `webp.rs`, `tiff.rs`, `isobmff.rs` | one format each; the last one is AVIF and HEIC |
//! | `pdf.rs`, `zip.rs`, `csv.rs` | what has no pixels |
//! | `decode.rs` | every pixel, through the `image` crate |
//! | `pool.rs` | how many of these run at once, and for how long |

mod csv;
mod decode;
mod fault;
mod gif;
mod huffman;
mod isobmff;
mod jpeg;
mod kind;
mod pdf;
mod png;
mod pool;
mod scan;
mod source;
#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "tests")]
mod tests;
mod tiff;
mod webp;
mod zip;

use std::io;

pub use fault::Fault;
pub use landfall_auth::ContentType;
pub use pool::{Pool, Refused};
pub use source::Source;

use fault::Stop;
use source::Window;

/// How much is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// What it is, and its size in pixels where its header says it. No fault is ever found.
    Type,
    /// Is its structure complete, to the last byte that belongs to it?
    Structure,
    /// The same, and does every pixel decode? AVIF and HEIC have no lean decoder in Rust: for them structure counts, as for
    /// all that has no pixels.
    Decode,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Findings {
    /// `None`: none of the types that there are names for.
    pub kind: Option<ContentType>,
    /// Width and height as the header says them.
    pub pixels: Option<(u32, u32)>,
    /// The first thing that is wrong with it.
    pub fault: Option<Fault>,
}

/// Looks at a file. Memory is bounded whatever the file is, see the limits of each format; so is time, but only `Pool` has
/// a deadline. A decoder that panics is a fault of the file.
///
/// # Errors
/// Only those of the source: nothing is known about the file then.
pub fn examine(source: &dyn Source, depth: Depth) -> io::Result<Findings> {
    let mut window = Window::new(source);
    let kind = match kind::of(&mut window) {
        Ok(kind) => kind,
        Err(Stop::Io(error)) => return Err(error),
        Err(Stop::Fault(_) | Stop::End { .. }) => None,
    };
    let Some(kind) = kind else { return Ok(Findings::default()) };
    let mut pixels = None;
    let looked = match kind {
        ContentType::Jpeg => jpeg::walk(&mut window, depth, &mut pixels),
        ContentType::Png => png::walk(&mut window, depth, &mut pixels),
        ContentType::Webp => webp::walk(&mut window, depth, &mut pixels),
        ContentType::Gif => gif::walk(&mut window, depth, &mut pixels),
        ContentType::Tiff => tiff::walk(&mut window, depth, &mut pixels),
        ContentType::Avif | ContentType::Heic => isobmff::walk(&mut window, depth, &mut pixels),
        ContentType::Pdf => pdf::walk(&mut window, depth),
        ContentType::Zip => zip::walk(&mut window, depth),
        ContentType::Csv => csv::walk(&mut window, depth),
    };
    let decoded = match looked {
        Ok(()) if depth == Depth::Decode => decode::decode(source, kind, pixels),
        looked => looked,
    };
    let fault = match decoded {
        Ok(()) => None,
        Err(Stop::Io(error)) => return Err(error),
        Err(Stop::Fault(fault)) => Some(fault),
        Err(Stop::End { needed }) => Some(fault::short(kind, source.size(), needed)),
    };
    Ok(Findings { kind: Some(kind), pixels, fault: fault.filter(|_| depth > Depth::Type) })
}

/// What is left to say about a file that could not be looked at: nothing beyond its type.
fn kind_alone(source: &dyn Source) -> Findings {
    let kind = kind::of(&mut Window::new(source)).ok().flatten();
    Findings { kind, ..Findings::default() }
}
