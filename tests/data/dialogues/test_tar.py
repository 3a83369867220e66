"""`genlip.data.dialogues.tar`: the samples of shards, against what was written into them."""

import io
import json
import logging
import multiprocessing
import os
import pickle
import tarfile
from contextlib import suppress

import numpy as np
import pytest

from genlip.data.dialogues import open_dialogues
from genlip.data.examples import Unusable
from genlip.data.shards import ShardConfig, write_shards
from genlip.data.sources import Procedural, notes_of, open_source, tar_shards
from genlip.data.sources.fields import CaptionFields

from ..sources.far import register
from .helpers import assistant, gpt, human, refused, turns, user, write_tar

FORK = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GENLIP_CACHE", str(tmp_path / "cache"))


def talk(question="<image>\nWhat?", answer="A cat."):
    return {"conversations": [human(question), gpt(answer)], "url": "somewhere"}


def opened(path, fields=""):
    return open_dialogues(path, fields)


@pytest.fixture
def shards(tmp_path):
    """A pattern for four shards of 5, 0, 1 and 9 samples of 0 to 3 images, and (key, images, messages) of each sample."""
    found, number = [], 0
    for shard, count in enumerate((5, 0, 1, 9)):
        members = []
        for _ in range(count):
            images = [np.random.default_rng((number, place)).bytes(number * 300 + place) for place in range(number % 4)]
            question = (
                " ".join(["<image>"] * len(images) + [f"What of {number}?"])
                if len(images) != 1
                else f"<image>\nWhat of {number}?"
            )
            names = (
                [f"{number:05}.{place}.jpg" for place in range(len(images))] if len(images) != 1 else [f"{number:05}.png"]
            )
            members += list(zip(names, images, strict=True))
            members.append((f"{number:05}.json", talk(question, f"猫 {number}")))
            found.append((f"{shard}.tar:{number:05}", tuple(images), turns(question, f"猫 {number}")))
            number += 1
        write_tar(tmp_path / f"{shard}.tar", members)
    return str(tmp_path / "*.tar"), found


def content(source):
    return [(one.key, one.images, one.messages) for one in source]


def test_every_sample_is_read_in_order(shards):
    pattern, expected = shards
    source = opened(pattern)
    assert (len(source), source.name) == (15, pattern)
    assert content(source) == expected
    assert content(opened(pattern)) == expected  # from the index
    assert [source[index].key for index in (14, 3, np.int64(7))] == [expected[index][0] for index in (14, 3, 7)]
    for outside in (-1, 15, 10**12):
        with pytest.raises(IndexError, match=f"sample {outside} of 15"):
            source[outside]


def test_a_copy_and_a_fork_read_the_same(shards):
    pattern, expected = shards
    source = opened(pattern)
    assert content(source) == content(pickle.loads(pickle.dumps(source))) == expected
    with FORK.Pool(2) as pool:
        assert [(one.key, one.images, one.messages) for one in pool.map(source.__getitem__, range(15))] == expected


def test_captions_and_dialogues_keep_indexes_of_their_own(tmp_path):
    members = [("0.jpg", b"image"), ("0.json", {"caption": "A cat.", **talk()}), ("0.txt", "A tom.")]
    path = write_tar(tmp_path / "a.tar", members)
    for _ in range(2):
        assert opened(path)[0].messages == turns("<image>\nWhat?", "A cat.")
        assert opened(path, "caption")[0].messages == turns("<image>", "A cat.")
        assert opened(path, "txt")[0].messages == turns("<image>", "A tom.")
        assert open_source(path)[0] == ("a.tar:0", b"image", "A tom.")
        assert open_source(path, "caption")[0] == ("a.tar:0", b"image", "A cat.")
    assert len(list((tmp_path / "cache/index").glob("*.npy"))) == 3


def test_remote_shards_are_read_through_the_cache(shards, tmp_path, monkeypatch):
    downloads = register(monkeypatch, tmp_path)
    _, expected = shards
    source = opened(f"far://{tmp_path}/{{0..3}}.tar")
    assert content(source) == expected
    assert sorted(downloads.read_text().split()) == [f"{tmp_path}/{number}.tar" for number in range(4)]  # each once


def test_a_json_may_be_the_conversation_itself_and_any_form(tmp_path):
    parts = [user([{"type": "image"}, {"type": "text", "text": "What?"}]), assistant("A cat.")]
    members = [
        ("0.jpg", b"0"), ("0.json", {"conversations": parts}),
        ("1.jpg", b"1"), ("1.json", parts),
        ("2.jpg", b"2"), ("2.json", {"conversations": [{"user": "What?", "assistant": "A cat."}]}),
        ("3.json", [human("Two and two?"), gpt("Four.")]),
    ]  # fmt: skip
    source = opened(write_tar(tmp_path / "a.tar", members))
    assert [one.messages for one in source] == [turns("<image>\nWhat?", "A cat.")] * 3 + [turns("Two and two?", "Four.")]


def test_texts_alone_are_captions(tmp_path):
    members = [("0.jpg", b"0"), ("0.txt", "A cat.\r\n"), ("1.a.jpg", b"1"), ("1.b.jpg", b"2"), ("1.txt", "Two cats.")]
    source = opened(write_tar(tmp_path / "a.tar", members))
    assert content(source) == [
        ("a.tar:0", (b"0",), turns("<image>", "A cat.")),
        ("a.tar:1", (b"1", b"2"), turns("<image>\n<image>", "Two cats.")),
    ]


