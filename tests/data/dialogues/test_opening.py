"""`genlip.data.dialogues.opening`: every form by its name, mixtures, LLaVA's lists, and held-out samples."""

import json
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from genlip.data.dialogues import open_dialogues
from genlip.data.sources import Mixture, hold_out, locate, notes_of, open_source
from genlip.data.sources.base import Subset, Without
from genlip.data.sources.procedural import KINDS

from ..helpers import written
from .helpers import gpt, human, refused, turns, write_json, write_tar


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GENLIP_CACHE", str(tmp_path / "cache"))
    return tmp_path


def talk(text):
    return [human(f"<image>\n{text}?"), gpt(f"{text}.")]


def table(path, *names, image="{}.png"):
    return write_json(path, [{"image": image.format(name), "conversations": talk(name)} for name in names])


def listed(path, **content):
    return str(written(path.parent, path.name, yaml.safe_dump(content)))


def said(source):
    """What each dialogue says last."""
    return [source[index].messages[-1].text.removesuffix(".") for index in range(len(source))]


def refusal(spec, *arguments, kind=ValueError):
    with pytest.raises(kind) as error:
        open_dialogues(str(spec), *arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


# -- one source


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if kind.questions])
def test_procedural_images_say_their_captions_or_answer_questions(kind):
    captions, questions = open_dialogues(f"{kind}:3"), open_dialogues(f"{kind}:3", "conversations")
    content, draw, describe, ask = KINDS[kind]
    for index in range(4):
        made = content(3, index)
        assert captions[index].key == f"{kind}:3:{index}"
        assert captions[index].images[0].tobytes() == draw(made).tobytes()
        assert captions[index].messages == turns("<image>", describe(made).strip())
        texts = [text for pair in ask(made) for text in pair]
        if texts:
            assert questions[index].messages == turns(f"<image>\n{texts[0]}", *texts[1:])
        else:
            assert refused(questions, index)[0] == "no conversation"


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if not kind.questions])
def test_kinds_without_questions_have_captions(kind):
    assert open_dialogues(kind)[2].messages == turns("<image>", open_source(kind)[2].caption)
    assert refusal(kind, "conversations") == f"{kind}:0: no field conversations; need caption"


def test_a_folder_is_read_with_its_captions(here):
    for name in ("a", "b"):
        written(here, f"images/{name}.png", "")
        written(here, f"images/{name}.txt", f"The letter {name}.\n")
    written(here, "images/c.png", "")
    source = open_dialogues("images")
    assert [(one.key, one.images) for one in (source[0], source[1])] == [
        (f"images/{name}.png", (here.joinpath("images", f"{name}.png").relative_to(here),)) for name in ("a", "b")
    ]
    assert said(source) == ["The letter a", "The letter b"]
    assert "1 of 3 images have no caption" in notes_of(source)[0]


def test_captions_of_coco_are_read_with_one_of_their_captions(here):
    names = {number: f"{number}.jpg" for number in range(40)}
    for name in names.values():
        written(here, f"val2017/{name}", "")
    entries = [{"image_id": number, "caption": f"{number} {which}."} for number in names for which in ("one", "two")]
    stored = {"images": [{"id": key, "file_name": name} for key, name in names.items()], "annotations": entries}
    written(here, "annotations/captions_val2017.json", json.dumps(stored))
    source = open_dialogues("annotations/captions_val2017.json")
    assert len(source) == 40
    assert [text.split()[0] for text in said(source)] == [str(number) for number in names]
    assert {text.split()[1] for text in said(source)} == {"one", "two"}
    assert said(source) == said(open_dialogues("annotations/captions_val2017.json"))


def test_files_of_every_form_are_known_by_their_suffix(here):
    table(here / "a.json", "json")
    table(here / "a.jsonl", "jsonl")
    written(here, "a.csv", "path,caption\na.png,csv.\n")
    written(here, "a.tsv", "path\tcaption\na.png\ttsv.\n")
    write_tar(here / "a.tar", [("0.png", b""), ("0.json", {"conversations": talk("tar")})])
    pq.write_table(pa.table({"image": [b"1"], "caption": ["parquet."]}), here / "a.parquet")
    for suffix in ("json", "jsonl", "csv", "tsv", "tar", "parquet"):
        assert said(open_dialogues(f"a.{suffix}")) == [suffix]
        assert said(open_dialogues(f"?.{suffix}")) == [suffix]


