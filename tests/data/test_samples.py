"""`genlip.data.samples`: every draw gives a sample or the reason why not."""

import pickle

import numpy as np
import pytest
from PIL import Image

from genlip.data.captions import CaptionConfig, Captions
from genlip.data.examples import Choice, Example, Turn, Unusable, pick
from genlip.data.images import ImageConfig, image_patches
from genlip.data.order import Draw
from genlip.data.samples import ReadSample, SampleReader, Skipped
from genlip.data.sources import Mixture, Subset

from .helpers import READ, InMemory, encoded, noise, small_config, small_tokenizer

CAPTIONS = Captions(small_tokenizer(), CaptionConfig(prompt="the "))
IMAGES = ImageConfig(resize="native", min_patches=1, max_patches=12)
MODEL = small_config()
TALK = (Turn("the number?", False), Turn("47", True))


def image(rows=1, columns=1, seed=0):
    return Image.fromarray(noise(8 * rows, 8 * columns, seed=seed))


def example(index, caption="a small circle", name="", content=None):
    return Example(f"{name}{index}", content or image(1 + index % 3, 1 + index % 4, index), caption)


def reader(source, **changes):
    if isinstance(source, list):
        source = InMemory(source)
    settings = {"image_config": IMAGES, "captions": CAPTIONS, "model_config": MODEL, "seed": 5, **changes}
    return SampleReader(source, **settings)


def read(source, **changes):
    """What is read of a source in its own order."""
    made = reader(source, **changes)
    return made.read([Draw(0, index) for index in range(len(made.source))])


class Failing(InMemory):
    """Examples of which some are errors to raise."""

    def __getitem__(self, index):
        if isinstance(self.examples[index], Exception):
            raise self.examples[index]
        return self.examples[index]


# -- samples


def test_a_sample_is_the_patches_of_the_image_and_the_tokens_of_the_caption():
    examples = [example(0, "a small circle"), example(1, TALK), example(2, " the number 47\n")]
    for one, expected in zip(read(examples), examples, strict=True):
        patches, grid = image_patches(expected.image, IMAGES, MODEL)
        ids, learned = CAPTIONS.encode(expected.caption)
        assert isinstance(one, ReadSample)
        assert (one.key, one.source, one.squeezed) == (expected.key, "memory", False)
        assert (one.sample.patches.tolist(), one.sample.grid) == (patches.tolist(), grid)
        assert one.sample.token_ids.tolist() == ids.tolist()
        assert one.sample.supervised.tolist() == learned.tolist()
        assert one.size == len(patches) + len(ids)


def test_draws_keep_their_order_whatever_is_skipped():
    examples = [example(i, "" if i % 5 == 2 else f"number {i}") for i in range(20)]
    examples[6] = example(6, content=b"no image")
    order = np.random.default_rng(0).permutation(20).tolist()
    found = reader(examples).read([Draw(i % 3, i) for i in [*order, 3, 3]])
    assert [one.key for one in found] == [str(i) for i in [*order, 3, 3]]
    for i, one in zip([*order, 3, 3], found, strict=True):
        if i % 5 == 2 or i == 6:
            assert isinstance(one, Skipped)
        else:
            assert CAPTIONS.decode(one.sample.token_ids[len(CAPTIONS.prompt_ids) :]) == f"number {i}"


@pytest.mark.parametrize("draws", [[], [Draw(0, 0)], [Draw(0, 0)] * 3])
def test_where_nothing_is_usable_nothing_is_read(draws):
    assert [one.reason for one in reader([example(0, "")]).read(draws)] == ["no caption"] * len(draws)


def test_a_reader_survives_pickling():
    made = reader([example(0), example(1, "")])
    again = pickle.loads(pickle.dumps(made)).read([Draw(0, 0), Draw(0, 1)])
    assert again[1] == made.read([Draw(0, 1)])[0]
    assert again[0].sample.patches.tolist() == made.read([Draw(0, 0)])[0].sample.patches.tolist()