def test_packed_sources_are_read_back(tmp_path):
    """What `genlip data synth` writes."""
    source = Procedural("scenes", 3, 6, CaptionFields({"caption": 1.0, "conversations": 1.0}))
    write_shards(source, tmp_path / "shards", ShardConfig(samples=4))
    for fields in ("caption", "conversations"):
        packed, drawn = (opened(spec, fields) for spec in (str(tmp_path / "shards/*.tar"), "scenes:3"))
        assert len(packed) == 6
        assert [packed[index].messages for index in range(6)] == [drawn[index].messages for index in range(6)]


def test_long_names_are_whole(tmp_path):
    name, buffer = "deep/" * 30 + "n" * 150, io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as file:
        for end, data in (("0.jpg", b"a"), ("1.jpg", b"b"), ("json", json.dumps(talk("<image><image>?")).encode())):
            member = tarfile.TarInfo(f"{name}.{end}")
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    (tmp_path / "a.tar").write_bytes(buffer.getvalue())
    (one,) = content(opened(str(tmp_path / "a.tar")))
    assert one == (f"a.tar:{name}", (b"a", b"b"), turns("<image><image>?", "A cat."))


def test_what_is_left_out_is_told(tmp_path, caplog):
    path = write_tar(tmp_path / "a.tar", [("0.jpg", b"0"), ("1.jpg", b"1"), ("1.json", talk())])
    with caplog.at_level(logging.WARNING):
        source = opened(path)
    assert notes_of(source) == caplog.messages == [f"{path}: 1 images without a text, first a.tar: 0"]


# -- what cannot be used


@pytest.mark.parametrize(
    ("members", "reason", "message"),
    [
        ([("x.json", talk("What?"))], "", ""),
        ([("x.json", talk())], "mark without an image", "images: 0, <image> marks: 1; need one mark for each image"),
        ([("x.jpg", b""), ("x.json", talk("What?"))], "image without a mark", "images: 1, <image> marks: 0"),
        ([("x.jpg", b""), ("x.1.jpg", b""), ("x.json", talk())], "image without a mark", "images: 2, <image> marks: 1"),
        ([("x.json", "[3]")], "damaged", "its JSON is list, need an object"),
        ([("x.json", "{")], "damaged", "not JSON"),
        ([("x.json", b"\xff{}")], "damaged", "not UTF-8 text"),
        ([("x.json", {})], "no conversation", "no conversation and no caption in conversations"),
        (
            [("x.json", {"conversations": [human("a"), {"from": "tool", "value": ""}]})],
            "unknown role",
            "message 2 is from 'tool'",
        ),
    ],
)
def test_a_sample_that_cannot_be_used_is_named(members, reason, message, tmp_path):
    source = opened(write_tar(tmp_path / "a.tar", [("first.jpg", b"a"), ("first.json", talk()), *members]))
    assert source[0].key == "a.tar:first"
    if not reason:
        assert source[1].key == "a.tar:x"
        return
    found, text = refused(source, 1)
    assert found == reason
    assert text.startswith(f"a.tar:x: {message}")


def test_large_members_are_refused(tmp_path, monkeypatch):
    source = opened(write_tar(tmp_path / "a.tar", [("0.jpg", b"0123"), ("0.json", talk())]))
    monkeypatch.setattr(tar_shards, "_MAX_IMAGE_BYTES", 3)
    assert refused(source) == ("too large", "a.tar:0: 4 bytes; the limit is 3")
    monkeypatch.setattr(tar_shards, "_MAX_TEXT_BYTES", 3)
    assert refused(source)[0] == "damaged"


def test_a_shard_that_was_cut_off_later_is_damage(tmp_path):
    path = write_tar(
        tmp_path / "a.tar", [("0.json", talk("<image><image>")), ("0.0.jpg", bytes(3000)), ("0.1.jpg", bytes(3000))]
    )
    source = opened(path)
    os.truncate(path, 4000)
    assert refused(source) == ("damaged", "a.tar:0: the shard was cut off after it was indexed")
    os.truncate(path, 100)
    reason, message = refused(source)
    assert (reason, message) == ("damaged", "a.tar: sample 0: the shard was cut off after it was indexed")


@pytest.mark.parametrize("members", [[], [("a.jpg", b"")], [("a.txt", "a")], [("a.mp4", b"")]])
def test_shards_without_a_dialogue_are_refused(members, tmp_path):
    path = write_tar(tmp_path / "a.tar", members)
    with pytest.raises(ValueError, match=r"no samples in 1 shards; need members such as 1.jpg and 1.json"):
        opened(path)


def test_shards_without_a_known_field_are_refused(tmp_path):
    path = write_tar(tmp_path / "a.tar", [("0.jpg", b""), ("0.json", {"label": 3})])
    with pytest.raises(ValueError, match="no conversations or captions among label; need one of conversations, messages"):
        opened(path)


@pytest.mark.parametrize("seed", range(8))
def test_flipped_bytes_never_do_more_than_make_samples_unusable(seed, tmp_path):
    members = [
        (f"{number}.{end}", data)
        for number in range(6)
        for end, data in (("0.jpg", bytes(700)), ("1.jpg", b"b"), ("json", talk("<image><image>")))
    ]
    path = write_tar(tmp_path / "a.tar", members)
    data, rng = bytearray((tmp_path / "a.tar").read_bytes()), np.random.default_rng(seed)
    for place in rng.integers(512, len(data), 30):
        data[place] = rng.integers(256)
    (tmp_path / "a.tar").write_bytes(data)
    try:
        source = opened(path)
    except ValueError:
        return
    for index in range(len(source)):
        with suppress(Unusable):
            assert source[index].messages
