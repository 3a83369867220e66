"""2,000 damaged, exotic and hostile files: each gives valid patches or a reason, in bounded memory and time.

They run in a process of their own, which reports what became of each kind and how far its memory grew:
python -m tests.data.test_damage NUMBER SEED
"""

import faulthandler
import json
import resource
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from genlip.data import images
from genlip.data.captions import CaptionConfig, Captions
from genlip.data.examples import Example
from genlip.data.images import ImageConfig, ImageError, decode_pixels, image_patches
from genlip.data.loader import Loader
from genlip.data.packing import PackingConfig
from genlip.data.samples import SampleReader

from .damage import all_kinds, damaged_files
from .helpers import InMemory, small_config, small_tokenizer

ROOT = Path(__file__).parents[2]
NUMBER = 2000
MOST_PIXELS = 10_000_000
CONFIGS = {
    "fixed": ImageConfig(size=32, max_pixels=MOST_PIXELS),
    "native": ImageConfig(resize="native", min_patches=4, max_patches=16, max_pixels=MOST_PIXELS),
}
REASONS = {"not an image", "damaged", "too large", "unknown range"}
# Kinds of which every file must end the same way, or in one of a few.
CERTAIN = {
    "empty": {"not an image"},
    "zero bytes": {"not an image"},
    "random bytes": {"not an image"},
    "wrong content": {"not an image"},
    "png bomb": {"too large"},
    "gif bomb": {"too large"},
    "webp bomb": {"too large"},
    "tiff bomb": {"too large"},
    "bmp bomb": {"too large", "damaged"},
    "ppm bomb": {"too large", "damaged"},
    "jpeg without height": {"not an image"},
    "truncated png": {"not an image", "damaged"},
    "exif in jpeg": {"patches"},
    "exif in png": {"patches"},
    "exif in webp": {"patches"},
}
# Ten million pixels are 30 MB in RGB and 40 MB with alpha; Pillow and we hold a few of these at a time.
MOST_GROWTH_MIB = 256


def outcome(data: bytes, config: ImageConfig) -> str:
    """ "patches", after a check that they are whole, or the reason why there are none."""
    try:
        patches, (rows, columns) = image_patches(data, config, small_config())
    except ImageError as error:
        return error.reason
    fewest, most = (16, 16) if config.resize == "fixed" else (config.min_patches, config.max_patches)
    assert fewest <= rows * columns <= most
    assert (patches.shape, patches.dtype) == ((rows * columns, 3 * 8 * 8), np.uint8)
    return "patches"


def peak_mib() -> float:
    """Most resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def main() -> None:
    files = list(damaged_files(int(sys.argv[1]), int(sys.argv[2])))
    outcome(files[0][1], CONFIGS["fixed"])  # whatever is loaded at first use belongs to the beginning
    before = peak_mib()
    counts = {name: defaultdict(Counter) for name in CONFIGS}
    for kind, data in files:
        faulthandler.dump_traceback_later(20, exit=True)  # a file may take milliseconds
        for name, config in CONFIGS.items():
            counts[name][kind][outcome(data, config)] += 1
    faulthandler.cancel_dump_traceback_later()
    print(json.dumps({"counts": counts, "growth": peak_mib() - before}))


@pytest.fixture(scope="module")
def run() -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "tests.data.test_damage", str(NUMBER), "0"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_files_are_the_same_for_a_seed_and_others_for_another():
    files = list(damaged_files(300, 1))
    assert files == list(damaged_files(300, 1))
    assert files != list(damaged_files(300, 2))


def test_every_kind_is_there_twenty_times():
    kinds = Counter(kind for kind, _ in damaged_files(NUMBER, 0))
    assert kinds.keys() == all_kinds().keys()
    assert min(kinds.values()) >= 20


def test_every_file_gives_patches_or_a_known_reason(run):
    assert run.returncode == 0, run.stderr
    for counts in json.loads(run.stdout)["counts"].values():
        total = sum(map(Counter, counts.values()), Counter())
        assert sum(total.values()) == NUMBER
        assert total.keys() == REASONS | {"patches"}  # each reason was met, and some files were whole
        for kind, certain in CERTAIN.items():
            assert counts[kind].keys() <= certain, kind


def test_sizes_do_not_change_what_is_usable(run):
    counts = json.loads(run.stdout)["counts"]
    assert counts["fixed"] == counts["native"]


def test_memory_stays_within_a_few_images(run):
    assert json.loads(run.stdout)["growth"] < MOST_GROWTH_MIB


def test_pillow_warns_of_none_of_them(run):
    # What libtiff writes past Python, one line for some broken TIFFs, remains.
    assert "Warning" not in run.stderr
    assert len(run.stderr.splitlines()) < NUMBER / 10


def decoded(data: bytes) -> tuple:
    try:
        pixels = decode_pixels(data, 2_000_000)
    except ImageError as error:
        return error.reason, str(error)
    return pixels.shape, pixels.tobytes()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_simplejpeg_changes_the_outcome_of_no_jpeg(monkeypatch):
    jpegs = [data for _, data in damaged_files(2 * NUMBER, 7) if data.startswith(b"\xff\xd8")]
    ours = [decoded(data) for data in jpegs]
    monkeypatch.setattr(images, "_jpeg_pixels", lambda *_: None)
    assert ours == [decoded(data) for data in jpegs]
    assert len(jpegs) > 500


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("workers", [0, 2])
def test_the_loader_reads_all_and_skips_by_name(workers):
    files = list(damaged_files(NUMBER, 0))
    source = InMemory([Example(f"{index} {kind}", data, "a cat") for index, (kind, data) in enumerate(files)])
    captions = Captions(small_tokenizer(), CaptionConfig())
    packing = PackingConfig(max_tokens=512, batch="2 packs", streams=4)
    reader = SampleReader(source, CONFIGS["native"], captions, small_config(), max_tokens=packing.max_tokens)
    batches = [batch for update in Loader(reader, packing, workers=workers, epochs=1) for batch in update]
    found = {key: "patches" for batch in batches for key in batch.keys}
    found |= {skipped.key: skipped.reason for batch in batches for skipped in batch.skipped}
    assert sum(len(batch.keys) + len(batch.skipped) for batch in batches) == NUMBER
    assert found == {one.key: outcome(one.image, CONFIGS["native"]) for one in source.examples}


if __name__ == "__main__":
    main()
