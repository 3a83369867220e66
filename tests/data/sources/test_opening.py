"""`genlip.data.sources.opening`: what a user wrote, and what is said where it cannot be opened."""

import subprocess
import sys
import textwrap

import pytest
import yaml

from genlip.data.examples import Choice
from genlip.data.sources import Files, Mixture, Procedural, open_source, opening
from genlip.data.sources.fields import CaptionFields

from ..helpers import held, refusal, written

KINDS = ", ".join(map(repr, opening.KINDS))
FORMS = f"{KINDS}, a folder of images with .txt captions, .csv, .tsv, .json or .jsonl tables, .tar shards, .parquet files, or a .yaml mixture"  # noqa: E501


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(folder, name, *captions):
    """A table of images a.png, b.png, …"""
    rows = [f"{letter}.png,{caption}" for letter, caption in zip("abcdefgh", captions, strict=False)]
    return written(folder, name, "\n".join(["path,caption", *rows]))


def mixture(folder, *entries, name="mixture.yaml"):
    return written(folder, name, yaml.safe_dump({"sources": list(entries)}))


# -- one source


def test_a_procedural_kind_is_known_by_its_name(here):
    (here / "scenes").mkdir()
    assert open_source("scenes") == Procedural("scenes")
    assert open_source("scenes:4", "caption") == Procedural("scenes", 4)
    assert refusal("scenes:4", "one,caption") == "scenes:4: no field one; need caption or conversations"


def test_a_folder_is_one_whatever_its_name(here):
    for name in ("images", "v1.2", "some.tar", "some.yaml"):
        written(here, f"{name}/a.png", "")
        written(here, f"{name}/a.txt", "a cat")
        source = open_source(name)
        assert (type(source), source.name, len(source)) == (Files, name, 1)
        assert [caption for _, caption in held(source)] == ["a cat"]


@pytest.mark.parametrize("name", ["images", "table.csv", "mixture.yaml"])
def test_a_tilde_is_the_users_home(name, here, monkeypatch):
    monkeypatch.setenv("HOME", str(here))
    written(here, "images/a.png", "")
    written(here, "images/a.txt", "a cat")
    written(here, "table.csv", "path,caption\nimages/a.png,a cat")
    mixture(here / "elsewhere", {"source": "~/images"}, name="../mixture.yaml")
    assert held(open_source(f"~/{name}")) == [(here / "images/a.png", "a cat")]


def test_fields_reach_a_table(here):
    written(here, "table.jsonl", '{"path": "a.png", "one": "a", "two": "b"}')
    source = open_source("table.jsonl", "one=0.75,two=0.25")
    assert [caption for _, caption in held(source)] == [Choice(("a", "b"), (0.75, 0.25), ("one", "two"))]
    assert refusal("table.jsonl", "one=x") == ("caption fields 'one=x': 'x' is not a number; write field=0.8,other=0.2")


@pytest.mark.parametrize("spec", ["part?.csv", "part*.csv", "part[12].csv", "part{1,2}.csv", "part{1..2}.csv"])
def test_globs_and_braces_are_expanded(spec, here):
    for number in (1, 2):
        table(here, f"part{number}.csv", f"part {number}")
    source = open_source(spec)
    assert [caption for _, caption in held(source)] == ["part 1", "part 2"]
    assert source.name == spec


class Asked:
    """Stands for a source of shards, and writes down how it was opened."""

    def __init__(self, *arguments):
        self.arguments = arguments

    @classmethod
    def open(cls, *arguments):
        return cls(*arguments)


@pytest.mark.parametrize(
    ("spec", "files"),
    [
        ("shards/0{0..1}.tar", ["shards/00.tar", "shards/01.tar"]),
        ("shards/0?.tar", ["shards/00.tar", "shards/01.tar"]),
        ("shards/00.TAR", ["shards/00.TAR"]),
        ("https://host/a.tar?key=1.csv", ["https://host/a.tar?key=1.csv"]),
        ("s3://bucket/{a,b}.tar", ["s3://bucket/a.tar", "s3://bucket/b.tar"]),
    ],
)
@pytest.mark.parametrize(
    ("suffix", "module", "name"), [(".tar", "tar", "TarShards"), (".parquet", "parquet", "ParquetTables")]
)
def test_tars_and_parquet_files_go_to_their_own_sources(spec, files, suffix, module, name, here, monkeypatch):
    pytest.importorskip(f"genlip.data.sources.{module}")
    monkeypatch.setattr(f"genlip.data.sources.{module}.{name}", Asked)
    spec, *files = (text.replace(".tar", suffix).replace(".TAR", suffix.upper()) for text in (spec, *files))
    for file in files:
        if "://" not in file:
            written(here, file, "")
    assert open_source(spec, "one=2,two").arguments == (files, CaptionFields({"one": 2.0, "two": 1.0}), spec)


