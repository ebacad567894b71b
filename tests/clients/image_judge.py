"""Compares Landfall's inspection of images with Pillow's: over the images of Pillow's own tests, and over photographs in many
forms, whole and cut off at fifty places.

    image_judge.py EXAMINE PILLOW PHOTOGRAPHS TABLE [--short]

EXAMINE is `tests/examples/examine.rs` as it was built, PILLOW the place of Pillow's sources, TABLE a Markdown file: each row whose
first cell is a file name in backticks is a file about which the two are expected to differ. Prints a matrix per type; fails if they
differ about any other file, if one of the table's files is no longer different, or if anything cut off is accepted.
With --short fewer photographs are cut off, at fewer places.
"""

import collections
import json
import pathlib
import re
import resource
import subprocess
import sys
import tempfile
import warnings

from PIL import Image

SHORT = "--short" in sys.argv
CUTS = 5 if SHORT else 50
# One photograph in so many is brought into other forms.
STEP = 12 if SHORT else 4
# What Landfall has a name for.
FORMATS = {"JPEG", "MPO", "PNG", "WEBP", "GIF", "TIFF", "AVIF"}
COLUMNS = ("both accept", "both refuse", "only we refuse", "only Pillow refuses")
warnings.simplefilter("ignore")
# Some of the pictures are bombs, which Pillow takes a part of for real.
MEMORY_BYTES = 1 << 30


def pillow(path):
    """Pillow's name for the format, and why it refuses the file."""
    try:
        with Image.open(path) as image:
            kind = image.format
            try:
                image.load()
            except Exception as error:
                return kind, f"{type(error).__name__}: {error}"
            return kind, None
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"


def examine(program, names, *options):
    lines = "".join(f"{name}\n" for name in names)
    run = subprocess.run([program, *options], input=lines, stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in run.stdout.splitlines()]


def column(ours, theirs):
    return COLUMNS[(1 if theirs else 0) if bool(ours) == bool(theirs) else (2 if ours else 3)]


def compare(program, folder, expected):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    surprises, differing = [], set()
    for depth in ("structure", "decode"):
        matrix = collections.defaultdict(collections.Counter)
        for path, found in zip(files, examine(program, files, "--depth", depth)):
            format, theirs = pillow(path)
            if format not in FORMATS and found["kind"] not in ("jpeg", "png", "webp", "gif", "tiff", "avif", "heic"):
                continue
            ours = found["fault"] or (None if found["kind"] else "no type that has a name")
            kind, where = found["kind"] or "none", column(ours, theirs)
            matrix[kind][where] += 1
            name = str(path.relative_to(folder))
            if where in COLUMNS[2:]:
                differing.add(name)
                if name not in expected:
                    surprises.append(f"{depth}: {where}: {name}: {ours or theirs}")
        print(f"\n{depth:10}" + "".join(f"{title:>22}" for title in COLUMNS))
        for kind, row in sorted(matrix.items()):
            print(f"{kind:10}" + "".join(f"{row[title]:22}" for title in COLUMNS))
    surprises += [f"no longer different: {name}" for name in sorted(expected - differing)]
    return surprises


def variants(photograph, place):
    """One photograph in every form that Pillow can write."""
    image = Image.open(photograph).convert("RGB")
    image.thumbnail((480, 480))
    forms = {
        "baseline.jpg": {"quality": 85},
        "progressive.jpg": {"quality": 85, "progressive": True},
        "restarts.jpg": {"quality": 85, "restart_marker_rows": 1},
        "progressive-restarts.jpg": {"quality": 85, "progressive": True, "restart_marker_blocks": 7},
        "unsampled.jpg": {"quality": 95, "subsampling": 0, "optimize": True},
        "grey.jpg": {"mode": "L"},
        "cmyk.jpg": {"mode": "CMYK"},
        "rgb.png": {},
        "palette.png": {"mode": "P"},
        "bilevel.png": {"mode": "1"},
        "lossy.webp": {},
        "lossless.webp": {"lossless": True},
        "plain.gif": {"mode": "P"},
        "interlaced.gif": {"mode": "P", "interlace": 1},
        "raw.tif": {},
        "lzw.tif": {"compression": "tiff_lzw"},
        "deflate.tif": {"compression": "tiff_adobe_deflate"},
        "jpeg.tif": {"compression": "jpeg"},
        "big.tif": {"big_tiff": True},
        "plain.avif": {"speed": 10},
    }
    for name, options in forms.items():
        options = dict(options)
        target = place / f"{photograph.stem}-{name}"
        image.convert(options.pop("mode", "RGB")).save(target, **options)
        yield target
    target = place / f"{photograph.stem}-animated.webp"
    image.save(target, save_all=True, append_images=[image.rotate(90), image.rotate(180)], duration=100)
    yield target
    target = place / f"{photograph.stem}-animated.gif"
    image.save(target, save_all=True, append_images=[image.rotate(90), image.rotate(180)], duration=100)
    yield target


def cut_off(program, folder):
    surprises, matrix = [], collections.defaultdict(collections.Counter)
    originals = sorted(folder.iterdir())
    with tempfile.TemporaryDirectory() as place:
        files = list(originals)
        for photograph in originals[::STEP]:
            files += variants(photograph, pathlib.Path(place))
        for path, found in zip(files, examine(program, files, "--depth", "structure", "--cuts", str(CUTS))):
            kind = found["kind"]
            matrix[kind]["whole"] += 1
            if found["fault"]:
                surprises.append(f"whole: {path.name}: {found['fault']}")
            with Image.open(path) as image:
                if found["pixels"] != list(image.size):
                    surprises.append(f"size: {path.name}: {found['pixels']} is {image.size}")
            for cut in found["cuts"]:
                refused = bool(cut["fault"]) or cut["kind"] is None
                matrix[kind]["refused" if refused else "accepted"] += 1
                if not refused:
                    surprises.append(f"cut: {path.name}: accepted with {cut['length']} bytes of {found['size']}")
        for path, found in zip(files, examine(program, files, "--depth", "decode")):
            if found["fault"]:
                surprises.append(f"decode: {path.name}: {found['fault']}")
    titles = ("whole", "refused", "accepted")
    print(f"\n{'cut off':10}" + "".join(f"{title:>22}" for title in titles))
    for kind, row in sorted(matrix.items()):
        print(f"{kind:10}" + "".join(f"{row[title]:22}" for title in titles))
    return surprises


def main():
    program, sources, photographs, table = sys.argv[1:5]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    expected = set(re.findall(r"^\| `([^`]+)` \|", pathlib.Path(table).read_text(), re.M))
    surprises = compare(program, pathlib.Path(sources) / "Tests" / "images", expected)
    surprises += cut_off(program, pathlib.Path(photographs))
    for line in surprises:
        print(line)
    print(f"{len(surprises)} surprises")
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main())
