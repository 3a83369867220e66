"""`genlip.data.datasets.opening`: what a labelled set may be written as."""

import gzip
import re
import struct
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from genlip.data.datasets.opening import open_labelled

from ..helpers import written


def class_folders(root):
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        Image.new("L", (2, 2)).save(root / name / "a.png")
    return root


def idx_files(root):
    root.mkdir()
    header = bytes([0, 0, 8, 3]) + struct.pack(">III", 2, 1, 1)
    (root / "t-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + b"ab"))
    (root / "t-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 2, 0, 1])))
    return root / "t-images-idx3-ubyte.gz"


def test_each_form_is_opened_with_its_classes(tmp_path):
    folder, file = class_folders(tmp_path / "folder"), idx_files(tmp_path / "idx")
    for number in range(2):
        pq.write_table(pa.table({"image": [b"i"], "label": [number]}), tmp_path / f"{number}.parquet")
    for spec in (str(folder), str(file), f"{tmp_path}/*.parquet", f"{tmp_path}/{{0..1}}.parquet"):
        labelled = open_labelled(spec, "kitten,puppy")
        assert (labelled.name, labelled.classes) == (spec, ("kitten", "puppy"))
        assert [item.label for item in labelled] == [0, 1]
    assert open_labelled(str(folder)).classes == ("cat", "dog")


def test_the_home_folder_is_known(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    class_folders(tmp_path / "set")
    idx_files(tmp_path / "idx")
    assert len(open_labelled("~/set")) == 2
    assert len(open_labelled("~/idx/t-images-idx3-ubyte.gz", "a,b")) == 2


@pytest.mark.parametrize(
    ("spec", "kind", "message"),
    [
        ("", ValueError, "no set was named; need a folder of class folders"),
        (
            "no-such-set",
            FileNotFoundError,
            "no-such-set: no such set; need a folder of class folders (FOLDER/<class>/*.jpg)",
        ),
        ("no.parquet", FileNotFoundError, "no.parquet: no such file"),
        ("no*.parquet", FileNotFoundError, "no*.parquet: matches no file"),
        ("table.csv", ValueError, "table.csv: not a labelled set; need a folder of class folders"),
    ],
)
def test_what_is_no_set_is_refused(spec, kind, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "table.csv", "path,label\n")
    with pytest.raises(kind, match=re.escape(message)):
        open_labelled(spec)


def test_folders_are_opened_without_pyarrow(tmp_path):
    class_folders(tmp_path / "set")
    code = "import sys, genlip.data.datasets.opening as o; o.open_labelled(sys.argv[1]); print('pyarrow' in sys.modules)"
    command = [sys.executable, "-c", code, str(tmp_path / "set")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"
