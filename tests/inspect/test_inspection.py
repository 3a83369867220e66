"""`genlip.inspect.inspection`: what it says of a source is what counting by hand, and a run over it, would find."""

import itertools
import json
import re
import tracemalloc
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest
from PIL import Image

from genlip.data.captions import CaptionConfig, Captions
from genlip.data.examples import Choice, Example, Turn, Unusable, plain_text
from genlip.data.images import ImageConfig
from genlip.data.loader import Loader
from genlip.data.samples import SampleReader
from genlip.data.sources import Mixture, open_source
from genlip.inspect import inspection
from genlip.inspect.inspection import inspect_source

from ..data import small_run
from ..data.helpers import READ, InMemory, encoded, noise, numbered, small_config, small_tokenizer
from ..data.small_run import CAPTIONS, IMAGES, PACKING

MODEL = small_config()
TALK = (Turn("the number?", False), Turn("47", True), Turn("and the colour?", False), Turn("red", True))


def inspected(source, **changes):
    if isinstance(source, list):
        source = InMemory(source)
    settings = {
        "image_config": IMAGES,
        "captions": CAPTIONS,
        "model_config": MODEL,
        "packing": PACKING,
        "seed": 3,
        **changes,
    }
    return inspect_source(source, **settings)


def image(width=8, height=8, seed=0):
    return Image.fromarray(noise(height, width, seed=seed))


def captioned(*captions):
    return [Example(str(i), image(seed=i), caption) for i, caption in enumerate(captions)]


def sized(*sizes):
    return [Example(str(i), image(*size), f"number {i}") for i, size in enumerate(sizes)]


class Watched(InMemory):
    """Notes which examples were asked for; those without an example are errors."""

    def __getitem__(self, index):
        self.__dict__.setdefault("asked", []).append(index)
        if self.examples[index] is None:
            raise Unusable("missing", f"example {index}: no such file")
        return self.examples[index]


@dataclass(frozen=True)
class Endless:
    """As many examples as it is said to have."""

    length: int
    name: str = "endless"

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return Example(str(index), image(seed=index), self.caption(index))

    def caption(self, index):
        return f"the number {index % 10}"


# -- what is looked at


def test_every_example_of_a_short_source_is_read_once_and_in_order():
    source = Watched(captioned(*"abcdefg"))
    heard = []
    found = inspected(source, samples=100, advance=heard.append)
    assert source.asked == list(range(7))
    assert heard == [1] * 7
    assert (found.examples, found.looked_at, found.usable) == (7, 7, 7)


def test_a_long_source_is_sampled_from_all_over_without_repeats():
    source = Watched(captioned(*["a"] * 400))
    found = inspected(source, samples=40)
    assert source.asked == sorted(set(source.asked))
    assert found.looked_at == len(source.asked) == 40
    assert np.histogram(source.asked, bins=4, range=(0, 400))[0].min() >= 4


def test_each_example_is_drawn_about_as_often_as_any_other():
    drawn = Counter()
    for seed in range(300):
        drawn.update(inspection._drawn(numbered(20), 5, seed))
    assert set(drawn) == set(range(20))
    assert max(abs(times - 75) for times in drawn.values()) < 5 * np.sqrt(75 * 0.75)


def test_a_source_of_a_billion_costs_no_more_than_one_of_a_thousand():
    peaks = []
    for length in (1_000, 10**9):
        tracemalloc.start()
        inspected(Endless(length), samples=20)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 1_000_000


def test_the_same_seed_finds_the_same_and_another_seed_looks_elsewhere():
    first, again, other = (inspected(Endless(10_000), samples=30, seed=seed) for seed in (1, 1, 2))
    assert first.to_json() == again.to_json()
    assert [one.key for one in first.seen] == [one.key for one in again.seen] != [one.key for one in other.seen]


@pytest.mark.parametrize(("length", "samples"), [(0, 5), (5, 0), (5, -1)])
def test_there_must_be_something_to_look_at(length, samples):
    message = f"memory: {samples} of {length} examples to look at: need at least 1"
    with pytest.raises(ValueError, match=re.escape(message)):
        inspected(captioned(*"abcde"[:length]), samples=samples)