# -- where they come from


def test_examples_of_a_mixture_carry_the_names_of_their_parts():
    a, b = (InMemory([example(i, name=name) for i in range(length)], name) for name, length in (("a", 2), ("b", 6)))
    a.examples[1] = example(1, "", "a")
    inner = Mixture([b], name="inner")
    mixture = Mixture([a, inner], [1, 1])
    found = reader(mixture).read([Draw(1, index) for index in range(8)])
    assert [one.key for one in found] == ["a0", "a1", "a0", "a1", "b4", "b5", "b0", "b1"]
    assert [one.source for one in found] == ["a"] * 4 + ["b"] * 4
    assert [type(one) for one in found[:2]] == [ReadSample, Skipped]


def test_parts_of_a_source_carry_its_name():
    source = InMemory([example(0), example(1, "")], "web.tar")
    assert [one.source for one in read(Subset(source, [1, 0]))] == ["web.tar", "web.tar"]


# -- what is skipped


@pytest.mark.parametrize("caption", ["", " \n", (), (Turn(" ", False), Turn("", True)), Choice(("", " "), (0.5, 0.5))])
def test_an_example_without_a_caption_is_skipped_before_its_image_is_opened(caption):
    assert read([example(0, caption, content=b"no image")]) == [Skipped("0", "no caption", "0: no caption", "memory")]


def test_a_missing_file_is_skipped(tmp_path):
    path = tmp_path / "a.png"
    message = f"{path}: no such file"
    assert read([Example(str(path), path, "a")]) == [Skipped(str(path), "missing", message, "memory")]
    assert read([Example("row 3", path, "a")]) == [Skipped("row 3", "missing", f"row 3: {message}", "memory")]


def test_bytes_that_are_no_image_are_skipped_by_the_name_of_their_example():
    message = f"a.tar:7: 8 bytes: not an image in a known format: plain text {READ}"
    assert read([Example("a.tar:7", b"no image", "a")]) == [Skipped("a.tar:7", "not an image", message, "memory")]


def test_a_damaged_image_is_skipped_by_the_name_of_its_example():
    data = encoded(image(9, 9), "PNG")[:200]
    (skipped,) = read([Example("a.tar:7", data, "a")])
    assert (skipped.key, skipped.reason, skipped.source) == ("a.tar:7", "damaged", "memory")
    assert skipped.message.startswith("a.tar:7: 200 bytes: damaged image: ")


def test_an_image_of_too_many_pixels_is_skipped():
    config = ImageConfig(resize="native", min_patches=1, max_patches=12, max_pixels=100)
    data = encoded(image(2, 2), "PNG")
    message = f"a: {len(data)} bytes: 16x16 pixels; the limit is 100 in all (images.max_pixels)"
    assert read([Example("a", data, "a")], image_config=config) == [Skipped("a", "too large", message, "memory")]


def test_an_example_that_its_source_cannot_read_is_skipped_by_its_place():
    source = Failing([example(0), Unusable("damaged", "a.tar:b/c: not JSON"), example(2)], "web.tar")
    found = read(Mixture([InMemory([example(9)], "first"), source]))
    assert found[2] == Skipped("web.tar[1]", "damaged", "a.tar:b/c: not JSON", "web.tar")
    assert [type(one) for one in found] == [ReadSample, ReadSample, Skipped, ReadSample]


@pytest.mark.parametrize("error", [KeyError("row"), FileNotFoundError("shard"), ValueError("wrong"), IndexError(3)])
def test_other_errors_of_a_source_stop_the_run(error):
    with pytest.raises(type(error)) as raised:
        read(Failing([example(0), error]))
    assert raised.value is error


def test_an_example_outside_of_the_source_stops_the_run():
    with pytest.raises(IndexError, match=r"^mixture: example 2 of 2$"):
        reader(Mixture([InMemory([example(0), example(1)])])).read([Draw(0, 2)])