def test_scenes_and_folders_do_without_fsspec_and_pyarrow(tmp_path):
    written(tmp_path, "a.png", "")
    written(tmp_path, "a.txt", "a cat")
    program = f"""
        import sys
        from genlip.data.sources import open_source
        open_source("scenes"), open_source({str(tmp_path)!r})
        sys.exit(any(name in sys.modules for name in ("fsspec", "pyarrow")))
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False).returncode == 0


# -- what is none


def test_what_is_not_there_is_refused_with_what_could_be(here):
    assert refusal("nowhere", kind=FileNotFoundError) == f"nowhere: no such source; need {FORMS}"
    assert refusal("Scenes:3", kind=FileNotFoundError) == f"Scenes:3: no such source; need {FORMS}"
    for folder in ("images/", "my.images/", "shards.tar/", "data/images", "~/images"):
        assert refusal(folder, kind=FileNotFoundError) == f"{folder}: no such folder; need {FORMS}"
    for other in ("s3://bucket/images", "data/*", "{a,b}/images"):
        assert refusal(other, kind=FileNotFoundError) == f"{other}: no such source; need {FORMS}"
    assert refusal("nowhere.csv", kind=FileNotFoundError) == "nowhere.csv: no such file"
    assert refusal("no*.jsonl", kind=FileNotFoundError) == "no*.jsonl: matches no file"
    assert refusal("nowhere.tar", kind=FileNotFoundError) == "nowhere.tar: no such file"
    assert refusal("nowhere.yaml", kind=FileNotFoundError) == "nowhere.yaml: no such mixture"


@pytest.mark.parametrize(
    ("name", "found"),
    [("table.xlsx", ".xlsx"), ("a.tar.gz", ".gz"), ("a.TXT", ".txt"), ("table", "a file without suffix")],
)
def test_files_of_other_kinds_are_refused(name, found, here):
    written(here, name, "")
    assert refusal(name) == f"{name}: cannot read captions from {found}; need {FORMS}"


def test_tables_from_afar_are_refused():
    expected = "tables are read from local disk, beside their images; .tar and .parquet from anywhere"
    for spec in ("https://host/table.csv", "s3://bucket/{a,b}.jsonl"):
        assert refusal(spec) == f"{spec}: {expected}"


@pytest.mark.parametrize("spec", ["scenes:1", "folder", "table.csv", "mixture.yaml"])
def test_a_folder_of_images_is_only_for_captions_files(spec, here):
    with pytest.raises(ValueError, match=f"^{spec}: images 'there' is for captions files of COCO and TextCaps"):
        open_source(spec, images="there")


def test_a_list_of_rows_has_paths_of_its_own(here):
    written(here, "rows.json", '[{"path": "a.png", "caption": "a"}]')
    with pytest.raises(ValueError, match=r"^rows\.json: images 'there' is for .*; rows have paths of their own$"):
        open_source("rows.json", images="there")


# -- mixtures


def test_a_mixture_opens_its_parts_beside_its_file(here):
    table(here / "data", "one.csv", "a", "b")
    table(here / "data/deep", "two.csv", "c")
    table(here / "elsewhere", "three.csv", "d")
    written(here / "data", "folder/e.png", "")
    written(here / "data", "folder/e.txt", "e")
    entries = ["one.csv", "deep/*.csv", str(here / "elsewhere/three.csv"), "folder", "scenes:3"]
    mixture(here / "data", *({"source": entry} for entry in entries))
    source = open_source("data/mixture.yaml")
    assert isinstance(source, Mixture)
    assert (source.name, source.weights, len(source)) == ("data/mixture.yaml", None, 1_000_005)
    assert [str(source[i].image) for i in range(5)] == [
        "data/a.png", "data/b.png", "data/deep/a.png", f"{here}/elsewhere/a.png", "data/folder/e.png"
    ]  # fmt: skip
    assert [source.caption(i) for i in range(5)] == list("abcde")
    assert source.caption(5) == Procedural("scenes", 3).caption(0)
    assert [part.name for part in source.sources] == [
        "data/one.csv", "data/deep/*.csv", f"{here}/elsewhere/three.csv", "data/folder", "scenes:3"
    ]  # fmt: skip


def test_a_url_of_a_mixture_stays_as_it_is(here, monkeypatch):
    tar = pytest.importorskip("genlip.data.sources.tar")
    monkeypatch.setattr(tar, "TarShards", Asked)
    monkeypatch.setattr(Asked, "__len__", lambda self: 1, raising=False)
    mixture(here / "data", {"source": "s3://bucket/a.tar"})
    (part,) = open_source("data/mixture.yaml").sources
    assert part.arguments == (["s3://bucket/a.tar"], CaptionFields({}), "s3://bucket/a.tar")


def test_weights_reach_the_mixture(here):
    for name in ("one.csv", "two.csv"):
        table(here, name, *"abcd")
    mixture(here, {"source": "one.csv", "weight": 3}, {"source": "two.csv", "weight": 1.0})
    source = open_source("mixture.yaml")
    assert (source.weights, source.takes.tolist()) == ([3, 1.0], [6, 2])


@pytest.mark.parametrize("fields", ["one=0.75,two=0.25", {"one": 0.75, "two": 0.25}, {"one": 3, "two": 1}])
def test_fields_of_a_part_are_a_text_or_a_mapping(fields, here):
    written(here, "table.jsonl", '{"path": "a.png", "one": "a", "two": "b", "caption": "c"}')
    mixture(here, {"source": "table.jsonl", "fields": fields}, {"source": "table.jsonl"})
    source = open_source("mixture.yaml")
    assert [caption for _, caption in held(source)] == [Choice(("a", "b"), (0.75, 0.25), ("one", "two")), "c"]


def test_fields_of_a_mixture_are_for_the_parts_that_name_none(here):
    written(here, "table.jsonl", '{"path": "a.png", "one": "a", "two": "b", "caption": "c"}')
    mixture(here, {"source": "table.jsonl"}, {"source": "table.jsonl", "fields": ""}, name="inner.yml")
    mixture(here, {"source": "table.jsonl", "fields": "two"}, {"source": "inner.yml"})
    assert [caption for _, caption in held(open_source("mixture.yaml", "one"))] == ["b", "a", "c"]


def test_a_mixture_may_hold_mixtures_beside_it(here):
    table(here, "deep/one.csv", "a", "b")
    mixture(here / "deep", {"source": "one.csv", "weight": 1}, name="inner.yaml")
    mixture(here, {"source": "deep/inner.yaml"})
    source = open_source(str(here / "mixture.yaml"))
    assert [type(part) for part in source.sources] == [Mixture]
    assert held(source) == [(here / "deep/a.png", "a"), (here / "deep/b.png", "b")]


@pytest.mark.parametrize(
    "text",
    ["", "sources:", "sources: []", "sources: one.csv", "sources: {source: one.csv}", "- source: one.csv", "3", "a: b"],
)
def test_a_file_without_a_list_of_sources_is_no_mixture(text, here):
    written(here, "mixture.yaml", text)
    expected = "mixture.yaml: not a mixture: need `sources`, a list of `source`, and nothing beside it"
    assert refusal("mixture.yaml") == expected


def test_nothing_stands_beside_the_sources(here):
    written(here, "mixture.yaml", "sources: [{source: scenes}]\nweights: [1]")
    assert refusal("mixture.yaml").endswith("need `sources`, a list of `source`, and nothing beside it")


NEEDED = "need `source`, a text, and if wanted `fields`, `images`, `weight` and `degrade`"


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        ("one.csv", f"found 'one.csv'; {NEEDED}"),
        (None, f"found None; {NEEDED}"),
        ({"weight": 1}, f"found {{'weight': 1}}; {NEEDED}"),
        ({"source": 3}, f"found {{'source': 3}}; {NEEDED}"),
        ({"source": "a.json", "images": 3}, "images 3; need a text, the path of a folder"),
        ({"source": "scenes", "wieght": 1}, "unknown key wieght; need source, fields, images, weight or degrade"),
        (
            {"source": "scenes", "field": "a", "Weight": 1, 3: 4},
            "unknown key 3, Weight, field; need source, fields, images, weight or degrade",
        ),
        ({"source": "scenes", "fields": ["a", "b"]}, "fields ['a', 'b']; need a text or field: chance"),
        ({"source": "scenes", "fields": None}, "fields None; need a text or field: chance"),
        ({"source": "scenes", "weight": "much"}, "weight 'much'; need a number"),
        ({"source": "scenes", "weight": None}, "weight None; need a number"),
        ({"source": "scenes", "weight": True}, "weight True; need a number"),
    ],
)
def test_an_entry_that_cannot_be_read_is_named(entry, found, here):
    mixture(here, {"source": "scenes"}, entry)
    assert refusal("mixture.yaml") == f"mixture.yaml, source 2: {found}"


@pytest.mark.parametrize("text", ["sources: [", "sources: '\xe9", "\tsources: []"])
def test_what_is_no_yaml_is_named_in_one_line(text, here):
    written(here, "mixture.yaml", text)
    said = refusal("mixture.yaml")
    assert said.startswith("mixture.yaml: not YAML: ")
    assert "\n" not in said
    written(here, "mixture.yaml", "sources: é", encoding="latin-1")
    assert refusal("mixture.yaml").startswith("mixture.yaml: not UTF-8 text: 'utf-8' codec can't decode")


def test_all_sources_have_a_weight_or_none(here):
    mixture(here, {"source": "scenes", "weight": 1}, {"source": "scenes:1"}, {"source": "scenes:2", "weight": 2})
    assert refusal("mixture.yaml") == "mixture.yaml: 2 of 3 sources have a weight: give it to all or to none"


def test_a_weight_of_0_is_refused_with_the_name_of_the_mixture(here):
    mixture(here, {"source": "scenes", "weight": 1}, {"source": "scenes:1", "weight": 0})
    assert refusal("mixture.yaml") == "mixture.yaml: weights [1, 0]: each of the 2 parts needs one above 0"


def test_a_missing_part_is_named_as_it_was_sought(here):
    mixture(here / "data", {"source": "one.csv"})
    assert refusal("data/mixture.yaml", kind=FileNotFoundError) == "data/one.csv: no such file"
    mixture(here / "data", {"source": "one"})
    assert refusal("data/mixture.yaml", kind=FileNotFoundError) == f"data/one: no such folder; need {FORMS}"
    mixture(here / "data", {"source": "one.csv", "fields": {"a": None}})
    told = "caption fields 'a=None': 'None' is not a number; write field=0.8,other=0.2"
    assert refusal("data/mixture.yaml") == f"data/mixture.yaml, source 1: {told}"


def test_a_mixture_that_lists_itself_is_refused(tmp_path):
    (tmp_path / "a.yaml").write_text("sources: [{source: b.yaml}]")
    (tmp_path / "b.yaml").write_text("sources: [{source: scenes:0}, {source: a.yaml}]")
    with pytest.raises(ValueError, match=r"[ab]\.yaml: lists itself, or a mixture that lists it"):
        open_source(str(tmp_path / "a.yaml"))


def test_mixtures_that_fan_out_without_end_are_refused(here):
    for number in range(6):
        entries = [
            {"source": f"{number + 1}.yaml" if number < 5 else "scenes:0"} for _ in range(10)
        ]  # one would be an alias
        mixture(here, *entries, name=f"{number}.yaml")
    assert refusal("0.yaml").endswith("more than 10000 parts in all, with those of the mixtures in it; name files by globs")
    for number in range(20):
        mixture(here, {"source": f"{number + 1}.yaml" if number < 19 else "scenes:0"}, name=f"{number}.yaml")
    assert refusal("0.yaml") == "16.yaml: lies 16 mixtures deep, which is the limit; list its sources in one file"


def test_a_mixture_may_be_listed_twice_beside_itself(here):
    table(here, "one.csv", "a")
    mixture(here, {"source": "one.csv"}, name="inner.yaml")
    mixture(here, {"source": "inner.yaml"}, {"source": "inner.yaml"})
    assert len(open_source("mixture.yaml")) == 2


def test_images_outside_are_allowed_for_the_parts_of_a_mixture_too(here):
    written(here, "deep/table.csv", "path,caption\n../a.png,a")
    mixture(here, {"source": "deep/table.csv"})
    assert "lies outside deep" in refusal("mixture.yaml")
    assert len(open_source("mixture.yaml", allow_outside=True)) == 1
