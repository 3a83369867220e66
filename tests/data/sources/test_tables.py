"""`genlip.data.sources.tables`: what folders and tables hold, and what is said of rows that cannot be read."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genlip.data.examples import Choice, Turn, Unusable, plain_text
from genlip.data.sources import Subset, notes_of, open_source

from ..helpers import held, refusal, written

ROWS = [("a.png", "a red circle"), ("deep/b.jpg", 'a "blue" square, on the left'), ("c.png", "un carré bleu — 猫")]


def table(columns, rows, delimiter=","):
    quoted = [[f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in row] for row in rows]
    return "\n".join(delimiter.join(row) for row in [columns, *quoted]) + "\n"


def lines(columns, rows):
    return "".join(json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) + "\n" for row in rows)


def listed(columns, rows):
    return json.dumps([dict(zip(columns, row, strict=True)) for row in rows], indent=1, ensure_ascii=False)


WRITERS = {
    ".csv": table,
    ".tsv": lambda columns, rows: table(columns, rows, "\t"),
    ".jsonl": lines,
    ".json": listed,
}


# -- folders


def test_a_folder_gives_the_images_that_have_a_caption_beside_them(tmp_path):
    for name in ("b.png", "deep/er/a.JPG", "deep/c.webp", "no-caption.png", "notes.md"):
        written(tmp_path, name, "")
    for name, text in (
        ("b", "second\n"),
        ("deep/er/a", "  first "),
        ("deep/c", "third"),
        ("no-image", "x"),
        ("notes", "x"),
    ):
        written(tmp_path, f"{name}.txt", text)
    expected = {tmp_path / "b.png": "second", tmp_path / "deep/er/a.JPG": "first", tmp_path / "deep/c.webp": "third"}
    source = open_source(str(tmp_path))
    assert dict(held(source)) == expected
    assert [source[i].key for i in range(3)] == [str(path) for path, _ in held(source)]
    assert source.name == str(tmp_path)


def test_a_folder_has_an_order_of_its_own(tmp_path):
    for name in np.random.default_rng(0).permutation(30):
        written(tmp_path, f"{name:02}.png", "")
        written(tmp_path, f"{name:02}.txt", str(name))
    assert [caption for _, caption in held(open_source(str(tmp_path)))] == [str(name) for name in range(30)]


def test_a_folder_without_captions_says_how_many_images_it_has(tmp_path):
    assert f"{tmp_path}: 0 images, none with a caption" in refusal(tmp_path)
    for name in ("a.png", "b.png", "c.txt"):
        written(tmp_path, name, "")
    assert f"{tmp_path}: 2 images, none with a caption; put the caption of a.png into a.txt" in refusal(tmp_path)


# -- tables


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize(
    "columns",
    [
        ("path", "caption"), ("file_name", "text"), ("image", "caption"), ("filepath", "title"),
        ("image_path", "description"), ("file", "re_caption"), ("filename", "txt"),
    ],
)  # fmt: skip
def test_a_table_gives_paths_beside_it_and_captions(suffix, columns, tmp_path):
    path = written(tmp_path, f"sub/table{suffix}", WRITERS[suffix](columns, ROWS))
    assert held(open_source(str(path))) == [(tmp_path / "sub" / name, caption) for name, caption in ROWS]


@pytest.mark.parametrize("suffix", WRITERS)
def test_other_columns_and_their_order_do_not_matter(suffix, tmp_path):
    columns, rows = ("width", "title", "caption", "url", "path"), [("7", "no", "yes", "no", "a.png")]
    path = written(tmp_path, f"table{suffix}", WRITERS[suffix](columns, rows))
    assert held(open_source(str(path))) == [(tmp_path / "a.png", "yes")]


@pytest.mark.parametrize("suffix", WRITERS)
def test_absolute_paths_stay_and_captions_are_stripped(suffix, tmp_path):
    path = written(tmp_path, f"table{suffix}", WRITERS[suffix](("path", "caption"), [("/elsewhere/a.png", "  a circle\n")]))
    ((image, caption),) = held(open_source(str(path), allow_outside=True))
    assert (str(image), caption) == ("/elsewhere/a.png", "a circle")


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("outside", ["/etc/passwd", "../a.png", "x/../../a.png"])
def test_a_table_names_no_file_outside_its_folder_unless_that_is_allowed(outside, suffix, tmp_path):
    rows = [("a.png", "a"), (outside, "b")]
    path = written(tmp_path, f"sub/table{suffix}", WRITERS[suffix](("path", "caption"), rows))
    assert refusal(path) == (
        f"{path}, row 2: its image, {outside!r}, lies outside {tmp_path}/sub; if you trust this file, allow it with "
        "data.allow_outside (--allow-outside)"
    )
    assert held(open_source(str(path), allow_outside=True))[1] == (tmp_path / "sub" / outside, "b")
    inside = [(str(tmp_path / "sub/a.png"), "a"), ("x/../b..png", "b")]
    path = written(tmp_path, f"sub/inside{suffix}", WRITERS[suffix](("path", "caption"), inside))
    assert [str(image) for image, _ in held(open_source(str(path)))] == [
        f"{tmp_path}/sub/a.png", f"{tmp_path}/sub/x/../b..png"
    ]  # fmt: skip


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("suffix", WRITERS)
def test_a_byte_order_mark_and_windows_line_ends_are_read_over(suffix, line_end, tmp_path):
    text = WRITERS[suffix](("path", "caption"), ROWS).replace("\n", line_end)
    path = written(tmp_path, f"table{suffix}", text, encoding="utf-8-sig")
    assert held(open_source(str(path))) == [(tmp_path / name, caption) for name, caption in ROWS]


def test_a_byte_order_mark_is_no_part_of_a_sidecar(tmp_path):
    written(tmp_path, "a.png", "")
    written(tmp_path, "a.txt", "a circle", encoding="utf-8-sig")
    assert held(open_source(str(tmp_path))) == [(tmp_path / "a.png", "a circle")]


@pytest.mark.parametrize("suffix", WRITERS)
def test_only_a_line_feed_ends_a_row(suffix, tmp_path):
    caption = "one\u2028two\u2029three\x85four\x0cfive"  # all of them ends of a line to str.splitlines
    path = written(tmp_path, f"table{suffix}", WRITERS[suffix](("path", "caption"), [("a.png", caption), ("b.png", "b")]))
    assert held(open_source(str(path))) == [(tmp_path / "a.png", caption), (tmp_path / "b.png", "b")]


def test_a_quoted_cell_of_a_csv_may_hold_lines_and_delimiters(tmp_path):
    path = written(tmp_path, "table.csv", 'path,caption\na.png,"one, ""two""\nthree"\n')
    assert held(open_source(str(path))) == [(tmp_path / "a.png", 'one, "two"\nthree')]


def test_empty_lines_of_jsonl_are_read_over(tmp_path):
    path = written(tmp_path, "table.jsonl", '\n{"path": "a.png", "caption": "a"}\n\n  \n{"path": "b.png", "caption": "b"}')
    assert [caption for _, caption in held(open_source(str(path)))] == ["a", "b"]


# -- refusals


def test_a_broken_line_of_jsonl_is_named_by_its_number(tmp_path):
    good = '{"path": "a.png", "caption": "a"}\n'
    path = written(tmp_path, "table.jsonl", f"{good}\n{good}{{path: b.png}}\n{good}")
    assert refusal(path).startswith(f"{path}, line 4: not JSON: Expecting property name")
    path = written(tmp_path, "table.jsonl", f'{good}["b.png", "b"]\n')
    assert refusal(path) == f"{path}, line 2: found list, need an object with the fields of a row"


@pytest.mark.parametrize(
    ("text", "said"), [("", "Expecting value"), ("[{]", "Expecting property"), ("{}\n{}", "Extra data")]
)
def test_a_broken_json_file_is_named(text, said, tmp_path):
    path = written(tmp_path, "table.json", text)
    assert refusal(path).startswith(f"{path}: not JSON: {said}")


@pytest.mark.parametrize("text", ["3", '[{"path": "a.png", "caption": "a"}, "b"]'])
def test_json_that_is_no_list_of_objects_is_refused(text, tmp_path):
    path = written(tmp_path, "table.json", text)
    assert refusal(path) == f"{path}: need a list of objects, each with the fields of a row"


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_an_open_quote_is_refused_instead_of_swallowing_the_rows_after_it(suffix, tmp_path):
    rows = ["path caption", "a.png a", 'b.png "open', "c.png c", "d.png d"]
    path = written(tmp_path, f"table{suffix}", "\n".join(rows).replace(" ", {".csv": ",", ".tsv": "\t"}[suffix]))
    assert refusal(path) == f"{path}, line 3: not {suffix[1:].upper()}: unexpected end of data"


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_table_without_a_known_column_says_which_it_has_and_needs(suffix, tmp_path):
    path = written(tmp_path, f"table{suffix}", WRITERS[suffix](("url", "caption"), [("http", "a")]))
    assert refusal(path) == (
        f"{path}: columns url, caption; need one of path, file, filename, file_name, image, image_path, filepath, images"
    )
    path = written(tmp_path, f"table{suffix}", WRITERS[suffix](("path", "label"), [("a.png", "a")]))
    assert refusal(path) == (
        f"{path}: no captions among path, label; "
        "need one of caption, text, txt, description, title, re_caption, conversations, messages, captions, texts, "
        "conversation"
    )
    assert refusal(path, "one,two") == f"{path}: no captions among path, label; need one of one, two"


def test_a_row_without_a_path_costs_itself_only_and_is_named_by_its_number(tmp_path):
    rows = (
        {"path": "a.png", "caption": "a"},
        {"path": None, "caption": "b"},
        {"caption": "c"},
        {"path": "", "caption": "d"},
    )
    for name, text in (
        ("table.jsonl", "\n".join(map(json.dumps, rows))),
        ("table.json", json.dumps(rows)),
        ("table.csv", 'path,caption\na.png,a\n,b\n"",c\n,d\n'),
    ):
        path = written(tmp_path, name, text)
        source = open_source(str(path))
        assert held(Subset(source, [0])) == [(tmp_path / "a.png", "a")]
        for number in (2, 3, 4):
            with pytest.raises(Unusable) as error:
                source[number - 1]
            assert (error.value.reason, str(error.value)) == ("missing", f"{path}, row {number}: no path in 'path'")


def test_a_row_without_any_of_its_fields_has_no_caption(tmp_path):
    for second in ('{"path": "b.png"}', '{"path": "b.png", "two": null}', '{"path": "b.png", "one": 3}'):
        path = written(tmp_path, "table.jsonl", f'{{"path": "a.png", "one": "a"}}\n{second}')
        assert [plain_text(open_source(str(path), fields).caption(1)) for fields in ("one", "one,two")] == ["", ""]


@pytest.mark.parametrize("suffix", WRITERS)
def test_an_empty_caption_costs_its_own_row_only(suffix, tmp_path):
    path = written(tmp_path, f"table{suffix}", WRITERS[suffix](("path", "caption"), [("a.png", " "), ("b.png", "b")]))
    assert held(open_source(str(path))) == [(tmp_path / "a.png", ""), (tmp_path / "b.png", "b")]


@pytest.mark.parametrize(("suffix", "delimiter"), [(".csv", ","), (".tsv", "\t"), (".TSV", "\t")])
def test_a_caption_cut_in_two_by_the_delimiter_is_refused(suffix, delimiter, tmp_path):
    rows = ["path,caption", "a.png,a cat", "b.png,a cat, asleep", "c.png,c"]
    path = written(tmp_path, f"table{suffix}", "\n".join(rows).replace(",", delimiter))
    assert refusal(path) == (
        f"{path}, line 3: more cells than the 2 columns; put quotes around a caption that holds {delimiter!r}"
    )


@pytest.mark.parametrize(("suffix", "delimiter"), [(".csv", ","), (".tsv", "\t")])
def test_a_column_that_stands_twice_is_refused(suffix, delimiter, tmp_path):
    path = written(tmp_path, f"table{suffix}", "path,caption,caption\na.png,a,b".replace(",", delimiter))
    assert refusal(path) == f"{path}: the column 'caption' stands twice; name one of them otherwise"
    unnamed = written(tmp_path, f"other{suffix}", ",path,caption,\n0,a.png,a,\n".replace(",", delimiter))
    assert held(open_source(str(unnamed))) == [(tmp_path / "a.png", "a")]


@pytest.mark.parametrize("name", ["table.csv", "table.tsv", "table.jsonl", "table.json"])
def test_text_that_is_not_utf8_is_named(name, tmp_path):
    written(tmp_path, "a.png", "")
    path = written(tmp_path, name, "path,caption\na.png,carré", encoding="latin-1")
    assert refusal(path).startswith(f"{path}: not UTF-8 text: ")


def test_a_caption_file_that_is_not_utf8_costs_its_own_image_only(tmp_path):
    for name in ("a", "b"):
        written(tmp_path, f"{name}.png", "")
        written(tmp_path, f"{name}.txt", "carré", encoding="latin-1" if name == "a" else "utf-8")
    source = open_source(str(tmp_path))
    assert source[1].caption == "carré"
    with pytest.raises(Unusable, match=r"a\.txt: not UTF-8 text") as error:
        source[0]
    assert error.value.reason == "damaged"


@pytest.mark.parametrize(
    ("suffix", "text"),
    [(".csv", ""), (".csv", "path,caption\n"), (".tsv", ""), (".jsonl", ""), (".jsonl", "\n\n"), (".json", "[]")],
)
def test_a_table_without_rows_is_refused(suffix, text, tmp_path):
    path = written(tmp_path, f"table{suffix}", text)
    assert refusal(path) == f"{path}: holds no rows"


# -- several tables


def test_several_tables_are_one_source_each_with_columns_and_images_of_its_own(tmp_path):
    written(tmp_path, "b/table.csv", table(("path", "caption"), ROWS[:2]))
    written(tmp_path, "a/table.csv", table(("text", "file"), [("one", "1.png")]))
    written(tmp_path, "c/other.csv", table(("path", "caption"), ROWS))
    expected = [(tmp_path / "a/1.png", "one"), *((tmp_path / "b" / name, caption) for name, caption in ROWS[:2])]
    source = open_source(f"{tmp_path}/*/table.csv")
    assert (held(source), source.name) == (expected, f"{tmp_path}/*/table.csv")
    assert held(open_source(f"{tmp_path}/{{b,a}}/table.csv")) == expected[1:] + expected[:1]


def test_one_broken_table_of_several_is_named(tmp_path):
    for name, text in (("1", "path,caption\na.png,a\n"), ("2", "path,caption\n")):
        written(tmp_path, f"{name}.csv", text)
    assert refusal(f"{tmp_path}/{{1..2}}.csv") == f"{tmp_path}/2.csv: holds no rows"


@pytest.mark.parametrize("suffix", WRITERS)
def test_suffixes_may_be_capitals(suffix, tmp_path):
    path = written(tmp_path, f"TABLE{suffix.upper()}", WRITERS[suffix](("path", "caption"), ROWS))
    assert held(open_source(str(path))) == [(tmp_path / name, caption) for name, caption in ROWS]


# -- captions of several fields, lists and conversations


@pytest.mark.parametrize("suffix", WRITERS)
def test_fields_choose_the_columns(suffix, tmp_path):
    rows = [("a.png", "c", "long", "short"), ("b.png", "c", "", "only short")]
    path = written(tmp_path, f"table{suffix}", WRITERS[suffix](("path", "caption", "re_caption", "org_caption"), rows))
    assert held(open_source(str(path), "org_caption")) == [(tmp_path / "a.png", "short"), (tmp_path / "b.png", "only short")]
    both = open_source(str(path), "re_caption=0.75, org_caption=0.25")
    assert held(both) == [
        (tmp_path / "a.png", Choice(("long", "short"), (0.75, 0.25), ("re_caption", "org_caption"))),
        (tmp_path / "b.png", Choice(("only short",), (1.0,), ("org_caption",))),
    ]


@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
def test_rows_may_hold_lists_and_conversations(suffix, tmp_path):
    asked, told = {"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A cat. "}
    text = WRITERS[suffix](("image", "captions"), [("a.png", ["one", "two"]), ("b.png", [asked, told])])
    source = open_source(str(written(tmp_path, f"table{suffix}", text)))
    assert held(source) == [
        (tmp_path / "a.png", Choice(("one", "two"), (0.5, 0.5), ("captions", "captions"))),
        (tmp_path / "b.png", (Turn("What?", False), Turn("A cat.", True))),
    ]


def test_an_unusable_conversation_costs_its_own_row_only(tmp_path):
    two = [{"from": "human", "value": "<image><image> Which?"}, {"from": "gpt", "value": "The first."}]
    odd = [{"from": "narrator", "value": "Once"}]
    rows = [("a.png", "fine"), ("b.png", two), ("c.png", odd), ("d.png", "fine too")]
    path = written(tmp_path, "table.json", listed(("image", "conversations"), rows))
    source = pickle.loads(pickle.dumps(open_source(str(path))))
    assert [source[i].caption for i in (0, 3)] == ["fine", "fine too"]
    for index, reason, message in (
        (1, "several images", f"{tmp_path}/b.png: a conversation about 2 images; a sample holds one"),
        (2, "not a conversation", f"{tmp_path}/c.png: message from 'narrator' with str; need human or gpt, and text"),
    ):
        for read in (source.__getitem__, source.caption):
            with pytest.raises(Unusable) as error:
                read(index)
            assert (str(error.value), error.value.reason) == (message, reason)


# -- what it costs


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_row_costs_its_two_texts(suffix, tmp_path):
    rows = [(f"images/{i:04}.jpg", f"a small red circle on the left of {i:04}") for i in range(1000)]
    path = written(tmp_path, f"table{suffix}", WRITERS[suffix](("path", "caption"), rows))
    source = open_source(str(path))
    assert vars(source).keys() == {"paths", "captions", "name", "notes"}
    assert {type(text) for column in (source.paths, source.captions) for text in column} == {str}
    size = len(pickle.dumps(source)) / len(rows)
    assert size < 2 * 16 + np.mean([len(f"{tmp_path}/{name}") + len(caption) for name, caption in rows])


# -- folders: what is found, and what is said of the rest


def pair(folder, name, suffix=".png", caption="a cat"):
    stem = name.rpartition(".")[0] if suffix is None else name
    written(folder, name if suffix is None else f"{name}{suffix}", "")
    written(folder, f"{stem}.txt", caption)


def test_a_folder_says_by_name_what_it_leaves_out(tmp_path, caplog):
    pair(tmp_path, "a")
    pair(tmp_path, "b", ".svg")
    pair(tmp_path, "c", ".SVG")
    for name in ("d.png", "e.png", "f.png", "g.png"):
        written(tmp_path, name, "")
    written(tmp_path, "h.txt", "of nothing")
    source = open_source(str(tmp_path))
    assert source.notes == [
        "4 of 5 images have no caption beside them, and are left out: d.png, e.png, f.png, …",
        "2 files have a caption and no suffix of an image that is read (.svg), and are left out: b.svg, c.SVG",
        "1 captions have no image beside them, and are left out: h.txt",
    ]
    assert [record.getMessage() for record in caplog.records] == [f"{tmp_path}: {note}" for note in source.notes]
    assert notes_of(Subset(source, [0])) == [f"{tmp_path}: {note}" for note in source.notes]


def test_files_of_other_systems_are_no_examples(tmp_path):
    for name in ("a", "._a", "__MACOSX/._a", ".ipynb_checkpoints/a-checkpoint"):
        pair(tmp_path, name)
    source = open_source(str(tmp_path))
    assert ([Path(path).name for path in source.paths], source.notes) == (["a.png"], [])


def test_folders_behind_links_are_read(tmp_path):
    pair(tmp_path / "images", "a")
    pair(tmp_path / "disk2", "b")
    (tmp_path / "images/more").symlink_to("../disk2")
    assert [Path(path).name for path in open_source(str(tmp_path / "images")).paths] == ["a.png", "b.png"]


@pytest.mark.parametrize("suffix", [".jfif", ".JPE", ".pnm", ".apng", ".avif"])
@pytest.mark.parametrize("text", [".txt", ".TXT", ".caption"])
def test_every_suffix_is_known(suffix, text, tmp_path):
    written(tmp_path, f"a.b{suffix}", "")
    written(tmp_path, f"a.b{text}", "a cat")
    assert held(open_source(str(tmp_path))) == [(tmp_path / f"a.b{suffix}", "a cat")]


def test_a_field_that_a_folder_does_not_have_is_refused(tmp_path):
    pair(tmp_path, "a")
    assert refusal(tmp_path, "re_caption") == f"{tmp_path}: no captions among txt, caption, text; need one of re_caption"
    assert len(open_source(str(tmp_path), "caption")) == len(open_source(str(tmp_path), "txt=2")) == 1
    mixture = written(tmp_path, "m.yaml", "sources: [{source: .}, {source: ., fields: re_caption}]")
    assert "need one of re_caption" in refusal(mixture)
    mixture = written(tmp_path, "m.yaml", "sources: [{source: .}]")
    assert len(open_source(str(mixture), "re_caption")) == 1  # which it hands to parts that have fields


def test_a_text_beside_an_image_may_be_a_conversation_in_json(tmp_path):
    talk = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "A cat."}]
    pair(tmp_path, "a", caption=json.dumps(talk, indent=1))
    source = open_source(str(tmp_path))
    assert (source.caption(0), source.notes) == ((Turn("What?", False), Turn("A cat.", True)), [])


def test_captions_of_several_lines_are_told(tmp_path):
    pair(tmp_path, "a", caption="one\ntwo\n")
    pair(tmp_path, "b", caption="one\n")
    assert open_source(str(tmp_path)).notes == [
        "1 of 2 captions have several lines: a.png; captions.lines says whether all of them are read (the default), the "
        "first, or any one"
    ]


def test_names_that_are_no_utf8_have_keys_that_can_be_written(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    (tmp_path / f"{name}.txt").write_text("a cat")
    source = open_source(str(tmp_path))
    assert source[0].key == f"{tmp_path}/caf\\xe9.png"
    assert Path(source[0].image).exists()


def test_a_pointer_is_no_caption_and_no_table(tmp_path):
    pair(tmp_path, "a", caption="version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 3\n")
    with pytest.raises(Unusable, match=r"a Git LFS pointer, not the file itself \(fetch it with: git lfs pull\)"):
        open_source(str(tmp_path)).caption(0)
    table = written(tmp_path, "table.csv", "version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 3\n")
    assert refusal(table) == f"{table}: a Git LFS pointer, not the file itself (fetch it with: git lfs pull)"


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".tar", ".parquet", ".yaml"])
def test_a_named_pipe_is_never_opened(suffix, tmp_path):
    path = tmp_path / f"pipe{suffix}"
    os.mkfifo(path)
    assert refusal(path) == f"{path}: is a named pipe; need a file"


def test_a_cell_may_be_longer_than_pythons_own_limit(tmp_path):
    path = written(tmp_path, "table.csv", f"path,caption\na.png,{'x' * 200_000}\n")
    assert open_source(str(path)).caption(0) == "x" * 200_000


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (["a.png"], ""),
        ([{"path": "a.png"}], ""),
        ([], "missing"),
        (["a.png", "b.png"], "several images"),
        ("http://x/a", "missing"),
    ],
)
def test_a_list_of_one_image_is_an_image(image, reason, tmp_path):
    path = written(tmp_path, "table.jsonl", json.dumps({"images": image, "caption": "a"}))
    source = open_source(str(path))
    if not reason:
        assert held(source) == [(tmp_path / "a.png", "a")]
        return
    with pytest.raises(Unusable) as error:
        source[0]
    assert error.value.reason == reason