def test_errors_of_the_settings_stop_the_run():
    with pytest.raises(ValueError, match=r"images\.size 20 is no multiple of the model's patch_size 8") as error:
        read([example(0)], image_config=ImageConfig(size=20))
    assert not isinstance(error.value, Unusable)
    with pytest.raises(TypeError, match="an image is a path, bytes or a Pillow image, not list"):
        read([example(0, content=[1, 2])])


# -- what fits into a pack


def test_text_is_cut_to_what_a_pack_leaves_and_then_has_no_end():
    ids, learned = CAPTIONS.encode("a small circle")
    patches, prompt = 6, len(CAPTIONS.prompt_ids)
    whole = patches + len(ids)
    for max_tokens in range(whole + 3, patches + prompt, -1):
        (one,) = read([example(0, content=image(2, 3))], max_tokens=max_tokens)
        room = max_tokens - patches
        assert one.sample.token_ids.tolist() == ids[:room].tolist()
        assert one.sample.supervised.tolist() == learned[:room].tolist()
        assert one.size == min(whole, max_tokens)
        ends = CAPTIONS.end_ids[0] in one.sample.token_ids.tolist()
        assert ends == (room > len(ids) - len(CAPTIONS.end_ids))


@pytest.mark.parametrize("left", [-3, 0, 1, 2])
def test_a_sample_without_room_for_its_caption_is_skipped(left):
    patches, prompt = 6, len(CAPTIONS.prompt_ids)
    assert prompt == 2
    expected = Skipped(
        "7",
        "too large for a pack",
        f"7: 6 patches leave {max(0, left)} tokens for text, none of them of the caption; "
        f"raise packing.max_tokens (now {patches + left})",
        "memory",
    )
    assert read([example(7, content=image(2, 3))], max_tokens=patches + left) == [expected]


def test_a_conversation_keeps_the_answers_that_fit():
    conversation = (Turn("the number", False), Turn("47", True), Turn("and", False), Turn("90", True))
    ids, learned = CAPTIONS.encode(conversation)
    asked = len(CAPTIONS.ids("the number"))
    answered = asked + 2 + len(CAPTIONS.end_ids)
    found = [
        read([example(0, conversation, content=image())], max_tokens=1 + room)[0] for room in (asked, asked + 1, answered)
    ]
    assert [type(one) for one in found] == [Skipped, ReadSample, ReadSample]
    assert found[1].sample.supervised.tolist() == [False] * asked + [True]
    assert found[2].sample.token_ids.tolist() == ids[:answered].tolist()
    assert found[2].sample.supervised.tolist() == learned[:answered].tolist()


# -- how large the images are


def test_each_draw_may_have_a_budget_of_patches():
    examples = [Example(str(i), image(12, 12, i), "a small circle") for i in range(5)]
    budgets = [0, 4, 9, 0, 1]
    found = reader(examples).read([Draw(0, i) for i in range(5)], budgets)
    assert [one.sample.grid for one in found] == [(3, 3), (2, 2), (3, 3), (3, 3), (1, 1)]
    for one, expected, budget in zip(found, examples, budgets, strict=True):
        config = ImageConfig(resize="native", min_patches=1, max_patches=budget or 12)
        assert one.sample.patches.tolist() == image_patches(expected.image, config, MODEL)[0].tolist()


def test_a_budget_leaves_fixed_images_alone():
    fixed = ImageConfig(size=16)
    (one,) = reader([example(0)], image_config=fixed).read([Draw(0, 0)], [20])
    assert one.sample.grid == (2, 2)


def test_every_draw_needs_a_budget():
    with pytest.raises(ValueError, match=r"zip\(\) argument 2 is shorter"):
        reader([example(0)]).read([Draw(0, 0), Draw(0, 0)], [4])


