"""Compare readers of single lines: character and word error rates, and lines per second on one core.

    pip install rapidfuzz
    python examples/print_and_pictures/compare_readers.py runs/print_and_pictures/measured runs/readers --model pocket

Readers: `genlip` (this model), `tesseract` (the program, if it is installed; `--psm 7`, English, lines enlarged to the size
that its documentation asks for), `tesseract-as-is` (not enlarged), `tesseract-languages` (enlarged, with all languages of
`readers.LANGUAGES` that are installed), `rapidocr` (if `rapidocr-onnxruntime` is installed; its recogniser alone). Each
reads the same images in the same run. Quotes and dashes of all kinds are the same, and so is white space.

The error rate is the number of insertions, deletions and replacements in all lines, per character (or word) of the truth.
Intervals are of 95 %, by 1,000 bootstrap samples of the lines. What was read is stored in OUT: the same command goes on
where it was stopped. OUT/readers.html shows curves, and lines with all readings.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from reader_errors import COLUMNS, Measured, Sample, edits, rate
from readers import Reader, available
from readers_page import readers_page

from genlip.model.writing import write_text


def samples(shard: Path, limit: int) -> list[Sample]:
    """So many lines, spread evenly over a shard; all if the limit is 0."""
    parts: dict[str, dict[str, bytes]] = {}
    with tarfile.open(shard) as archive:
        for member in archive:
            key, _, suffix = member.name.rpartition(".")
            opened = archive.extractfile(member)
            parts.setdefault(key, {})[suffix] = opened.read() if opened else b""
    chosen = list(parts.values())
    if limit:
        chosen = [chosen[place * len(chosen) // limit] for place in range(min(limit, len(chosen)))]
    return [
        Sample(Image.open(io.BytesIO(one["png"])).convert("RGB"), one["txt"].decode("utf8"), json.loads(one["json"]))
        for one in chosen
    ]


def measured(shard: str, some: Sequence[Sample], reader: Reader, out: Path) -> Measured:
    """What a reader reads, from OUT if it is stored there, else stored there now."""
    images = hashlib.sha256(b"".join(one.image.tobytes() for one in some)).hexdigest()[:8]
    file = out / f"{shard}-{images}-{reader.name}-{reader.version}.json"
    if not file.is_file():
        start = time.perf_counter()
        texts = reader.read([one.image for one in some])
        write_text(file, json.dumps({"texts": texts, "seconds": time.perf_counter() - start}))
    stored = json.loads(file.read_text())
    counts = edits([one.text for one in some], stored["texts"])
    new = counts[[not one.facts.get("known_font", True) for one in some]]
    rates = rate(counts, 0), rate(counts, 2), rate(new, 0)
    return Measured(shard, reader.name, stored["texts"], counts, *rates, len(some) / stored["seconds"])


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", type=Path, help="folder of .tar files of lines, such as OUT/measured")
    parser.add_argument("out", type=Path, help="folder for what was read, and for the page")
    parser.add_argument("--model", default="", help="a model of genlip; empty leaves it out")
    parser.add_argument("--limit", type=int, default=0, help="lines of each shard; 0 for all (default)")
    parser.add_argument("--readers", default="", help="names with commas; empty takes all that there are")
    args = parser.parse_args()
    readers = [one for one in available(args.model) if not args.readers or one.name in args.readers.split(",")]
    lines, found = {}, list[Measured]()
    print(" | ".join(COLUMNS), flush=True)
    for shard in sorted(args.shards.glob("*.tar")):
        some = lines[shard.stem] = samples(shard, args.limit)
        for reader in readers:
            found.append(measured(shard.stem, some, reader, args.out))
            print(" | ".join(found[-1].cells()), flush=True)
    write_text(args.out / "readers.html", readers_page(lines, found))
    print(f"page: {args.out / 'readers.html'}")


if __name__ == "__main__":
    main()