def test_what_is_no_source_is_refused_as_by_open_source():
    for spec in ("missing", "missing.json", "missing.tar", "missing.yaml", "a.txt", "missing/", "charts:x"):
        found = []
        for opening in (open_source, open_dialogues):
            with pytest.raises((ValueError, FileNotFoundError)) as error:
                opening(spec)
            found.append((type(error.value), str(error.value)))
        assert found[0] == found[1]


# -- mixtures


def test_a_mixture_joins_all_forms(here):
    table(here / "data/a.json", "one", "two")
    write_tar(here / "data/a.tar", [("0.png", b""), ("0.json", {"conversations": talk("three")})])
    entries = [
        {"source": "a.json"},
        {"source": "a.tar"},
        {"source": "scenes:3", "fields": "conversations"},
    ]
    path = listed(here / "data/mixture.yaml", sources=entries[:2])
    source = open_dialogues(path)
    assert isinstance(source, Mixture)
    assert (source.name, said(source)) == (path, ["one", "two", "three"])
    assert source[0].images == (here / "data/one.png",)
    weighted = listed(here / "data/weighted.yaml", sources=[{**one, "weight": 1} for one in entries])
    assert open_dialogues(weighted).takes.tolist() == [333_334, 333_335, 333_334]
    assert open_dialogues(weighted)[999_999].messages == open_dialogues("scenes:3", "conversations")[333_330].messages
    assert said(pickle.loads(pickle.dumps(source))) == ["one", "two", "three"]


def test_fields_of_a_mixture_are_those_of_its_parts(here):
    rows = [{"image": "a.png", "caption": "a caption.", "other": "another."}]
    write_json(here / "a.json", rows)
    path = listed(here / "mixture.yaml", sources=[{"source": "a.json"}, {"source": "a.json", "fields": {"other": 1}}])
    assert said(open_dialogues(path, "caption")) == ["a caption", "another"]


def test_a_table_of_a_mixture_may_have_its_images_elsewhere(here):
    table(here / "lists/a.json", "one")
    (here / "pictures").mkdir()
    path = listed(here / "lists/mixture.yaml", sources=[{"source": "a.json", "images": "../pictures"}])
    assert open_dialogues(path)[0].images == (here / "lists/../pictures/one.png",)
    path = listed(here / "lists/mixture.yaml", sources=[{"source": "a.json", "images": "missing"}])
    assert refusal(path, kind=FileNotFoundError).endswith("and there is no such folder")
    path = listed(here / "lists/mixture.yaml", sources=[{"source": "scenes", "images": "../pictures"}])
    assert "is for tables, and captions files of COCO and TextCaps; leave it out" in refusal(path)


# -- LLaVA's lists


def test_llavas_list_takes_what_its_strategies_say(here):
    names = [f"{number}" for number in range(10)]
    table(here / "data/a.json", *names)
    table(here / "data/b.jsonl", *[f"b{name}" for name in names])
    strategies = ["all", "first:2", "first:10%", "end:3", "end:25%", "random:3", "random:30%", None]
    entries = [
        {"json_path": f"{'ab'[place % 2]}.json{'l' * (place % 2)}", **({"sampling_strategy": one} if one else {})}
        for place, one in enumerate(strategies)
    ]
    source = open_dialogues(listed(here / "data/mix.yaml", datasets=entries))
    parts = [said(part) for part in source.sources]
    assert parts == [
        names, ["b0", "b1"], ["0"], ["b7", "b8", "b9"], ["7", "8", "9"], ["b1", "b4", "b7"], ["1", "4", "7"],
        [f"b{name}" for name in names],
    ]  # fmt: skip
    assert said(source) == [name for part in parts for name in part]
    assert said(pickle.loads(pickle.dumps(source))) == said(source)


def test_other_forms_may_be_listed_too(here):
    write_tar(
        here / "a.tar",
        [(f"{n}.{end}", data) for n in range(4) for end, data in (("png", b""), ("json", {"conversations": talk(f"{n}")}))],
    )
    listed(here / "inner.yaml", datasets=[{"json_path": "a.tar", "sampling_strategy": "end:2"}])
    entries = [{"json_path": "inner.yaml"}, {"json_path": "a.tar", "sampling_strategy": "first:50%"}]
    source = open_dialogues(listed(here / "mix.yaml", image_folder="pictures", datasets=entries))
    assert said(source) == ["2", "3", "0", "1"]