def test_images_that_cannot_keep_their_shape_are_marked():
    ribbon, nearly = Image.new("RGB", (8 * 13, 8)), Image.new("RGB", (8 * 12, 8))
    examples = [Example("ribbon", ribbon, "a"), Example("nearly", nearly, "a")]
    assert [one.squeezed for one in read(examples)] == [True, False]
    assert [one.squeezed for one in reader(examples).read([Draw(0, 0), Draw(0, 1)], [20, 6])] == [False, True]
    assert [one.squeezed for one in read(examples, image_config=ImageConfig(size=16))] == [False, False]


# -- a choice among captions


def test_the_caption_of_an_epoch_is_the_one_picked():
    choice = Choice(("a small circle", "the number 47", TALK), (0.5, 0.25, 0.25))
    source = InMemory([example(i, choice) for i in range(6)])
    draws = [Draw(epoch, index) for epoch in range(4) for index in range(6)]
    seen = set()
    for seed in (0, 5):
        for draw, one in zip(draws, reader(source, seed=seed).read(draws), strict=True):
            expected = pick(choice, seed, *draw)
            assert one.sample.token_ids.tolist() == CAPTIONS.encode(expected)[0].tolist()
            seen.add(expected)
    assert seen == set(choice.captions)


def test_in_a_mixture_the_run_picks_and_not_the_part():
    """A small part that is read often must not read the same caption each time of an epoch."""
    choice = Choice(tuple("abcdefgh"), (1 / 8,) * 8)
    mixture = Mixture([InMemory([example(0, choice)], "small"), InMemory([example(i) for i in range(31)], "large")], [1, 1])
    found = reader(mixture).read([Draw(2, index) for index in range(16)])
    said = [CAPTIONS.decode(one.sample.token_ids[len(CAPTIONS.prompt_ids) :]) for one in found]
    assert said == [pick(choice, 5, 2, index) for index in range(16)]
    assert len(set(said)) > 4


# -- some samples


@pytest.mark.parametrize("number", [0, 1, 3, 10, 17, 19, 36, 37])
def test_some_samples_are_taken_evenly_and_the_broken_ones_made_good(number):
    examples = [example(i, "" if i in (0, 3, 20) else f"number {i}") for i in range(40)]
    captions, passed = [], []
    for first in range(step := 40 // max(1, number)):
        for one in examples[first::step]:
            if len(captions) < number:
                (captions if one.caption else passed).append(one.caption or one.key)
    samples, skipped = reader(examples).some(number)
    assert [CAPTIONS.decode(sample.token_ids[len(CAPTIONS.prompt_ids) :]) for sample in samples] == captions
    assert [one.key for one in skipped] == passed


def test_a_source_may_have_fewer_than_are_asked_for():
    samples, skipped = reader([example(0), example(1, "")]).some(10)
    assert (len(samples), skipped) == (1, [Skipped("1", "no caption", "1: no caption", "memory")])


def test_of_a_text_of_several_lines_those_are_read_that_the_setting_says():
    text = "one\n\n  two  \nthree\n"
    source = InMemory([Example("a", b"", text)])

    def chosen(lines, caption=text):
        settings = Captions(small_tokenizer(), CaptionConfig(lines=lines))
        made = reader(source, captions=settings)
        return [made.chosen(caption, Draw(epoch, 0)) for epoch in range(300)]

    assert set(chosen("all")) == {text}
    assert set(chosen("first")) == {"one"}
    assert all(80 < chosen("any").count(line) < 120 for line in ("one", "two", "three"))
    assert chosen("any") == chosen("any")
    # The line does not depend on which of several captions was drawn.
    both = chosen("any", Choice(("a1\na2", "b1\nb2"), (0.5, 0.5)))
    assert all(50 < both.count(line) < 100 for line in ("a1", "a2", "b1", "b2"))
    talk = (Turn("one\ntwo", learned=True),)
    assert set(chosen("any", talk)) == {talk}
    assert set(chosen("first", " \n ")) == set(chosen("any", "")) == {""}
