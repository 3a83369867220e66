"""`genlip.data.examples`: which of several captions is read, and how sources and sets are shown."""

import io
import math
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genlip.data.datasets.captioned import captioned
from genlip.data.datasets.idx import IdxImages
from genlip.data.datasets.labelled_folder import LabelledFiles
from genlip.data.datasets.labelled_parquet import open_labelled_parquet
from genlip.data.datasets.regions import NamedRegions
from genlip.data.datasets.segmented_folder import SegmentedFolder
from genlip.data.datasets.segmented_names import LabelNames
from genlip.data.datasets.segmented_scenes import NamedScenes, SegmentedScenes
from genlip.data.examples import Choice, Turn, pick, plain_text
from genlip.data.sources import Files, Mixture, Procedural, Subset, Without, open_source

from .helpers import examples

TALK = (Turn("What is it?", False), Turn("A cat.", True))
LETTERS = "abcdefgh"


def even(number: int) -> Choice:
    return Choice(tuple(LETTERS[:number]), (1 / number,) * number)


@pytest.mark.parametrize("caption", ["", "a cat", (), TALK])
def test_what_is_no_choice_is_read_as_it_is(caption):
    assert pick(caption, 1, 2, 3) is caption


@pytest.mark.parametrize(
    ("along", "chances"),
    [
        ("indices", (0.5, 0.5)),
        ("indices", (0.8, 0.2)),
        ("indices", (0.97, 0.01, 0.02)),
        ("indices", (0.0001, 0.9999)),
        ("epochs", (1 / 7,) * 7),
        ("seeds", (0.8, 0.2)),
    ],
)
def test_captions_are_read_as_often_as_their_chances_say(along, chances):
    choice, number = Choice(tuple(LETTERS[: len(chances)]), chances), 20_000
    place = {"seeds": 0, "epochs": 1, "indices": 2}[along]
    read = [pick(choice, *np.insert([5, 7], place, i).tolist()) for i in range(number)]
    for letter, chance in zip(LETTERS, chances, strict=False):
        deviation = math.sqrt(number * chance * (1 - chance))  # of a binomial count
        assert abs(read.count(letter) - number * chance) <= 4.5 * deviation


def test_neighbouring_draws_are_independent():
    choice, number = even(2), 20_000
    read = [[pick(choice, 0, epoch, i) for i in range(number)] for epoch in (0, 1)]
    pairs = [*zip(read[0], read[1], strict=True)], [*zip(read[0], read[0][1:], strict=False)]
    for found in pairs:
        assert abs(found.count(("a", "a")) - number / 4) <= 4.5 * math.sqrt(number * 3 / 16)


def test_the_choice_is_the_same_on_every_machine():
    """Recorded once: a run that goes on elsewhere must read the same captions."""
    assert "".join(pick(even(8), 0, 0, index) for index in range(20)) == "fdeghhfbbgdfgbdgbbgh"
    assert "".join(pick(even(8), 3, epoch, 10**9) for epoch in range(20)) == "cbbccehcgfcdhfddeedh"


def test_the_choice_follows_the_first_number_of_the_bit_stream():
    for key in ((0, 0, 0), (3, 1, 4), (2**40, 10, 10**10)):
        share = int(np.random.PCG64(np.random.SeedSequence(key)).random_raw()) / 2**64
        assert pick(even(8), *key) == LETTERS[int(share * 8)]


@given(weights=st.lists(st.floats(1e-6, 1), min_size=1, max_size=8), seed=st.integers(0, 2**63), index=st.integers(0, 2**40))
@examples(200)
def test_every_choice_gives_one_of_its_captions(weights, seed, index):
    choice = Choice(tuple(LETTERS[: len(weights)]), tuple(weight / sum(weights) for weight in weights))
    assert pick(choice, seed, 0, index) in choice.captions


class Highest:
    """A bit generator at the end of its range, where dividing rounds up to 1."""

    def __init__(self, key):
        pass

    def random_raw(self):
        return np.uint64(2**64 - 1)


def test_the_highest_number_reads_the_last_caption(monkeypatch):
    monkeypatch.setattr(np.random, "PCG64", Highest)
    assert pick(Choice(("a", "b", "c"), (0.1, 0.2, 0.7)), 0, 0, 0) == "c"


def test_a_choice_may_hold_conversations():
    choice = Choice((TALK, "a cat"), (0.5, 0.5))
    assert {pick(choice, 0, 0, index) for index in range(20)} == {TALK, "a cat"}


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a cat", "a cat"),
        ("", ""),
        (TALK, "What is it?\nA cat."),
        ((), ""),
        (Choice(("a", "b", "c"), (0.2, 0.5, 0.3)), "b"),
        (Choice(("a", "b"), (0.5, 0.5)), "a"),
        (Choice(("a", TALK), (0.1, 0.9)), "What is it?\nA cat."),
    ],
)
def test_plain_text_is_the_likeliest_caption_line_by_line(caption, expected):
    assert plain_text(caption) == expected


FILES = Files(["a.jpg"] * 1200, ["a"] * 1200, "photos")
SCENES = Procedural("scenes", 7, 50)
IDX = IdxImages("digits", "f", np.zeros((3, 8, 8), np.uint8), np.zeros(3, np.uint8), ("zero",))
PAIRS = SegmentedFolder("maps", [("a.jpg", "a.png")] * 2000, LabelNames(("sky",), 0))


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (FILES, "<Files 'photos': 1,200>"),
        (Subset(FILES, range(10)), "<Subset 'photos': 10>"),
        (Without(FILES, [3]), "<Without 'photos': 1,199>"),
        (Mixture([FILES, SCENES], name="mix.yaml"), "<Mixture 'mix.yaml': 1,250>"),
        (SCENES, "<Procedural 'scenes:7': 50>"),
        (IDX, "<IdxImages 'digits': 3>"),
        (captioned(IDX, ["a {}"]), "<Captioned 'digits': 3>"),
        (LabelledFiles("cats", Path("cats"), ("a.jpg",) * 9, np.zeros(9), ("cat",)), "<LabelledFiles 'cats': 9>"),
        (PAIRS, "<SegmentedFolder 'maps': 2,000>"),
        (NamedRegions(PAIRS), "<NamedRegions 'maps': 2,000>"),
        (SegmentedScenes(SCENES), "<SegmentedScenes 'scenes:7': 50>"),
        (NamedScenes(SCENES), "<NamedScenes 'scenes:7': 50>"),
    ],
)
def test_sources_and_sets_are_shown_by_name_and_length(data, shown):
    assert repr(data) == shown


def test_archives_are_shown_by_name_and_length(tmp_path, monkeypatch):
    monkeypatch.setenv("GENLIP_CACHE", str(tmp_path / "cache"))
    with tarfile.open(tmp_path / "a.tar", "w") as file:
        for name in ("1.jpg", "1.txt"):
            member = tarfile.TarInfo(name)
            member.size = 1
            file.addfile(member, io.BytesIO(b"a"))
    table, tar = tmp_path / "a.parquet", tmp_path / "a.tar"
    pq.write_table(pa.table({"image": [b"a", b"b"], "caption": ["a", "b"], "label": [0, 0]}), table)
    assert repr(open_source(str(tar))) == f"<TarShards '{tar}': 1>"
    assert repr(open_source(str(table))) == f"<ParquetTables '{table}': 2>"
    labelled = open_labelled_parquet([str(table)], "labels", "one,two")
    assert repr(labelled) == "<LabelledParquet 'labels': 2>"
    assert repr(labelled.rows) == "<ParquetRows 'labels': 2>"
