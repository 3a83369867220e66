"""`genlip.data.datasets.idx`: files of the MNIST family, written here by hand, and those of Debian if installed."""

import gzip
import pickle
import re
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets.mnist import read_image_file, read_label_file

from genlip.data.datasets import idx
from genlip.data.datasets.idx import open_idx, read_idx

from ..helpers import noise

INSTALLED = Path("/usr/share/datasets/fashion-mnist")
LABELS = bytes([2, 0, 1, 2, 0])
PIXELS = noise(5 * 4, 3, 1).tobytes()  # 5 images of 4 x 3


def images(count=5, rows=4, columns=3, data=PIXELS, kind=8, axes=3):
    return bytes([0, 0, kind, axes]) + struct.pack(">III", count, rows, columns) + data


def labels(data=LABELS, count=None):
    return bytes([0, 0, 8, 1]) + struct.pack(">I", len(data) if count is None else count) + data


def files(folder, first=None, second=None, suffix="", prefix="t10k-images-idx3-ubyte"):
    """The path of a file of images, whose labels lie beside it."""
    pack = gzip.compress if suffix == ".gz" else bytes
    path = folder / f"{prefix}{suffix}"
    path.write_bytes(pack(images() if first is None else first))
    (folder / path.name.replace("images-idx3", "labels-idx1").replace("images.idx3", "labels.idx1")).write_bytes(
        pack(labels() if second is None else second)
    )
    return path


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(
    "prefix", ["t10k-images-idx3-ubyte", "train-images.idx3-ubyte", "emnist-letters-test-images-idx3-ubyte"]
)
def test_images_and_labels_are_read_in_order(prefix, suffix, tmp_path):
    path = files(tmp_path, suffix=suffix, prefix=prefix)
    labelled = open_idx(str(path), "cat,dog,owl")
    assert (len(labelled), labelled.classes, labelled.name) == (5, ("cat", "dog", "owl"), str(path))
    assert [item.label for item in labelled] == [2, 0, 1, 2, 0]
    for place, item in enumerate(labelled):
        assert (item.key, item.image.mode, item.image.size) == (f"{path.name}:{place}", "L", (3, 4))
        assert item.image.tobytes() == PIXELS[12 * place : 12 * place + 12]


def test_torchvision_reads_the_same(tmp_path):
    path = files(tmp_path)
    labelled = open_idx(str(path), "cat,dog,owl")
    assert np.array_equal(labelled.images, read_image_file(str(path)).numpy())
    assert labelled.labels.tolist() == read_label_file(str(tmp_path / "t10k-labels-idx1-ubyte")).tolist()


@pytest.mark.parametrize("index", [-1, 5])
def test_there_is_nothing_outside(index, tmp_path):
    with pytest.raises(IndexError, match=f"image {index} of 5"):
        open_idx(str(files(tmp_path)), "cat,dog,owl")[index]


def test_a_pickled_set_is_the_same(tmp_path):
    labelled = open_idx(str(files(tmp_path)), "cat,dog,owl")
    copy = pickle.loads(pickle.dumps(labelled))
    assert [(item.key, item.image.tobytes(), item.label) for item in copy] == [
        (item.key, item.image.tobytes(), item.label) for item in labelled
    ]
    assert (copy.name, copy.classes) == (labelled.name, labelled.classes)


def test_classes_must_be_named(tmp_path):
    expected = (
        "holds labels without names; name the classes: a text file with one name per line, names with commas between, "
    )
    with pytest.raises(ValueError, match=f"{re.escape(expected)}or one of digits, fashion-mnist"):
        open_idx(str(files(tmp_path)))


def test_a_label_outside_the_classes_is_named_with_its_file(tmp_path):
    path = files(tmp_path)
    expected = f"{tmp_path}/t10k-labels-idx1-ubyte, image 0: label 2 is none of the 2 classes, 0 to 1 (cat, dog)"
    with pytest.raises(ValueError, match=re.escape(expected)):
        open_idx(str(path), "cat,dog")


def test_a_file_that_is_not_there_is_named(tmp_path):
    path = files(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match=f"^{tmp_path}/t10k-labels-idx1-ubyte: no such file; images-idx3 and labels"):
        open_idx(str(path), "cat,dog,owl")
    with pytest.raises(FileNotFoundError, match=r"^no-images-idx3-ubyte\.gz: no such file"):
        open_idx("no-images-idx3-ubyte.gz", "digits")


def test_the_file_of_labels_is_not_the_set(tmp_path):
    files(tmp_path)
    with pytest.raises(ValueError, match="need the file of images, named …images-idx3-ubyte"):
        open_idx(str(tmp_path / "t10k-labels-idx1-ubyte"), "cat,dog,owl")


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (images(kind=9), None, "begins with 00000903; need 00000803, bytes in 3 axes"),
        (images(axes=1), None, "begins with 00000801; need 00000803, bytes in 3 axes"),
        (b"", None, "begins with ; need 00000803"),
        (images()[:15], None, "begins with 00000803; need 00000803"),
        (images()[:-1], None, "holds 59 bytes; its header announces 60"),
        (images() + b"x", None, "holds more bytes; its header announces 60"),
        (images(0, data=b""), labels(b""), "holds no images; its header says (0, 4, 3)"),
        (images(5, 0, 3, b""), None, "holds no images; its header says (5, 0, 3)"),
        (None, labels(LABELS[1:]), "5 images, but t10k-labels-idx1-ubyte{suffix} holds 4 labels; need one for each"),
        (None, labels(count=6), "holds 5 bytes; its header announces 6"),
        (images(2**16, 2**15, 2), None, "announces 4294967296 bytes ((65536, 32768, 2)); the limit is 2147483648"),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_what_is_no_idx_file_is_refused(first, second, message, suffix, tmp_path):
    path = files(tmp_path, first, second, suffix)
    with pytest.raises(ValueError, match=re.escape(message.format(suffix=suffix))):
        open_idx(str(path), "cat,dog,owl")


@pytest.mark.parametrize("damage", [lambda data: data[:-10], lambda data: data[:20] + b"\xff" * 20 + data[40:]])
def test_a_damaged_gzip_file_is_named(damage, tmp_path):
    path = files(tmp_path, suffix=".gz")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=rf"^{path}: damaged gzip file"):
        open_idx(str(path), "cat,dog,owl")


def test_a_small_file_cannot_fill_the_memory(tmp_path, monkeypatch):
    path = tmp_path / "x-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(images(data=bytes(2**25))))  # 32 MiB behind a header that announces 60 bytes
    (tmp_path / "y").write_bytes(images(2**14, 2**8, 2**8, b"few"))  # 3 bytes behind one that announces 1 GiB
    monkeypatch.setattr(idx, "_CHUNK", 2**16)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="holds more bytes; its header announces 60"):
            read_idx(path, 3)
        with pytest.raises(ValueError, match="holds 3 bytes; its header announces 1073741824"):
            read_idx(tmp_path / "y", 3)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(not INSTALLED.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
@pytest.mark.parametrize(("part", "count"), [("t10k", 10_000), ("train", 60_000)])
def test_fashion_mnist_has_as_many_images_of_each_class(part, count):
    labelled = open_idx(str(INSTALLED / f"{part}-images-idx3-ubyte.gz"), "fashion-mnist")
    assert len(labelled) == count
    assert np.bincount(labelled.labels).tolist() == [count // 10] * 10
    assert labelled[0].image.size == (28, 28)
    assert labelled.classes[labelled[0].label] == "ankle boot"  # the first of both parts
