//! Files made by hand: types, sizes, structures, bombs. What bombs may cost is asserted in bytes that are read.

use std::cell::Cell;
use std::io::{self, Write};
use std::time::Duration;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use image::{DynamicImage, ImageFormat, RgbImage};

use super::pool::MAX_WAITING;
use super::{ContentType, Depth, Findings, Pool, Refused, Source, examine};

/// Counts what is read.
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

/// At `depth`, having read no more than twice what there is, and a little.
fn look(bytes: &[u8], depth: Depth) -> Findings {
    let counted = Counted(bytes, Cell::new(0));
    let findings = examine(&counted, depth).unwrap();
    assert!(counted.1.get() <= 2 * bytes.len() as u64 + 64 * 1_024, "{} of {} bytes", counted.1.get(), bytes.len());
    findings
}

fn fault(bytes: &[u8]) -> Option<String> {
    look(bytes, Depth::Structure).fault.map(|fault| fault.to_string())
}

fn picture() -> DynamicImage {
    let pixel = |x: u32, y: u32| image::Rgb([(x * 3) as u8, (y * 5) as u8, (x * y) as u8]);
    DynamicImage::ImageRgb8(RgbImage::from_fn(70, 50, pixel))
}

fn written(format: ImageFormat) -> Vec<u8> {
    let mut bytes = io::Cursor::new(Vec::new());
    picture().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn chunk(name: &[u8], content: &[u8]) -> Vec<u8> {
    let mut digest = crc32fast::Hasher::new();
    digest.update(name);
    digest.update(content);
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&length[..], name, content, &digest.finalize().to_be_bytes()].concat()
}

fn png(width: u32, height: u32, rows: &[u8]) -> Vec<u8> {
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 0, 0, 0, 0]].concat();
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
    zlib.write_all(rows).unwrap();
    let parts = [chunk(b"IHDR", &header), chunk(b"IDAT", &zlib.finish().unwrap()), chunk(b"IEND", &[])];
    [b"\x89PNG\r\n\x1a\n".to_vec(), parts.concat()].concat()
}

/// A classic TIFF of one page with strips, and where the next directory stands.
fn tiff(offset: u32, length: u32, next: u32) -> Vec<u8> {
    let mut bytes = b"II*\0\x08\0\0\0\x04\0".to_vec();
    for (tag, value) in [(256_u16, 70_u32), (257, 50), (273, offset), (279, length)] {
        bytes.extend(
            [&tag.to_le_bytes()[..], &4_u16.to_le_bytes(), &1_u32.to_le_bytes(), &value.to_le_bytes()].concat(),
        );
    }
    bytes.extend(next.to_le_bytes());
    bytes
}

fn boxed(name: &[u8], content: &[u8]) -> Vec<u8> {
    [&u32::try_from(content.len() + 8).unwrap().to_be_bytes()[..], name, content].concat()
}

/// Two items' worth of an AVIF: the primary one is `size`, its data `length` bytes from `offset` on.
fn avif(offset: u32, length: u32) -> Vec<u8> {
    let ispe =
        |width: u32, height: u32| boxed(b"ispe", &[&[0; 4][..], &width.to_be_bytes(), &height.to_be_bytes()].concat());
    let ipco = boxed(b"ipco", &[ispe(9_000, 9_000), ispe(70, 50)].concat());
    let ipma = boxed(b"ipma", &[0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 1, 2]);
    let iloc = [&[0, 0, 0, 0, 0x44, 0, 0, 1, 0, 1, 0, 0, 0, 1][..], &offset.to_be_bytes(), &length.to_be_bytes()];
    let meta = [&[0; 4][..], &boxed(b"pitm", &[0, 0, 0, 0, 0, 1]), &boxed(b"iprp", &[ipco, ipma].concat())];
    let meta = boxed(b"meta", &[meta.concat(), boxed(b"iloc", &iloc.concat())].concat());
    [boxed(b"ftyp", b"avif\0\0\0\0mif1"), meta, boxed(b"mdat", &[7; 100])].concat()
}

fn zip() -> Vec<u8> {
    let names = 1_u16.to_le_bytes();
    let local =
        [b"PK\x03\x04".as_slice(), &[0; 14], &5_u32.to_le_bytes(), &[0; 4], &names, &[0; 2], b"ahello"].concat();
    let entry = [b"PK\x01\x02".as_slice(), &[0; 16], &5_u32.to_le_bytes(), &[0; 4], &names, &[0; 16], b"a"].concat();
    let sizes = [entry.len(), local.len()].map(|size| u32::try_from(size).unwrap().to_le_bytes()).concat();
    let end = [b"PK\x05\x06".as_slice(), &[0; 4], &[1, 0, 1, 0], &sizes, &[0; 2]].concat();
    [local, entry, end].concat()
}

