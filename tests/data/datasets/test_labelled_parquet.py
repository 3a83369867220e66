"""`genlip.data.datasets.labelled_parquet`: rows with a label, against the tables that were written."""

import json
import pickle
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from genlip.data.datasets.labelled_parquet import open_labelled_parquet
from genlip.data.examples import Unusable

from ..helpers import written
from ..sources.far import register

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
NAMES = ["tench, Tinca tinca", "hot_dog", "owl"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GENLIP_CACHE", str(tmp_path / "cache"))


def hub(**columns):
    """What the Hub's `datasets` writes into a schema with names for some columns."""
    features = {"image": {"_type": "Image"}, "n": {"dtype": "int64", "_type": "Value"}}
    features |= {column: {"names": names, "_type": "ClassLabel"} for column, names in columns.items()}
    return {b"huggingface": json.dumps({"info": {"features": features}}).encode()}


def table(path, columns, metadata=None, **how):
    held = pa.table(columns)
    pq.write_table(held.replace_schema_metadata(metadata), path, **how)
    return str(path)


def pictures(*data):
    return pa.array([{"bytes": held, "path": None} for held in data], IMAGE)


def opened(paths, classes="", **how):
    return open_labelled_parquet([paths] if isinstance(paths, str) else paths, "test set", classes, **how)


def test_rows_are_read_in_order_with_the_names_of_the_schema(tmp_path):
    columns = {"image": pictures(b"0", b"1", b"2"), "label": [2, 0, 1], "n": [7, 8, 9]}
    first = table(tmp_path / "0.parquet", columns, hub(label=NAMES), row_group_size=2)
    second = table(tmp_path / "1.parquet", {"label": [1], "image": pictures(b"3")}, hub(label=NAMES))
    labelled = opened([first, second])
    assert (len(labelled), labelled.name, labelled.classes) == (4, "test set", ("tench", "hot dog", "owl"))
    expected = [("0.parquet:0", b"0", 2), ("0.parquet:1", b"1", 0), ("0.parquet:2", b"2", 1), ("1.parquet:0", b"3", 1)]
    assert [tuple(item) for item in labelled] == expected
    assert [labelled.label(index) for index in range(4)] == [2, 0, 1, 1]


def test_images_may_be_plain_bytes_or_lie_beside_the_table(tmp_path):
    assert opened(table(tmp_path / "a.parquet", {"image": [b"i"], "label": [0]}), "cat,dog")[0].image == b"i"
    beside = pa.array([{"bytes": None, "path": "deep/a.jpg"}], IMAGE)
    path = table(tmp_path / "b.parquet", {"image": beside, "label": [0]}, hub(label=NAMES))
    assert opened(path)[0].image == tmp_path / "deep/a.jpg"


def test_the_names_of_the_user_go_before_those_of_the_schema(tmp_path):
    path = table(tmp_path / "a.parquet", {"image": [b"i"], "label": [0]}, hub(label=["n02", "n01"]))
    assert opened(path).classes == ("n02", "n01")
    assert opened(path, "first,second").classes == ("first", "second")
    mapping = written(tmp_path, "mapping.txt", "n01 tench, Tinca\nn02 goldfish\n")
    assert opened(path, str(mapping)).classes == ("goldfish", "tench")
    with pytest.raises(ValueError, match="3 names for 2 classes of test set"):
        opened(path, "a,b,c")


@pytest.mark.parametrize(
    ("columns", "named", "expected"),
    [
        ({"n": [5], "label": [1]}, [], "label"),
        ({"coarse_label": [0], "fine_label": [1]}, ["coarse_label", "fine_label"], "fine_label"),
        ({"n": [5], "breed": [1]}, ["breed"], "breed"),
        ({"species": [1], "text": ["t"], "weight": [0.5]}, [], "species"),
        ({"label": ["owl"], "y": [1]}, [], "y"),
    ],
)
@pytest.mark.parametrize("kind", [pa.int8(), pa.int64(), pa.uint16()])
def test_the_label_column_is_found(kind, columns, named, expected, tmp_path):
    held = {name: pa.array(values, kind) if isinstance(values[0], int) else values for name, values in columns.items()}
    metadata = hub(**dict.fromkeys(named, NAMES))
    labelled = opened(table(tmp_path / "a.parquet", {"image": [b"i"], **held}, metadata), "" if named else "a,b,c")
    assert labelled.rows.others == (expected,)
    assert labelled[0].label == 1


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"image": [b"i"], "label": ["owl"]},
            "no column of whole numbers among image (binary), label (string); need one, or",
        ),
        (
            {"image": [b"i"], "n": [1], "m": [2]},
            "several columns of whole numbers among image (binary), n (int64), m (int64); need one, or one named label or",
        ),
        ({"url": ["u"], "label": [1]}, "no image column among url (string), label (int64)"),
    ],
)
def test_what_columns_there_are_is_told(columns, message, tmp_path):
    path = table(tmp_path / "a.parquet", columns)
    with pytest.raises(ValueError, match=re.escape(f"{path}: {message}")):
        opened(path, "a,b,c")


