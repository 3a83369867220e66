"""Frozen features: the encoder's own, kept on disk, resumed, mended, and never computed twice."""

import dataclasses
import errno
import json
import shutil
import threading
import time
import zlib
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image

from genlip.data.examples import Example
from genlip.data.images import ImageConfig, ImageError
from genlip.evaluate.frozen import features as module
from genlip.evaluate.frozen.feature_files import Block, FeatureFiles
from genlip.evaluate.frozen.features import FrozenFeatures, features_key, frozen_features
from genlip.speaker import Speaker
from tests.model.helpers import small_model

NATIVE = ImageConfig(resize="native", min_patches=2, max_patches=12)


class Pictures:
    """Ten random pictures of several shapes; those in `broken` cannot be used."""

    name = "pictures"

    def __init__(self, broken: tuple[int, ...] = ()) -> None:
        self.broken = broken

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> Example:
        if index in self.broken:
            raise ImageError("damaged", f"picture {index} is broken")
        pixels = np.random.default_rng(index).integers(0, 256, (8 + 4 * (index % 3), 8, 3), dtype=np.uint8)
        return Example(f"p{index}", Image.fromarray(pixels), "")


class Counting(Speaker):
    """Counts the packs that its model encodes; may be stopped at one of them."""

    def __init__(self, stop_at: int = 0, images: ImageConfig = NATIVE) -> None:
        super().__init__(small_model().float(), images)
        self.encoded, self.stop_at, encode = 0, stop_at, self.model.encode

        def counted(pack: Any) -> torch.Tensor:
            self.encoded += 1
            if self.encoded == self.stop_at:
                raise KeyboardInterrupt
            return encode(pack)

        self.model.encode = counted  # type: ignore[method-assign]


def same(a: FrozenFeatures, b: FrozenFeatures) -> bool:
    return (
        a.keys == b.keys
        and a.rows.tobytes() == b.rows.tobytes()
        and a.grids.tolist() == b.grids.tolist()
        and a.indices.tolist() == b.indices.tolist()
    )


def test_features_are_the_encoders_in_float16(tmp_path: Path) -> None:
    speaker, data = Counting(), Pictures()
    found = frozen_features(speaker, data, indices=[7, 0, 2], folder=tmp_path, batch_size=2)
    assert (found.keys, found.indices.tolist()) == (("p7", "p0", "p2"), [7, 0, 2])
    assert (found.rows.dtype, found.grids.dtype, found.width) == (np.float16, np.int32, 24)
    for i, index in enumerate([7, 0, 2]):
        (alone,) = speaker.encode([data[index].image])
        assert tuple(found.grids[i]) == alone.grid
        assert found[i].dtype == torch.float32
        torch.testing.assert_close(found[i], alone.patches, rtol=2**-11, atol=1e-5)  # half a unit of float16's last place


def test_a_batch_is_padded_behind_a_mask() -> None:
    found = frozen_features(Counting(), Pictures())
    features, real = found.batch([2, 0, 1])
    counts = [int(np.prod(found.grids[i])) for i in (2, 0, 1)]
    assert counts == [8, 4, 6]
    assert real.tolist() == [[place < count for place in range(8)] for count in counts]
    for row, i in enumerate((2, 0, 1)):
        assert torch.equal(features[row, : counts[row]], found[i])
        assert not features[row, counts[row] :].any()


def test_memory_and_disk_hold_the_same(tmp_path: Path) -> None:
    assert same(frozen_features(Counting(), Pictures()), frozen_features(Counting(), Pictures(), folder=tmp_path))


def test_kept_features_are_read_and_not_computed(tmp_path: Path) -> None:
    first = frozen_features(Counting(), Pictures(), folder=tmp_path, batch_size=3)
    again, done = Counting(), []
    assert same(first, frozen_features(again, Pictures(), folder=tmp_path, batch_size=3, advance=done.append))
    assert again.encoded == 0
    assert done == [10]


def test_numpy_reads_the_file(tmp_path: Path) -> None:
    found = frozen_features(Counting(), Pictures(), folder=tmp_path)
    (file,) = tmp_path.glob("*.npy")
    assert np.array_equal(np.load(file), found.rows)