#[test]
fn what_files_are() {
    let some = Some((70, 50));
    let table = [
        (written(ImageFormat::Jpeg), Some(ContentType::Jpeg), some),
        (written(ImageFormat::Png), Some(ContentType::Png), some),
        (written(ImageFormat::Gif), Some(ContentType::Gif), some),
        (written(ImageFormat::WebP), Some(ContentType::Webp), some),
        (written(ImageFormat::Tiff), Some(ContentType::Tiff), some),
        (avif(160, 10), Some(ContentType::Avif), some),
        (boxed(b"ftyp", b"mif1\0\0\0\0heic"), Some(ContentType::Heic), None),
        (boxed(b"ftyp", b"isom\0\0\0\0mp42"), None, None),
        ([&[b' '; 1_000][..], &b"%PDF-1.4"[..]].concat(), Some(ContentType::Pdf), None),
        ([&[b' '; 1_025][..], &b"%PDF-1.4"[..]].concat(), None, None),
        (zip(), Some(ContentType::Zip), None),
        ([&b"PK\x05\x06"[..], &[0; 18]].concat(), Some(ContentType::Zip), None),
        (b"a;b\n1;\"2;\n3\"\n".to_vec(), Some(ContentType::Csv), None),
        (b"caf\xe9,prix\r\nnoir,2\r\n".to_vec(), Some(ContentType::Csv), None),
        (b"Dear sirs, this is prose.\nIt is not, in fact, CSV.\n".to_vec(), None, None),
        (b"one line, with commas\n".to_vec(), None, None),
        (b"a,b\n1,\0\n".to_vec(), None, None),
        (Vec::new(), None, None),
        (b"\xff\xd8".to_vec(), None, None),
    ];
    for (bytes, kind, pixels) in table {
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(16)]).into_owned();
        let expected = Findings { kind, pixels, fault: None };
        assert_eq!(look(&bytes, Depth::Type), expected, "{start:?}");
    }
}

#[test]
fn what_is_whole_is_accepted_and_nothing_less() {
    let formats = [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::Gif, ImageFormat::WebP, ImageFormat::Tiff];
    let files = formats.into_iter().map(written).chain([avif(160, 10), zip(), png(3, 2, &[0; 8])]);
    for bytes in files {
        let whole = look(&bytes, Depth::Decode);
        assert_eq!(whole.fault, None, "{:?}", whole.kind);
        for length in 0..bytes.len() {
            let cut = look(&bytes[..length], Depth::Structure);
            assert!(
                cut.kind.is_none() || cut.fault.as_ref().is_some_and(super::Fault::is_cut),
                "{:?} {length} {cut:?}",
                whole.kind
            );
        }
    }
}

#[test]
fn what_is_wrong_is_said() {
    let jpeg = written(ImageFormat::Jpeg);
    let ended = [&jpeg[..jpeg.len() / 2], &[0xff, 0xd9]].concat();
    assert!(fault(&ended).unwrap().starts_with("JPEG has an end marker after only "), "{:?}", fault(&ended));
    assert!(fault(&jpeg[..jpeg.len() - 2]).is_some());
    assert_eq!(fault(&[&jpeg[..], b"trailing"].concat()), None);
    let text = fault(&jpeg[..jpeg.len() * 4 / 5]).unwrap();
    assert!(text.starts_with("JPEG ends after ") && text.ends_with(" % of its scan data"), "{text}");

    let whole = written(ImageFormat::Png);
    let mut flipped = whole.clone();
    flipped[60] ^= 1;
    assert!(fault(&flipped).unwrap().contains("has a wrong CRC"), "{:?}", fault(&flipped));
    assert_eq!(fault(&png(3, 2, &[0; 7])).unwrap(), "PNG has only 87 % of its pixel data");

    let gif = written(ImageFormat::Gif);
    let middle = gif.len() / 2;
    assert!(fault(&gif[..middle]).unwrap().starts_with("GIF ends after "), "{:?}", fault(&gif[..middle]));

    let webp = written(ImageFormat::WebP);
    let said = format!("WebP says {} bytes and has 100", super::fault::number(webp.len() as u64));
    assert_eq!(fault(&webp[..100]).unwrap(), said);

    assert_eq!(fault(&tiff(8, 99, 0)).unwrap(), "TIFF has 54 % of the data of its picture, and ends at byte 62");
    assert_eq!(fault(&tiff(8, 9, 8)).unwrap(), "TIFF has directories without end");
    assert!(fault(&avif(260, 1_000)).unwrap().starts_with("AVIF item 1 reaches to byte 1,260 of "));
    assert_eq!(fault(b"%PDF-1.4 startxref 0 %%EO").unwrap(), "PDF ends without its %%EOF");
    assert_eq!(fault(b"a,b\n1,2\n3,\"4").unwrap(), "CSV ends within a quoted field");
}