# -- what is skipped


def test_what_cannot_be_used_is_what_a_run_skips_for_the_same_reasons():
    source = small_run.mixture()
    found = inspected(source)
    read = SampleReader(source, IMAGES, CAPTIONS, MODEL, 3, PACKING.max_tokens)
    expected = [one for one in read.read([inspection.Draw(0, i) for i in range(len(source))]) if hasattr(one, "reason")]
    assert expected
    assert found.looked_at - found.usable == len(expected)
    assert {reason: len(some) for reason, some in found.skipped.items()} == Counter(one.reason for one in expected)
    for reason, some in found.skipped.items():
        assert some == [one for one in expected if one.reason == reason]


def test_the_skipped_are_told_apart_by_reason():
    examples = captioned(*"abcdefghij")
    bad = {1: b"no image", 2: b"nor this", 4: encoded(image(40, 40), "PNG")[:60], 6: "/nowhere/a.png"}
    bad |= dict.fromkeys(range(10, 17), b"worse")
    examples += captioned(*"klmnopq")
    source = Watched([Example(f"key {i}", bad.get(i, one.image), one.caption) for i, one in enumerate(examples)])
    source.examples[8] = None
    source.examples[9] = Example("key 9", image(), "  \n")
    found = inspected(source)
    counts = {reason: len(some) for reason, some in found.skipped.items()}
    assert counts == {"not an image": 9, "damaged": 1, "missing": 2, "no caption": 1}
    assert next(iter(counts)) == "not an image", "the most frequent first"
    named = found.skipped["not an image"]
    assert [one.key for one in named] == [f"key {i}" for i in (1, 2, *range(10, 17))]
    assert named[0].message == f"key 1: 8 bytes: not an image in a known format: plain text {READ}"
    assert [one.message for one in found.skipped["missing"]] == [
        "key 6: /nowhere/a.png: no such file", "example 8: no such file",
    ]  # fmt: skip