def test_an_interrupted_extraction_goes_on_where_it_stopped(tmp_path: Path) -> None:
    never_stopped = frozen_features(Counting(), Pictures(), batch_size=2)
    with pytest.raises(KeyboardInterrupt):
        frozen_features(Counting(stop_at=4), Pictures(), folder=tmp_path, batch_size=2)
    resumed, done = Counting(), []
    assert same(never_stopped, frozen_features(resumed, Pictures(), folder=tmp_path, batch_size=2, advance=done.append))
    assert resumed.encoded == 2
    assert done == [6, 2, 2]


@pytest.mark.parametrize(
    ("suffix", "damage", "computed"),
    [
        (".npy", lambda data: data[:-1], 1),
        (".npy", lambda data: data[:-10] + bytes([data[-10] ^ 1]) + data[-9:], 1),
        (".npy", lambda data: data[:130] + bytes([data[130] ^ 1]) + data[131:], 5),
        (".npy", lambda data: data[:40], 5),
        (".npy", lambda data: data + b"rows of a block without a line", 0),
        (".jsonl", lambda data: data[:-2], 1),
        (".jsonl", lambda data: data.replace(b"p3", b"q3"), 4),
        (".jsonl", lambda data: b"no journal\n", 5),
    ],
)
def test_damage_is_noticed_and_mended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, suffix: str, damage: Any, computed: int
) -> None:
    whole = frozen_features(Counting(), Pictures(), batch_size=2)
    frozen_features(Counting(), Pictures(), folder=tmp_path, batch_size=2)
    (file,) = tmp_path.glob(f"*{suffix}")
    file.write_bytes(damage(file.read_bytes()))
    speaker = Counting()
    assert same(whole, frozen_features(speaker, Pictures(), folder=tmp_path, batch_size=2))
    assert speaker.encoded == computed
    assert ("computing again" in caplog.text) is (computed > 0)
    assert same(whole, frozen_features(speaker, Pictures(), folder=tmp_path, batch_size=2))
    assert speaker.encoded == computed, "mended for good"


def test_the_key_tells_apart_what_changes_features() -> None:
    speaker, data, some = Counting(), Pictures(), np.arange(3)
    key = features_key(speaker, data, some)
    assert features_key(Counting(), data, some) == key
    changed = {features_key(speaker, data, np.arange(4))}
    speaker.images = dataclasses.replace(NATIVE, max_patches=8)
    changed.add(features_key(speaker, data, some))
    speaker = Counting()
    speaker.model.blocks[1].mlp.fc2.weight.data[0, 0] += 1e-3  # type: ignore[union-attr, index]
    changed.add(features_key(speaker, data, some))
    changed.add(features_key(Speaker(Counting().model.bfloat16(), NATIVE), data, some))
    other = small_model(rope_theta=5.0).float()
    changed.add(features_key(Speaker(other, NATIVE), data, some))
    renamed = Pictures()
    renamed.name = "others"
    changed.add(features_key(Counting(), renamed, some))
    assert len(changed - {key}) == 6


def test_other_images_under_the_same_names_are_encoded_anew(tmp_path: Path) -> None:
    class Repainted(Pictures):
        def __getitem__(self, index: int) -> Example:
            example = super().__getitem__(index)
            return example._replace(image=Image.eval(example.image, lambda value: 255 - value))

    first = frozen_features(Counting(), Pictures(), folder=tmp_path)
    second = frozen_features(Counting(), Repainted(), folder=tmp_path)
    assert second.keys == first.keys
    assert not np.array_equal(second.rows, first.rows)


def test_the_text_part_of_the_model_changes_no_key() -> None:
    speaker = Counting()
    key = features_key(speaker, Pictures(), np.arange(3))
    speaker.model.lm_head.weight.data.zero_()
    assert features_key(speaker, Pictures(), np.arange(3)) == key


def test_unusable_images_are_skipped_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data, done = Pictures(broken=(0, 4, 5)), []
    found = frozen_features(Counting(), data, folder=tmp_path, batch_size=2, advance=done.append)
    assert found.indices.tolist() == [1, 2, 3, 6, 7, 8, 9]
    assert sum(done) == 10
    assert "skipped picture 4 is broken" in caplog.text
    caplog.clear()
    assert same(found, frozen_features(Counting(), data, folder=tmp_path))
    assert "3 of 10 images could not be used" in caplog.text