@pytest.mark.parametrize(
    "metadata", [None, {b"huggingface": b"no JSON"}, {b"huggingface": b'{"info": []}'}, {b"x": b"y"}, hub()]
)
def test_labels_without_names_need_some(metadata, tmp_path):
    path = table(tmp_path / "a.parquet", {"image": [b"i"], "label": [1]}, metadata)
    with pytest.raises(
        ValueError, match="test set, column 'label': holds labels without names; name the classes: a text file"
    ):
        opened(path)
    assert opened(path, "a,b").classes == ("a", "b")


@pytest.mark.parametrize("label", [-1, 3, None])
def test_a_label_outside_the_classes_is_named_with_its_row(label, tmp_path):
    labels = pa.array([0, label], pa.int64())
    labelled = opened(table(tmp_path / "a.parquet", {"image": [b"i", b"j"], "label": labels}, hub(label=NAMES)))
    assert labelled[0].label == 0
    for read in (labelled.__getitem__, labelled.label):
        with pytest.raises(
            ValueError, match=rf"a\.parquet:1, column 'label': label {label} is none of the 3 classes"
        ) as error:
            read(1)
        assert not isinstance(error.value, Unusable)  # it is not skipped: the names are wrong, or the set is


def test_a_missing_image_is_unusable_and_keeps_its_label(tmp_path):
    labelled = opened(table(tmp_path / "a.parquet", {"image": pictures(b"i", None), "label": [0, 2]}, hub(label=NAMES)))
    with pytest.raises(Unusable, match=r"a\.parquet:1: no image in 'image'"):
        labelled[1]
    assert labelled.label(1) == 2


def test_a_label_is_read_without_the_image(tmp_path, monkeypatch):
    asked, plain = [], pq.ParquetFile.iter_batches

    def seen(self, rows, row_groups, columns, **how):
        asked.append(columns)
        return plain(self, rows, row_groups, columns, **how)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", seen)
    labelled = opened(table(tmp_path / "a.parquet", {"image": [b"i"], "label": [1], "n": [2]}, hub(label=NAMES)))
    labelled.label(0)
    assert asked == [["label"]]
    labelled[0]
    assert asked == [["label"], ["image"]]


@pytest.mark.parametrize("index", [-1, 1])
def test_there_is_nothing_outside(index, tmp_path):
    labelled = opened(table(tmp_path / "a.parquet", {"image": [b"i"], "label": [1]}, hub(label=NAMES)))
    for read in (labelled.__getitem__, labelled.label):
        with pytest.raises(IndexError, match=f"row {index} of 1"):
            read(index)


def test_a_set_without_rows_is_refused(tmp_path):
    columns = {"image": pa.array([], pa.binary()), "label": pa.array([], pa.int64())}
    with pytest.raises(ValueError, match="test set: no rows in 1 files"):
        opened(table(tmp_path / "a.parquet", columns), "a,b")


def test_a_pickled_set_is_the_same(tmp_path):
    labelled = opened(table(tmp_path / "a.parquet", {"image": [b"i", b"j"], "label": [1, 0]}, hub(label=NAMES)))
    copy = pickle.loads(pickle.dumps(labelled))
    assert list(copy) == list(labelled) == [("a.parquet:0", b"i", 1), ("a.parquet:1", b"j", 0)]
    assert copy.classes == labelled.classes


def test_remote_files_are_read_too(tmp_path, monkeypatch):
    register(monkeypatch, tmp_path)
    path = table(tmp_path / "a.parquet", {"image": [b"i"], "label": [1]}, hub(label=NAMES))
    assert list(opened(f"far://{path}")) == [("a.parquet:0", b"i", 1)]
