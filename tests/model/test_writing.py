"""`genlip.model.writing`: a file is the old one or the new one, and errors name it."""

import os

import pytest
from safetensors import SafetensorError

from genlip.model.writing import naming, whole_file


def test_a_file_takes_its_place_at_the_end(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("old")
    with whole_file(file) as partial:
        partial.write_text("new")
        assert file.read_text() == "old"
    assert (file.read_text(), list(tmp_path.iterdir())) == ("new", [file])


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("a mistake"), OSError(28, "No space left on device")])
def test_what_fails_leaves_the_old_file_and_nothing_beside_it(error, tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("old")

    def fail():
        with whole_file(file) as partial:
            partial.write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert (file.read_text(), list(tmp_path.iterdir())) == ("old", [file])


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "I/O error: No space left on device"),
        (OSError("a reason of its own"), "a reason of its own"),
    ],
)  # fmt: skip
def test_an_error_names_the_file_in_one_line(error, reason):
    with pytest.raises(OSError, match=r"^out/f: cannot be written: ") as found, naming("out/f"):
        raise error
    assert reason in str(found.value)


def test_other_errors_and_a_reader_that_went_away_pass():
    for error in (BrokenPipeError(32, "Broken pipe"), ValueError("a mistake")):
        with pytest.raises(type(error)) as found, naming("f"):
            raise error
        assert found.value is error


def test_a_link_stays_a_link_and_a_device_a_device(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with whole_file(tmp_path / "link") as partial:
        partial.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
    with whole_file(os.devnull) as device:
        assert str(device) == os.path.realpath(os.devnull)