def test_image_folders_are_relative_to_the_list(here):
    table(here / "lists/a.json", "one")
    for folder in ("all", "own"):
        (here / folder).mkdir()
    entries = [{"json_path": "a.json"}, {"json_path": "a.json", "image_folder": str(here / "own")}]
    source = open_dialogues(listed(here / "lists/mix.yaml", image_folder="../all", datasets=entries))
    assert [one.images[0].resolve() for one in (source[0], source[1])] == [here / "all/one.png", here / "own/one.png"]
    table(here / "lists/b.json", "one", image="../{}.png")
    entries = [{"json_path": "b.json"}]
    path = listed(here / "lists/mix.yaml", image_folder="../all", datasets=entries)
    assert "lies outside lists/../all" in refusal(path).replace(f"{here}/", "")
    assert open_dialogues(path, allow_outside=True)[0].images[0].resolve() == here / "one.png"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"datasets": []}, "need `datasets`, a list of `json_path`"),
        ({"datasets": {}}, "need `datasets`, a list of `json_path`"),
        ({"datasets": [{"json_path": "a.json"}], "image_folder": 3}, "need `datasets`, a list of `json_path`"),
        (
            {"datasets": [{"json_path": "a.json"}], "sources": []},
            "unknown key sources; need datasets, and image_folder at most",
        ),
        ({"datasets": ["a.json"]}, "data set 1: found 'a.json'; need `json_path`, a text"),
        ({"datasets": [{"json_path": 3}]}, "data set 1: found {'json_path': 3}; need `json_path`"),
        (
            {"datasets": [{"json_path": "a.json"}, {"json_path": "a.json", "sampling": "all"}]},
            "data set 2: unknown key sampling",
        ),
        (
            {"datasets": [{"json_path": "a.json", "sampling_strategy": "some"}]},
            "data set 1: sampling_strategy 'some'; need all",
        ),
        ({"datasets": [{"json_path": "a.json", "image_folder": 3}]}, "data set 1: image_folder 3; need a text"),
        ({"datasets": [{"json_path": "a\0.json"}]}, "data set 1: json_path 'a\\x00.json'; need a path"),
        ({"other": 1}, "not a mixture: need `sources`, a list of `source`, and nothing beside it"),
    ],
)
def test_a_list_that_cannot_be_read_is_refused(content, message, here):
    table(here / "a.json", "one")
    assert message in refusal(listed(here / "mix.yaml", **content))


def test_a_list_that_lists_itself_is_refused(here):
    path = listed(here / "mix.yaml", datasets=[{"json_path": "mix.yaml"}])
    assert refusal(path) == f"{path}: lists itself, or a mixture that lists it"


# -- what the training loader does with them


def test_subsets_mixtures_and_held_out_samples_work_on_dialogues(here):
    names = [f"{number}" for number in range(40)]
    table(here / "a.json", *names)
    write_json(here / "b.json", [{"conversations": [human(f"{n}?"), gpt(f"t{n}.")]} for n in range(20)])
    path = listed(
        here / "mix.yaml", datasets=[{"json_path": "a.json", "sampling_strategy": "first:30"}, {"json_path": "b.json"}]
    )
    source = open_dialogues(path)
    rest, held = hold_out(source, 10, seed=5)
    assert (len(rest), len(held)) == (40, 10)
    assert sorted(said(rest) + said(held)) == sorted(said(source))
    assert not set(said(rest)) & set(said(held))
    assert sum(text.startswith("t") for text in said(held)) == 4  # a share of each part
    assert (said(rest), said(held)) == tuple(map(said, hold_out(open_dialogues(path), 10, seed=5)))
    part, epoch, number = locate(rest, 3, 39)
    assert (part[number].messages[-1].text, epoch) == (said(rest)[39] + ".", 3)
    assert said(Subset(source, np.array([49, 0]))) == ["t19", "0"]
    assert said(Without(source, [0, 49])) == said(source)[1:49]


def test_the_same_index_is_always_the_same_dialogue(here):
    rows = [{"image": "a.png", "caption": [f"{n} one.", f"{n} two."], "text": f"{n} three."} for n in range(50)]
    write_json(here / "a.json", rows)
    sources = [open_dialogues("a.json", "caption=2,text=1") for _ in range(2)]
    assert said(sources[0]) == said(sources[1]) == [said(sources[1])[index] for index in range(50)]
    assert {text.split()[1] for text in said(sources[0])} == {"one", "two", "three"}


def test_memory_holds_no_images(here):
    data = np.random.default_rng(0).bytes(2**20)
    write_tar(
        here / "a.tar",
        [(f"{n}.{end}", held) for n in range(4) for end, held in (("png", data), ("json", {"conversations": talk("a")}))],
    )
    pq.write_table(pa.table({"image": [data] * 4, "caption": ["a"] * 4}), here / "a.parquet", row_group_size=2)
    for name in ("a.tar", "a.parquet"):
        source = open_dialogues(name)
        source[0]
        assert len(pickle.dumps(source)) < 10_000