#[test]
fn bombs_cost_little_and_are_refused() {
    // A canvas that nobody has: no memory for it, since the bytes for it are not there.
    let giant = png(0x7fff_ffff, 0x7fff_ffff, &[0; 1_000]);
    assert!(fault(&giant).unwrap().starts_with("PNG has only 0 % of its pixel data"));
    // One whose pixels are there, packed a thousand times, is whole; decoding it is refused by its size.
    let large = png(12_000, 12_000, &vec![0; 12_001 * 12_000]);
    assert!(large.len() < 1_000_000);
    assert_eq!(fault(&large), None);
    let refused = look(&large, Depth::Decode).fault.unwrap().to_string();
    assert_eq!(refused, "PNG has 12,000 x 12,000 pixels, and at most 134,217,728 are decoded");
    // Texts stay as they are packed.
    let mut text = png(1, 1, &[0, 0]);
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
    zlib.write_all(&vec![b'x'; 50_000_000]).unwrap();
    let packed = [&b"name\0\0"[..], &zlib.finish().unwrap()].concat();
    text.splice(33..33, chunk(b"zTXt", &packed));
    assert_eq!(look(&text, Depth::Decode).fault, None);

    // A large canvas, again and again.
    let mut gif = b"GIF89a\x00\x40\x00\x40\x80\0\0\0\0\0\xff\xff\xff".to_vec();
    for _ in 0..2_000 {
        gif.extend(b",\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0");
    }
    gif.push(b';');
    let refused = look(&gif, Depth::Decode).fault.unwrap().to_string();
    assert!(refused.starts_with("GIF "), "{refused}");

    // Boxes within boxes are not followed; a box without a length that grows is none.
    let nested = (0..5_000).fold(Vec::new(), |inner, _| boxed(b"iprp", &inner));
    let file = [boxed(b"ftyp", b"avif\0\0\0\0mif1"), boxed(b"meta", &[&[0; 4][..], &nested].concat())].concat();
    assert!(fault(&file).is_some());
    let short = [boxed(b"ftyp", b"avif\0\0\0\0mif1"), b"\0\0\0\x01free\0\0\0\0\0\0\0\0".to_vec()].concat();
    assert!(fault(&short).is_some());

    // A scan that costs few bytes and a pass over a large picture, again and again.
    let frame = b"\xff\xd8\xff\xc2\0\x0b\x08\xff\xff\xff\xff\x01\x01\x11\0\xff\xc4\0\x14\x10\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xe0";
    let scan = b"\xff\xda\0\x08\x01\x01\0\x01\x3f\0";
    let mut jpeg = frame.to_vec();
    for _ in 0..600 {
        jpeg.extend(scan);
    }
    assert!(fault(&jpeg).is_some());
}

/// Never comes to an end of its own.
struct Slow;

impl Source for Slow {
    fn size(&self) -> u64 {
        u64::MAX / 2
    }

    fn read_at(&self, _: u64, buf: &mut [u8]) -> io::Result<usize> {
        buf.fill(b'a');
        if buf.len() > 8 {
            buf[..8].copy_from_slice(b"a,b\na,b\n");
        }
        Ok(buf.len())
    }
}

/// Callers beyond those that may wait are refused without waiting; those that wait get their turn.
#[test]
fn the_pool_bounds_who_waits() {
    let pool = Pool::new(1, Duration::from_mins(10), Duration::from_mins(1));
    let held = pool.permit().unwrap();
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..MAX_WAITING).map(|_| scope.spawn(|| pool.permit().is_ok())).collect();
        while pool.waiting() < MAX_WAITING {
            std::thread::yield_now();
        }
        assert!(matches!(pool.permit(), Err(Refused::Busy)));
        drop(held);
        assert!(waiting.into_iter().all(|caller| caller.join().unwrap()));
    });
    assert!(pool.waiting() == 0 && pool.permit().is_ok());
}

/// Brings down whoever reads on.
struct Mine;

impl Source for Mine {
    fn size(&self) -> u64 {
        1_000_000
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        assert!(offset == 0, "as a decoder's mistake would");
        buf.fill(b' ');
        let length = buf.len().min(8);
        buf[..length].copy_from_slice(&b"%PDF-1.4"[..length]);
        Ok(buf.len())
    }
}

#[test]
fn the_pool_bounds_time_and_number() {
    let pool = Pool::new(0, Duration::ZERO, Duration::from_millis(50));
    assert!(matches!(pool.examine(&Slow, Depth::Structure), Err(Refused::TimedOut(_))));
    let pool = Pool::new(1, Duration::ZERO, Duration::from_mins(1));
    let held = pool.permit().unwrap();
    let whole = written(ImageFormat::Png);
    assert!(matches!(pool.examine(&&whole[..], Depth::Structure), Err(Refused::Busy)));
    assert_eq!(pool.examine(&&whole[..], Depth::Type).unwrap().pixels, Some((70, 50)));
    drop(held);
    assert_eq!(pool.examine(&&whole[..], Depth::Structure).unwrap().fault, None);
    let found = pool.examine(&Mine, Depth::Structure).unwrap();
    assert_eq!((found.kind, found.fault.is_some()), (Some(ContentType::Pdf), true));
    assert!(pool.examine(&&whole[..], Depth::Structure).is_ok(), "the permit came back");
}
