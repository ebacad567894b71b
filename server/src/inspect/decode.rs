//! Every pixel, through the `image` crate, within bounds of time and memory. What it has no decoder for counts as it stands:
//! AVIF and HEIC, JPEG in arithmetic coding, rare kinds of TIFF, among them tiles with colours apart. Knows nothing of structure,
//! which was looked at before.

use std::cell::RefCell;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::codecs::gif::GifDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::{AnimationDecoder, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};
use landfall_auth::ContentType;

use super::fault::{Fault, Stop, Walked, number, wrong};
use super::source::{Source, Window};
use super::tiff;

/// Pixels of a picture, at most: a hundred megapixels come out of cameras.
const MAX_PIXELS: u64 = 128 * 1_024 * 1_024;
/// What a picture may take once it is decoded, in bytes. With what decoders keep beside it, three times as much at most.
const MAX_DECODED_BYTES: u64 = 384 * 1_024 * 1_024;
/// Largest file, in bytes: one decoder takes all of it into memory.
const MAX_FILE_BYTES: u64 = 256 * 1_024 * 1_024;
/// Pixels of all pictures of an animation, each as large as the whole.
const MAX_ANIMATED_PIXELS: u64 = 1_024 * 1_024 * 1_024;
/// Pictures of an animation.
const MAX_FRAMES: u64 = 10_000;
/// The longest of a decoder's own words that are passed on, in characters.
const MAX_WORDS: usize = 120;

/// Decodes all that it can.
pub(super) fn decode(source: &dyn Source, kind: ContentType, pixels: Option<(u32, u32)>) -> Walked {
    let format = match kind {
        ContentType::Jpeg => ImageFormat::Jpeg,
        ContentType::Png => ImageFormat::Png,
        ContentType::Webp => ImageFormat::WebP,
        ContentType::Gif => ImageFormat::Gif,
        // Its decoder miscounts the rows of all planes but the first, and panics.
        ContentType::Tiff if tiff::has_tiled_planes(&mut Window::new(source))? => return Ok(()),
        ContentType::Tiff => ImageFormat::Tiff,
        _ => return Ok(()),
    };
    let title = kind.title();
    let (width, height) = pixels.unwrap_or_default();
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        let (width, height, most) = (number(width.into()), number(height.into()), number(MAX_PIXELS));
        return wrong(format!("{title} has {width} x {height} pixels, and at most {most} are decoded"));
    }
    if source.size() > MAX_FILE_BYTES {
        return wrong(format!("{title} has more than the {} bytes that are decoded", number(MAX_FILE_BYTES)));
    }
    let failed = RefCell::new(None);
    let reader = Reader { source, at: 0, failed: &failed };
    let decoded = catch_unwind(AssertUnwindSafe(|| run(reader, format)));
    if let Some(error) = failed.take() {
        return Err(Stop::Io(error));
    }
    match decoded {
        Ok(Ok(()) | Err(Trouble::Image(ImageError::Unsupported(_)))) => Ok(()),
        Ok(Err(Trouble::Image(ImageError::Limits(_)))) => {
            let most = number(MAX_DECODED_BYTES);
            wrong(format!("{title} takes more than the {most} bytes that a decoded picture may take"))
        }
        Ok(Err(Trouble::Image(error))) => wrong(format!("{title} does not decode: {}", words(&error))),
        Ok(Err(Trouble::Endless)) => wrong(format!("{title} has more pictures than are decoded")),
        Err(_) => Err(Stop::Fault(Fault::new(format!("{title} brings its decoder down")))),
    }
}

enum Trouble {
    Image(ImageError),
    Endless,
}

impl From<ImageError> for Trouble {
    fn from(error: ImageError) -> Self {
        Self::Image(error)
    }
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    limits
}

fn run(reader: Reader<'_>, format: ImageFormat) -> Result<(), Trouble> {
    let reader = BufReader::new(reader);
    match format {
        ImageFormat::Gif => {
            let mut decoder = GifDecoder::new(reader)?;
            decoder.set_limits(limits())?;
            animation(decoder)
        }
        ImageFormat::WebP => {
            let mut decoder = WebPDecoder::new(reader)?;
            decoder.set_limits(limits())?;
            if decoder.has_animation() { animation(decoder) } else { still(decoder) }
        }
        ImageFormat::Png => {
            let decoder = PngDecoder::with_limits(reader, limits())?;
            if decoder.is_apng()? { animation_of(decoder.dimensions(), decoder.apng()?) } else { still(decoder) }
        }
        format => {
            let mut reader = ImageReader::with_format(reader, format);
            reader.limits(limits());
            reader.decode().map(drop).map_err(Trouble::Image)
        }
    }
}

fn still(decoder: impl ImageDecoder) -> Result<(), Trouble> {
    let bytes = decoder.total_bytes();
    let room = usize::try_from(bytes).ok().filter(|_| bytes <= MAX_DECODED_BYTES);
    let too_large = image::error::LimitError::from_kind(image::error::LimitErrorKind::InsufficientMemory);
    let mut buffer = vec![0; room.ok_or(ImageError::Limits(too_large))?];
    decoder.read_image(&mut buffer).map_err(Trouble::Image)
}

fn animation<'a>(decoder: impl ImageDecoder + AnimationDecoder<'a>) -> Result<(), Trouble> {
    animation_of(decoder.dimensions(), decoder)
}

fn animation_of<'a>((width, height): (u32, u32), decoder: impl AnimationDecoder<'a>) -> Result<(), Trouble> {
    let each = u64::from(width) * u64::from(height);
    let most = (MAX_ANIMATED_PIXELS / each.max(1)).clamp(1, MAX_FRAMES);
    for (index, frame) in (0..).zip(decoder.into_frames()) {
        if index == most {
            return Err(Trouble::Endless);
        }
        frame?;
    }
    Ok(())
}

/// A decoder's own words, without what would forge lines.
fn words(error: &ImageError) -> String {
    let text = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    text.chars().take(MAX_WORDS).map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// A source as decoders read it. Remembers the disk's error, which they wrap in errors of their own.
struct Reader<'s> {
    source: &'s dyn Source,
    at: u64,
    failed: &'s RefCell<Option<io::Error>>,
}

impl Read for Reader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.source.read_at(self.at, buf) {
            Ok(count) => {
                self.at += count as u64;
                Ok(count)
            }
            Err(error) => {
                let kind = error.kind();
                self.failed.replace(Some(error));
                Err(kind.into())
            }
        }
    }
}

impl Seek for Reader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(place) => Some(place),
            SeekFrom::End(by) => self.source.size().checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = place.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