def test_nothing_usable_is_an_error_that_counts_and_names():
    examples = [Example("a", b"", "x"), Example("b", b"", "x"), Example("c", image(), "")]
    message = (
        "memory: none of the 3 examples looked at can be used (2 not an image, 1 no caption), such as a: 0 bytes: not an "
        f"image in a known format: an empty file {READ}; remove these files, or fetch them again"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        inspected(examples)


def test_an_image_without_room_for_text_in_a_pack_cannot_be_used():
    found = inspected(sized((8, 8), (32, 24)), packing=replace(PACKING, max_tokens=12))
    assert list(found.skipped) == ["too large for a pack"]


# -- images


def test_sizes_are_those_of_the_upright_images_and_quantiles_those_of_numpy():
    rng = np.random.default_rng(0)
    sizes = [tuple(int(side) for side in rng.integers(1, 60, 2)) for _ in range(80)]
    found = inspected(sized(*sizes))
    width, height = np.array(sizes).T
    expected = {"width": width, "height": height, "aspect": width / height}
    for name, values in expected.items():
        quantiles = found.quantiles(name)
        assert quantiles["least"] == values.min()
        assert quantiles["most"] == values.max()
        assert quantiles["mean"] == pytest.approx(values.mean())
        for q in (1, 5, 25, 50, 75, 95, 99):
            assert quantiles[f"p{q}"] == pytest.approx(np.quantile(values, q / 100))


def test_an_image_on_its_side_is_measured_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    found = inspected([Example("a", encoded(image(20, 10), "JPEG", exif=exif), "x")])
    assert (found.seen[0].width, found.seen[0].height) == (10, 20)


def test_patches_are_those_that_the_reader_makes():
    source = small_run.source()
    found = inspected(source)
    usable = [i for i in range(len(source)) if not small_run.broken(i)]
    assert [one.key for one in found.seen] == [str(i) for i in usable]
    assert [one.patches for one in found.seen] == [np.prod(small_run.grid(i)) for i in usable]
    assert found.measures["rows"].tolist() == [small_run.size(i) for i in usable]


@pytest.mark.parametrize(
    ("config", "size", "how"),
    [
        (IMAGES, (24, 24), "kept"),
        (IMAGES, (27, 21), "kept"),  # rounded to whole patches
        (IMAGES, (3, 3), "enlarged"),
        (IMAGES, (80, 80), "reduced"),
        (replace(IMAGES, min_patches=9), (16, 16), "enlarged"),
        (ImageConfig(size=16), (16, 16), "kept"),
        (ImageConfig(size=16), (15, 20), "kept"),
        (ImageConfig(size=16), (16, 21), "reduced"),
        (ImageConfig(size=16), (21, 16), "reduced"),
        (ImageConfig(size=16), (8, 30), "enlarged"),
        (ImageConfig(size=16), (8, 40), "reduced"),
    ],
)
def test_what_a_resize_does_to_an_image(config, size, how):
    assert inspected(sized(size), image_config=config).seen[0].resized == how


def test_ribbons_are_counted():
    found = inspected(sized((200, 1), (8, 8), (1, 200)))
    assert found.count("squeezed") == 2


def test_formats_and_bytes_of_files_are_found_by_their_first_bytes(tmp_path):
    names = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF")
    files = {name: encoded(image(16, 16), name) for name in names}
    path = tmp_path / "no suffix"
    path.write_bytes(files["PNG"])
    examples = [Example(name, data, "x") for name, data in files.items()]
    found = inspected([*examples, Example("path", path, "x"), Example("drawn", image(), "x")])
    once = dict.fromkeys(["jpg", "gif", "webp", "bmp", "tif", "ppm", "avif", "in memory"], 1)
    assert found.formats == {**once, "png": 2}
    sizes = [*map(len, files.values()), len(files["PNG"])]
    assert sorted(found.measures["bytes"].tolist()) == sorted(sizes)


def test_without_files_there_are_no_bytes():
    found = inspected(captioned("a"))
    assert "bytes" not in found.measures


def test_grey_models_are_served():
    found = inspected(captioned("a", "b"), model_config=small_config(num_channels=1))
    assert [drawn.mode for _, drawn in found.shown] == ["L", "L"]


def test_each_sound_image_is_decoded_once(monkeypatch):
    decoded = []

    def counting(data, *rest):
        decoded.append(data)
        return decode(data, *rest)

    decode = inspection.decode
    monkeypatch.setattr(inspection, "decode", counting)
    examples = [Example(str(i), encoded(image(seed=i), "PNG"), "x") for i in range(5)]
    inspected(examples)
    assert decoded == [one.image for one in examples]


# -- captions


def test_captions_are_measured_without_prompt_and_end_and_before_they_are_cut():
    texts = ["a", "a small red circle on the left", "a large blue square on the right and the number 90"]
    limit = len(CAPTIONS.ids(texts[1]))
    captions = Captions(small_tokenizer(), CaptionConfig(prompt="the ", max_tokens=limit))
    found = inspected(captioned(*texts), captions=captions)
    assert [one.tokens for one in found.seen] == [len(CAPTIONS.ids(text)) for text in texts]
    assert [one.cut for one in found.seen] == [False, False, True]
    assert [one.text for one in found.seen] == [len(captions.encode(text)[0]) for text in texts]


def test_of_a_conversation_the_answers_are_measured():
    found = inspected(captioned(TALK, "a circle"))
    assert found.seen[0].tokens == len(CAPTIONS.ids("47")) + len(CAPTIONS.ids("red"))
    assert found.seen[0].text == len(CAPTIONS.encode(TALK)[0])
    assert [one.conversation for one in found.seen] == [True, False]


def test_of_several_captions_the_one_of_the_first_epoch_is_measured():
    choice = Choice(("a small red circle", "47", TALK), (0.4, 0.3, 0.3))
    source = InMemory([Example(str(i), image(), choice) for i in range(40)])
    found = inspected(source)
    read = SampleReader(source, IMAGES, CAPTIONS, MODEL, 3, PACKING.max_tokens)
    lengths = [len(one.sample.token_ids) for one in read.read([inspection.Draw(0, i) for i in range(40)])]
    assert [one.text for one in found.seen] == lengths
    texts = {"a small red circle": "a small red circle", "47": "47", plain_text(TALK): TALK}
    assert [len(CAPTIONS.encode(texts[one.caption])[0]) for one in found.seen] == lengths
    assert set(found.caption_counts) == {"a small red circle", "47", plain_text(TALK)}
    assert found.count("several") == 40


def test_text_that_the_pack_leaves_no_room_for_is_counted():
    packing = replace(PACKING, max_tokens=20)
    text = "a small red circle on the left and the number 47"
    found = inspected([*captioned("a"), Example("b", image(32, 24), text)], packing=packing)
    assert [one.cut_by_pack for one in found.seen] == [False, True]
    assert not found.count("cut")


def test_repeated_captions_are_those_whose_text_was_there_before():
    found = inspected(captioned("a", "b", " a ", "c", "a", "b", "A"))
    assert found.duplicates == pytest.approx(3 / 7)
    assert found.most_frequent_caption == ("a", 3)


def test_rows_that_share_a_key_are_examples_of_their_own():
    found = inspected([Example("same path", image(), caption) for caption in ("a", "b", "a")])
    assert found.caption_counts == {"a": 2, "b": 1}


# -- packs and epochs


def loaded(source, packs):
    """The first packs of a run over the source."""
    loader = Loader(SampleReader(source, IMAGES, CAPTIONS, MODEL, 3, PACKING.max_tokens), PACKING)
    batches = (batch for update in loader for batch in update)
    return [batch.pack for batch in itertools.islice(batches, packs)]


def test_packs_of_a_source_seen_whole_are_the_packs_of_a_run():
    source = InMemory([small_run.example(i) for i in range(90) if not small_run.broken(i)])
    found = inspected(source).packs
    packs = loaded(source, found.laid)
    rows = [pack.num_rows for pack in packs]
    assert found.laid == 100
    assert found.packing_efficiency == pytest.approx(np.mean(rows) / PACKING.max_tokens)
    assert found.least_efficiency == pytest.approx(min(rows) / PACKING.max_tokens)
    assert found.samples == pytest.approx(np.mean([len(pack.grids) for pack in packs]))
    assert found.patch_share == pytest.approx(sum(pack.num_patches for pack in packs) / sum(rows))


def test_packs_of_a_sampled_source_are_about_those_of_a_run():
    source = InMemory([small_run.example(i) for i in range(400)])
    found = inspected(source, samples=150).packs
    packs = loaded(source, 200)
    assert found.packing_efficiency == pytest.approx(
        np.mean([pack.num_rows for pack in packs]) / PACKING.max_tokens, abs=0.02
    )
    assert found.samples == pytest.approx(np.mean([len(pack.grids) for pack in packs]), rel=0.1)


def test_an_epoch_is_scaled_to_the_whole_source():
    source = InMemory([small_run.example(i) for i in range(400)])
    usable = [i for i in range(400) if not small_run.broken(i)]
    tokens = sum(small_run.size(i) for i in usable)
    whole, sampled = inspected(source).epoch, inspected(source, samples=200).epoch
    assert whole["samples"] == pytest.approx(len(usable))
    assert whole["tokens"] == pytest.approx(tokens)
    assert sampled["samples"] == pytest.approx(len(usable), rel=0.1)
    assert sampled["tokens"] == pytest.approx(tokens, rel=0.1)
    loader = Loader(SampleReader(source, IMAGES, CAPTIONS, MODEL, 3, PACKING.max_tokens), PACKING, epochs=1)
    updates = list(loader)
    packs = sum(batch.pack is not None for update in updates for batch in update)
    # At its end each of the 8 streams leaves a pack part-filled.
    assert whole["packs"] == pytest.approx(packs, abs=PACKING.streams)
    assert whole["updates"] == whole["packs"] / PACKING.packs


def test_the_last_entry_of_a_patch_schedule_counts():
    packing = replace(PACKING, patch_schedule=((0, 2), (100, 6)))
    found = inspected(sized((32, 24), (80, 80)), packing=packing)
    assert found.measures["patches"].tolist() == [
        one.patches for one in inspected(sized((32, 24), (80, 80)), image_config=replace(IMAGES, max_patches=6)).seen
    ]


def test_one_example_is_enough():
    found = inspected(captioned("a small circle"))
    size = found.measures["rows"].item()
    assert found.packs.samples == PACKING.max_tokens // size
    assert found.packs.packing_efficiency == pytest.approx(size * (PACKING.max_tokens // size) / PACKING.max_tokens)
    assert found.duplicates == 0


# -- mixtures


def test_the_parts_of_a_mixture_are_told_apart():
    source = small_run.mixture()
    found = inspected(source)
    takes = source.takes.tolist()
    assert [(part.name, part.examples, part.per_epoch) for part in found.parts] == [("a", 20, takes[0]), ("b", 31, takes[1])]
    assert [part.looked_at for part in found.parts] == takes
    usable = Counter(one.source for one in found.seen)
    assert [part.usable for part in found.parts] == [usable["a"], usable["b"]]


def test_an_example_that_a_mixture_repeats_is_no_duplicate():
    a, b = (InMemory([Example(f"{n} {i}", image(), f"{n} {i}") for i in range(k)], n) for n, k in (("a", 5), ("b", 30)))
    found = inspected(Mixture([a, b], [0.5, 0.5]))
    assert found.parts[0].looked_at > 10
    assert found.duplicates == 0


def test_parts_may_share_a_name_and_one_may_be_empty():
    parts = [InMemory(captioned("a"), "x"), InMemory(captioned("b", "c"), "x"), InMemory([], "nothing")]
    assert inspected(Mixture(parts)).parts == [("x", 1, 1, 1, 1), ("x", 2, 2, 2, 2), ("nothing", 0, 0, 0, 0)]


def test_mixtures_of_mixtures_are_read():
    parts = [InMemory(captioned(*"abc"), "x"), InMemory(captioned(*"de"), "y"), InMemory(captioned(*"f"), "z")]
    found = inspected(Mixture([Mixture(parts[:2], name="inner"), parts[2]]))
    assert [(part.name, part.examples) for part in found.parts] == [("inner", 5), ("z", 1)]
    assert [one.source for one in found.seen] == [*"xxxyyz"]


# -- all of it


def test_the_sheet_holds_examples_from_all_over_small_and_in_their_shape():
    examples = [Example(str(i), image(400, 100, i) if i % 2 else b"no image", f"number {i}") for i in range(100)]
    found = inspected(examples)
    assert len(found.shown) == 24
    assert [int(one.key) // 50 for one, _ in found.shown].count(0) == 12
    assert {(one.width, one.height, *drawn.size) for one, drawn in found.shown} == {(400, 100, 200, 50)}


def test_json_holds_all_and_only_plain_values():
    found = inspected(small_run.mixture())
    stored = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert stored == found.to_json()
    assert set(stored) == {
        "source", "examples", "notes", "several_lines",
        "parts", "looked_at", "usable", "skipped", "measures", "formats", "resized", "squeezed",
        "conversation", "several", "cut", "cut_by_pack", "duplicates", "most_frequent_caption", "packs", "epoch",
    }  # fmt: skip
    assert [part["name"] for part in stored["parts"]] == ["a", "b"]
    assert sum(map(len, stored["skipped"].values())) == stored["looked_at"] - stored["usable"] > 0


@pytest.mark.parametrize("resize", ["fixed", "native"])
def test_procedural_images_are_inspected_like_any(resize):
    found = inspected(open_source("scenes:0"), image_config=ImageConfig(resize=resize, size=64), samples=30)
    assert found.examples == 1_000_000
    assert found.formats == {"in memory": 30}
    assert found.measures["patches"].tolist() == [64] * 30


def test_captions_of_several_lines_are_counted():
    source = captioned("one\ntwo", "one", (Turn("a\nb", learned=True),))
    found = inspected(source)
    assert ([one.lines for one in found.seen], found.several_lines) == ([2, 1, 1], 1)
    assert found.to_json()["several_lines"] == 1


def test_what_was_left_out_at_the_opening_is_kept():
    source = InMemory(captioned("one"))
    object.__setattr__(source, "notes", ["2 images have no caption"])
    assert inspected(source).notes == inspected(source).to_json()["notes"] == [f"{source.name}: 2 images have no caption"]