def test_a_set_without_usable_images_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pictures: none of 10 images can be used"):
        frozen_features(Counting(), Pictures(broken=tuple(range(10))), folder=tmp_path)
    assert len(frozen_features(Counting(), Pictures(), folder=tmp_path)) == 10


def test_drop_path_is_off_and_the_models_mode_is_kept() -> None:
    speaker = Speaker(small_model(drop_path_rate=0.9).float(), NATIVE)
    quiet = frozen_features(speaker, Pictures())
    speaker.model.train()
    assert same(quiet, frozen_features(speaker, Pictures()))
    assert speaker.model.training


def test_a_bfloat16_model_loses_nothing() -> None:
    model = small_model().bfloat16()
    found = frozen_features(Speaker(model, NATIVE), Pictures(), indices=[0])
    (alone,) = Speaker(model, NATIVE).encode([Pictures()[0].image])
    torch.testing.assert_close(found[0], alone.patches.float(), rtol=0, atol=2**-24)


def test_features_beyond_float16_are_an_error(tmp_path: Path) -> None:
    speaker = Counting()
    speaker.model.ln_post.bias.data.fill_(1e5)
    with pytest.raises(
        ValueError,
        match=r"images 'p0' to 'p9' are beyond what float16 holds, 65504: the model has diverged, or its last layers",
    ):
        frozen_features(speaker, Pictures(), folder=tmp_path)


def test_a_full_disk_is_told_beforehand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speaker = Counting(images=ImageConfig(size=16))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 10 * 16 * 24 * 2 - 1))
    with pytest.raises(ValueError, match=r"features of 10 images need 0\.0 GB, 0\.0 GB are free: make room"):
        frozen_features(speaker, Pictures(), folder=tmp_path)
    assert speaker.encoded == 0
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage(10**9, 10**9, 10 * 16 * 24 * 2))
    assert len(frozen_features(speaker, Pictures(), folder=tmp_path)) == 10


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"indices": []}, "pictures: 0 images to encode"),
        ({"indices": [3, 10]}, "pictures: indices from 3 to 10, but it has 10 images"),
        ({"indices": [-1]}, "pictures: indices from -1 to -1"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_bad_input_is_refused(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        frozen_features(Counting(), Pictures(), **keywords)


def test_an_index_beyond_the_images_is_an_error() -> None:
    with pytest.raises(IndexError, match="features of image 10 of 10"):
        frozen_features(Counting(), Pictures())[10]


def test_waiting_for_another_process_is_said_with_the_locks_name(tmp_path: Path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.01)
    speaker = Counting()
    file = tmp_path / f"{features_key(speaker, Pictures(), np.arange(10))}.lock"
    held = threading.Event()

    def other() -> None:
        with FileLock(file):
            held.set()
            time.sleep(0.3)

    process = threading.Thread(target=other)
    process.start()
    held.wait()
    frozen_features(speaker, Pictures(), folder=tmp_path)
    process.join()
    assert f"waiting for another process that encodes the same images; its lock is {file}" in caplog.text


def test_a_full_disk_is_told_with_the_files_name(tmp_path: Path, monkeypatch) -> None:
    files = FeatureFiles(tmp_path / "x", 4)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match=rf"{tmp_path / 'x.npy'}: cannot be written: No space left on device"):
        files.append(Block(1, [0], ["a"], [(1, 1)]), np.zeros((1, 4), dtype=np.float16))


@pytest.mark.parametrize("entry", [5, "a", {"places": "1"}, {"places": 1, "indices": [0], "keys": [0], "grids": [[1, 1]]}])
def test_a_journal_of_other_types_is_damaged(entry: Any, tmp_path: Path) -> None:
    files = FeatureFiles(tmp_path / "x", 4)
    files.append(Block(1, [0], ["a"], [(1, 1)]), np.zeros((1, 4), dtype=np.float16))
    text = json.dumps(entry).encode()
    files.journal.write_bytes(b"%08x %s\n" % (zlib.crc32(b"", zlib.crc32(text)), text))
    assert files.sound_blocks() == []
