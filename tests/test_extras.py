"""`genlip.extras`: a missing library, one that is too old, and one that is broken are told apart."""

import sys

import pytest

from genlip.extras import MissingExtra, require


def test_requiring_a_library_tells_missing_from_broken(tmp_path, monkeypatch):
    (tmp_path / "broken_library.py").write_text("import nowhere_to_be_found")
    monkeypatch.syspath_prepend(tmp_path)
    assert require("json", "none").__name__ == "json"
    with pytest.raises(MissingExtra, match=r'^absent_library is not installed: pip install "genlip\[some\]"$'):
        require("absent_library.part", "some")
    with pytest.raises(ModuleNotFoundError, match="nowhere_to_be_found"):
        require("broken_library", "some")


def installed(folder, library, version):
    """A stand-in of a library, of some version, for whoever has the folder on their path."""
    (folder / f"{library}.py").write_text("raise RuntimeError('not to be imported')")
    about = folder / f"{library}-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {library}\nVersion: {version}\n")


@pytest.mark.parametrize(
    ("library", "extra", "version", "needed"),
    [
        ("transformers", "transformers", "5.3.0", "5.9.0"),
        ("timm", "timm", "1.0.9", "1.0.28"),
        ("onnxruntime", "onnx", "1.19.2", "1.20"),
    ],
)
def test_an_older_library_is_one_line_that_says_what_is_needed(library, extra, version, needed, tmp_path, monkeypatch):
    installed(tmp_path, library, version)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtra) as error:
        require(library, extra)
    told = f"{library} {version} is installed, and genlip needs {needed} or newer"
    assert str(error.value) == f'{told}: pip install "genlip[{extra}]"'


def test_the_version_that_is_asked_for_is_enough(tmp_path, monkeypatch):
    for library, version in (("timm", "1.0.28"), ("onnxruntime", "1.20.0+local")):
        monkeypatch.delitem(sys.modules, library, raising=False)
        installed(tmp_path, library, version)
    monkeypatch.syspath_prepend(tmp_path)
    for library, extra in (("timm", "timm"), ("onnxruntime", "onnx")):
        with pytest.raises(RuntimeError, match="not to be imported"):  # it got that far
            require(library, extra)
