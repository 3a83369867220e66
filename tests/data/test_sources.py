"""`genlip.data.sources`: what each kind of source holds, and what it says of rows it cannot read."""

import json

import numpy as np
import pytest
from PIL import Image

from genlip.data.sources import Example, Files, Scenes, Subset, open_source
from genlip.data.synthetic import scenes

ROWS = [("a.png", "a red circle"), ("deep/b.jpg", 'a "blue" square, on the left'), ("c.png", "un carré bleu — 猫")]


def held(source):
    """(path, caption) of every example of a source."""
    assert [source.caption(i) for i in range(len(source))] == [source[i].caption for i in range(len(source))]
    return [(source[i].image, source[i].caption) for i in range(len(source))]


def written(folder, name, text, encoding="utf-8"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def table(columns, rows, delimiter=","):
    quoted = [[f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in row] for row in rows]
    return "\n".join(delimiter.join(row) for row in [columns, *quoted]) + "\n"


def lines(columns, rows):
    return "".join(json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) + "\n" for row in rows)


WRITERS = {
    ".csv": table,
    ".tsv": lambda columns, rows: table(columns, rows, "\t"),
    ".jsonl": lines,
}


def refusal(spec, kind=ValueError):
    with pytest.raises(kind) as error:
        open_source(str(spec))
    return str(error.value)


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
    [("path", "caption"), ("file_name", "text"), ("image", "caption"), ("filepath", "title"), ("image_path", "description")],
)
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
    ((image, caption),) = held(open_source(str(path)))
    assert (str(image), caption) == ("/elsewhere/a.png", "a circle")


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


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
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
    assert refusal(path) == f"{path}, line 2: found list, need an object with path and caption"


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_an_open_quote_is_refused_instead_of_swallowing_the_rows_after_it(suffix, tmp_path):
    rows = ["path caption", "a.png a", 'b.png "open', "c.png c", "d.png d"]
    path = written(tmp_path, f"table{suffix}", "\n".join(rows).replace(" ", {".csv": ",", ".tsv": "\t"}[suffix]))
    assert refusal(path) == f"{path}, line 3: not {suffix[1:].upper()}: unexpected end of data"


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_table_without_a_known_column_says_which_it_has_and_needs(suffix, tmp_path):
    path = written(tmp_path, f"table{suffix}", WRITERS[suffix](("url", "caption"), [("http", "a")]))
    assert refusal(path) == (
        f"{path}: columns url, caption; need one of path, file, filename, file_name, image, image_path, filepath"
    )
    path = written(tmp_path, f"table{suffix}", WRITERS[suffix](("path", "label"), [("a.png", "a")]))
    assert refusal(path) == f"{path}: columns path, label; need one of caption, text, description, title"


def test_a_row_without_text_is_named_by_its_number(tmp_path):
    path = written(tmp_path, "table.csv", "path,caption\na.png,a\nb.png\n")
    assert f"{path}, row 2: 'path' and 'caption' must both be text, found {{'path': 'b.png', 'caption': None}}" in refusal(
        path
    )
    for second in ('{"path": "b.png"}', '{"path": "b.png", "caption": 3}', '{"path": null, "caption": "b"}'):
        path = written(tmp_path, "table.jsonl", '{"path": "a.png", "caption": "a"}\n' + second)
        assert f"{path}, row 2: 'path' and 'caption' must both be text, found {json.loads(second)}" in refusal(path)


@pytest.mark.parametrize("name", ["table.csv", "table.tsv", "table.jsonl", "a.txt"])
def test_text_that_is_not_utf8_is_named(name, tmp_path):
    written(tmp_path, "a.png", "")
    path = written(tmp_path, name, "path,caption\na.png,carré", encoding="latin-1")
    assert refusal(tmp_path if name == "a.txt" else path).startswith(f"{path}: not UTF-8 text: ")


@pytest.mark.parametrize(
    ("suffix", "text"), [(".csv", ""), (".csv", "path,caption\n"), (".tsv", ""), (".jsonl", ""), (".jsonl", "\n\n")]
)
def test_a_table_without_rows_is_refused(suffix, text, tmp_path):
    path = written(tmp_path, f"table{suffix}", text)
    assert refusal(path) == f"{path}: holds no rows"


def test_what_is_no_source_is_refused_with_what_could_be_one(tmp_path):
    assert refusal(tmp_path / "nowhere", FileNotFoundError) == (
        f"{tmp_path / 'nowhere'}: no such source; need 'scenes', a folder of images, or a .csv, .tsv or .jsonl file"
    )
    path = written(tmp_path, "table.parquet", "")
    assert refusal(path) == f"{path}: cannot read captions from .parquet; need .csv, .tsv or .jsonl"
    path = written(tmp_path, "table", "")
    assert refusal(path) == f"{path}: cannot read captions from a file without suffix; need .csv, .tsv or .jsonl"


# -- scenes


def test_scenes_are_opened_by_name_and_seed():
    assert open_source("scenes") == open_source("scenes:") == open_source("scenes:0") == Scenes(seed=0)
    assert open_source("scenes:17") == Scenes(seed=17)


@pytest.mark.parametrize("seed", ["abc", "-1", "1.5", " "])
def test_a_seed_that_is_no_whole_number_is_refused(seed):
    expected = f"scenes:{seed}: the seed of scenes is {seed!r}; need a whole number from 0, as in 'scenes:7'"
    assert refusal(f"scenes:{seed}") == expected


def test_a_scene_is_the_drawing_and_the_description_of_its_seed_and_index():
    key, image, caption = Scenes(seed=3)[5]
    content = scenes.scene(3, 5)
    assert (key, caption) == ("scene 3:5", scenes.describe(content))
    assert isinstance(image, Image.Image)
    assert (np.asarray(image) == np.asarray(scenes.draw(content))).all()


def test_scenes_know_their_captions_without_drawing(monkeypatch):
    source = Scenes(seed=4, length=20)
    captions = [example.caption for example in source]  # which ends, as the source does
    monkeypatch.setattr(scenes, "draw", None)
    assert [source.caption(i) for i in range(len(source))] == captions
    assert len(captions) == len(set(captions)) == 20


# -- parts of sources


def test_a_subset_gives_the_chosen_examples_in_its_order():
    files = Files([f"{i}.png" for i in range(10)], [f"caption {i}" for i in range(10)])
    chosen = Subset(files, np.array([7, 2, 2, 9]))
    assert [chosen[i] for i in range(len(chosen))] == [Example(f"{i}.png", f"{i}.png", f"caption {i}") for i in (7, 2, 2, 9)]
    assert held(Subset(chosen, [3, 0])) == [("9.png", "caption 9"), ("7.png", "caption 7")]
