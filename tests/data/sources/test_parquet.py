"""`genlip.data.sources.parquet`: the rows of Parquet files, against the tables that were written."""

import json
import logging
import multiprocessing
import pickle
import re
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from genlip.data.examples import Choice, Turn, Unusable
from genlip.data.sources import parquet_rows
from genlip.data.sources.cache import ShardCache
from genlip.data.sources.fields import CaptionFields
from genlip.data.sources.parquet import ParquetTables
from genlip.data.sources.parquet_rows import ParquetRows

from .far import register

FIRST_KNOWN = CaptionFields({})
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
# What the Hub's `datasets` writes into a schema of an image and a caption.
HUB = {
    b"huggingface": json.dumps(
        {"info": {"features": {"image": {"_type": "Image"}, "caption": {"dtype": "string", "_type": "Value"}}}}
    ).encode()
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GENLIP_CACHE", str(tmp_path / "cache"))


def hub_table(start, count):
    """A table as the Hub holds them, with columns that nobody needs."""
    rng = np.random.default_rng(start)
    images = [{"bytes": rng.bytes(int(rng.integers(1, 300))), "path": f"{row}.jpg"} for row in range(start, start + count)]
    captions = [f" a caption — 猫 {row}\n" for row in range(start, start + count)]
    schema = pa.schema([("url", pa.string()), ("image", IMAGE), ("caption", pa.string()), ("n", pa.int64())], metadata=HUB)
    return pa.table([["u"] * count, images, captions, list(range(count))], schema=schema)


@pytest.fixture
def files(tmp_path):
    """Paths of four files of 10, 0, 1 and 23 rows, in row groups of 4, and their rows."""
    paths, rows, start = [], [], 0
    for number, count in enumerate((10, 0, 1, 23)):
        table = hub_table(start, count)
        paths.append(str(tmp_path / f"{number}.parquet"))
        pq.write_table(table, paths[-1], row_group_size=4)
        rows += [(f"{number}.parquet:{row}", entry) for row, entry in enumerate(table.to_pylist())]
        start += count
    return paths, rows


def written(path, columns, **how):
    pq.write_table(pa.table(columns), path, **how)
    return str(path)


def opened(paths, fields=FIRST_KNOWN, **how):
    return ParquetTables.open([paths] if isinstance(paths, str) else paths, fields, "test set", **how)


def check(source, rows, order=None):
    for index in order if order is not None else range(len(rows)):
        key, row = rows[index]
        assert tuple(source[index]) == (key, row["image"]["bytes"], row["caption"].strip())
        assert source.caption(index) == row["caption"].strip()


# -- what is read


def test_every_row_is_read_in_order(files):
    source = opened(files[0])
    assert len(source) == len(files[1]) == 34
    assert source.name == "test set"
    check(source, files[1])
    check(source, files[1], np.random.default_rng(0).permutation(34))
    assert len(list(source)) == 34


@pytest.mark.parametrize("index", [-1, 34, 10**12])
def test_there_is_nothing_outside(index, files):
    for read in (opened(files[0]).__getitem__, opened(files[0]).caption):
        with pytest.raises(IndexError, match=f"row {index} of 34"):
            read(index)


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), IMAGE, pa.struct([("bytes", pa.large_binary())])])
@pytest.mark.parametrize("column", ["image", "jpg", "photo"])
def test_the_image_column_is_found(kind, column, tmp_path):
    held = [{"bytes": b"1"}, {"bytes": b"2"}] if pa.types.is_struct(kind) else [b"1", b"2"]
    path = written(tmp_path / "a.parquet", {"text": ["a", "b"], column: pa.array(held, kind), "z": [1, 2]})
    assert [(read.image, read.caption) for read in opened(path)] == [(b"1", "a"), (b"2", "b")]


def test_among_several_the_usual_one_is_taken_or_the_one_named(tmp_path):
    columns = {"mask": [b"m"], "text": ["t"], "hash": [b"h"]}
    with pytest.raises(ValueError, match=r"several image columns among mask \(binary\), text \(string\), hash \(binary\)"):
        opened(written(tmp_path / "a.parquet", columns))
    path = written(tmp_path / "b.parquet", {**columns, "image": [b"i"]})
    assert opened(path)[0].image == b"i"
    assert opened(path, image_column="mask")[0].image == b"m"


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string()), pa.string_view()])
def test_captions_may_be_any_kind_of_text(kind, tmp_path):
    path = written(
        tmp_path / "a.parquet", {"image": [b"1", b"2", b"3"], "caption": pa.array(["a", "b", "a"], pa.string()).cast(kind)}
    )
    assert [read.caption for read in opened(path)] == ["a", "b", "a"]


TALK = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A cat."}]
TURNS = (Turn("What?", False), Turn("A cat.", True))


@pytest.mark.parametrize(
    ("columns", "fields", "expected"),
    [
        ({"conversations": [TALK]}, {}, TURNS),
        ({"talk": [TALK], "caption": ["c"]}, {"talk": 1}, TURNS),
        ({"captions": [["one", "two"]]}, {}, Choice(("one", "two"), (0.5, 0.5), ("captions",) * 2)),
        (
            {"re": ["new"], "caption": ["old"]},
            {"re": 3, "caption": 1},
            Choice(("new", "old"), (0.75, 0.25), ("re", "caption")),
        ),
        (
            {"re": pa.array([None], pa.string()), "caption": ["old"]},
            {"re": 3, "caption": 1},
            Choice(("old",), (1.0,), ("caption",)),
        ),
        ({"caption": pa.array([None], pa.string())}, {}, ""),
        ({"caption": [7], "text": ["words"]}, {}, "words"),  # numbers are no captions
        ({"text": ["later"], "caption": ["first"]}, {}, "first"),
    ],
)
def test_captions_are_read_by_their_fields(columns, fields, expected, tmp_path):
    path = written(tmp_path / "a.parquet", {"image": [b"i"], **columns})
    source = opened(path, CaptionFields(fields))
    assert source[0].caption == source.caption(0) == expected


def test_only_needed_columns_are_read(files, monkeypatch):
    asked, plain = [], pq.ParquetFile.iter_batches

    def seen(self, rows, row_groups, columns, **how):
        asked.append((*row_groups, columns))
        return plain(self, rows, row_groups, columns, **how)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", seen)
    source = opened(files[0])
    assert asked == []  # counts come from the footers
    source.caption(5)
    assert asked == [(1, ["caption"])]
    source[6]
    assert asked == [(1, ["caption"]), (1, ["image"])]
    for index in (4, 5, 6, 7):
        source[index]
    assert len(asked) == 2


@pytest.mark.parametrize("as_struct", [False, True])
def test_one_image_in_very_many_rows_is_refused_before_memory_is_gone(as_struct, tmp_path, monkeypatch):
    image = np.random.default_rng(0).bytes(2**16)
    rows = [{"bytes": image, "path": None} if as_struct else image] * 2000
    path = written(tmp_path / "a.parquet", {"image": rows, "caption": ["a"] * 2000})
    monkeypatch.setattr(parquet_rows, "_MAX_GROUP_BYTES", 2**22)
    before = pa.total_allocated_bytes()
    source = opened(path)
    with pytest.raises(Unusable, match=r"a\.parquet:7: its row group takes more than 4194304 bytes") as error:
        source[7]
    assert error.value.reason == "too large"
    assert pa.total_allocated_bytes() - before < 2**23


def test_text_that_is_not_utf8_costs_its_own_row_only(tmp_path):
    texts = pa.array([b"carr\xe9", b"good"], pa.binary()).view(pa.string())
    source = opened(written(tmp_path / "a.parquet", {"image": [b"1", b"2"], "caption": texts}))
    assert source[1].caption == "good"
    with pytest.raises(Unusable, match=r"a\.parquet:0: not UTF-8 text") as error:
        source[0]
    assert error.value.reason == "damaged"


@pytest.mark.parametrize("path", ["/etc/hostname", "../a.png", "x/../../a.png"])
def test_an_image_elsewhere_than_beside_its_table_is_not_read(path, tmp_path):
    rows = pa.array([{"bytes": None, "path": path}], pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    source = opened(written(tmp_path / "a.parquet", {"image": rows, "caption": ["a"]}))
    with pytest.raises(Unusable, match="is not beside the table"):
        source[0]


def test_what_is_decoded_stays_within_the_limit(files, monkeypatch):
    group = pq.ParquetFile(files[0][3]).read_row_group(0, columns=["image"]).nbytes
    monkeypatch.setattr(parquet_rows, "_DECODED_BYTES", 3 * group)
    source = ParquetTables.open(files[0], FIRST_KNOWN, "test set")
    source.rows._decoded.limit = 3 * group
    for index in np.random.default_rng(0).integers(34, size=200):
        source[index]
        tables = list(source.rows._decoded.tables.values())
        assert sum(table.nbytes for table in tables) <= 3 * group
        assert len(tables) >= 2
    source.rows._decoded.limit = 0  # the last is kept however large
    check(source, files[1])
    assert len(source.rows._decoded.tables) == 1


def test_large_row_groups_are_told(files, monkeypatch, caplog):
    with caplog.at_level(logging.WARNING):
        opened(files[0])
        assert caplog.text == ""
        path = written(
            files[0][0] + ".large", {"image": [b"i"], "caption": ["x" * 2**21]}, compression="none", use_dictionary=False
        )
        monkeypatch.setattr(ParquetRows.__init__, "__defaults__", (2**20,))
        opened(path)
    assert "test set: row groups of up to 2 MiB, each decoded for any of its rows" in caplog.text


# -- images that are elsewhere, or not there


def test_an_image_without_bytes_is_a_path_beside_the_table(tmp_path):
    images = pa.array([{"bytes": None, "path": "deep/a.jpg"}, {"bytes": b"here", "path": "b.jpg"}], IMAGE)
    source = opened(written(tmp_path / "a.parquet", {"image": images, "caption": ["a", "b"]}))
    assert [read.image for read in source] == [tmp_path / "deep/a.jpg", b"here"]


@pytest.mark.parametrize(
    ("held", "message"),
    [
        (None, "no image in 'image'"),
        ({"bytes": None, "path": None}, "no image in 'image'"),
        ({"bytes": None, "path": ""}, "no image in 'image'"),
        ({"bytes": None, "path": "https://x/a.jpg"}, "its image is elsewhere, at 'https://x/a.jpg'; need its bytes"),
    ],
)
def test_a_missing_image_is_named(held, message, tmp_path):
    images = pa.array([{"bytes": b"i", "path": None}, held], IMAGE)
    source = opened(written(tmp_path / "a.parquet", {"image": images, "caption": ["a", "b"]}))
    with pytest.raises(Unusable) as error:
        source[1]
    assert (error.value.reason, str(error.value)) == ("missing", f"a.parquet:1: {message}")
    assert source.caption(1) == "b"


def test_an_image_beyond_the_limit_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_rows, "_MAX_IMAGE_BYTES", 3)
    source = opened(written(tmp_path / "a.parquet", {"image": [b"abc", b"abcd"], "caption": ["a", "b"]}))
    assert source[0].image == b"abc"
    with pytest.raises(Unusable, match=r"a\.parquet:1: 4 bytes; the limit is 3"):
        source[1]


def test_a_conversation_about_several_images_is_named(tmp_path):
    talk = [{"from": "human", "value": "<image><image>"}, {"from": "gpt", "value": "Two."}]
    source = opened(written(tmp_path / "a.parquet", {"image": [b"i"], "conversations": [talk]}))
    with pytest.raises(Unusable, match=r"a\.parquet:0: a conversation about 2 images"):
        source.caption(0)


def test_a_damaged_row_group_is_counted_and_the_others_are_read(files):
    path = files[0][0]
    place = pq.read_metadata(path).row_group(1).column(1)  # image.bytes
    with Path(path).open("r+b") as file:
        file.seek(place.dictionary_page_offset or place.data_page_offset)
        file.write(b"\xff" * 60)
    source = opened(files[0])
    with pytest.raises(Unusable, match=r"0\.parquet:5: cannot be decoded") as error:
        source[5]
    assert error.value.reason == "damaged"
    check(source, files[1], [0, 3, 8, 11, 33])


# -- what is refused


@pytest.mark.parametrize(
    ("columns", "how", "message"),
    [
        ({"url": ["u"], "caption": ["c"]}, {}, "no image column among url (string), caption (string); need one of binary"),
        ({"image": ["a.jpg"], "caption": ["c"]}, {"image_column": "image"}, "image column 'image' among image (string)"),
        (
            {"image": [b"i"], "caption": ["c"]},
            {"image_column": "x"},
            "image column 'x' among image (binary), caption (string)",
        ),
        (
            {"image": [b"i"], "url": ["u"]},
            {},
            "with columns image (binary), url (string): no captions among url; need one of",
        ),
        (
            {"image": [b"i"], "caption": [1]},
            {},
            "with columns image (binary), caption (int64): no captions, and no field that could hold any",
        ),
    ],
)
def test_what_columns_there_are_is_told(columns, how, message, tmp_path):
    path = written(tmp_path / "a.parquet", columns)
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        opened(path, **how)
    assert str(error.value).startswith(path)


def test_files_must_have_the_same_columns(tmp_path):
    first = written(tmp_path / "a.parquet", {"image": [b"i"], "caption": ["c"], "more": [1]})
    same = written(tmp_path / "b.parquet", {"caption": ["d"], "image": [b"j"]})  # order and others do not matter
    assert [read.caption for read in opened([first, same])] == ["c", "d"]
    for name, columns in (("c", {"img": [b"i"], "caption": ["c"]}), ("d", {"image": [b"i"], "text": ["c"]})):
        other = written(tmp_path / f"{name}.parquet", columns)
        with pytest.raises(ValueError, match=rf"^{other}: its columns differ from those of {first}: im"):
            opened([first, same, other])


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1", b"<html>" * 100])
def test_what_is_no_parquet_file_is_refused_by_name(content, tmp_path):
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(ValueError, match=rf"^{tmp_path}/a\.parquet: not a Parquet file, or damaged: ") as error:
        opened(str(tmp_path / "a.parquet"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "what"), [(b"<html>" * 100, "an HTML page"), (b"a,b\n1,2\n", "plain text"), (b"", "an empty file")]
)
def test_another_file_under_the_name_of_a_parquet_file_is_named(content, what, tmp_path):
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(ValueError, match=rf"a\.parquet: not a Parquet file, or damaged: .*; it is {what}$"):
        opened(str(tmp_path / "a.parquet"))


@pytest.mark.parametrize("twice", ["image", "caption", "width"])
def test_a_column_that_stands_twice_is_refused(twice, tmp_path):
    names, path = ["image", "caption", "width", twice], tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array([name.encode()]) for name in names], names=names), path)
    with pytest.raises(ValueError, match=f"^{path}: the column '{twice}' stands twice; name one of them otherwise$"):
        opened(str(path))


def test_a_missing_file_and_a_set_without_rows(tmp_path, files):
    with pytest.raises(FileNotFoundError, match=r"no\.parquet"):
        opened([files[0][0], str(tmp_path / "no.parquet")])
    with pytest.raises(ValueError, match="test set: no rows in 1 files"):
        opened(files[0][1])


# -- processes and remote files


def reads(source, rows, seed):
    check(source, rows, np.tile(np.random.default_rng(seed).permutation(len(rows)), 3))


def test_processes_read_at_once(files):
    source = opened(files[0])
    check(source, files[1])  # so that a fork inherits what is open and decoded
    source.rows._decoded.limit = 0
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=reads, args=(source, files[1], seed)) for seed in range(2)]
    for process in processes:
        process.start()
    reads(source, files[1], 9)
    for process in processes:
        process.join(30)
        assert process.exitcode == 0


def test_a_pickled_source_takes_no_data_along(files):
    source = opened(files[0])
    check(source, files[1])
    copy = pickle.loads(pickle.dumps(source))
    assert copy.rows._decoded.tables == {}
    check(copy, files[1])


def test_remote_files_are_read_through_the_cache(files, tmp_path, monkeypatch):
    downloads = register(monkeypatch, tmp_path)
    cache = ShardCache(tmp_path / "cache", 1)  # room for one file: maps outlive their eviction
    source = opened([f"far://{path}" for path in files[0]], cache=cache)
    assert downloads.read_text() == ""  # footers are read in place
    check(source, files[1], np.random.default_rng(0).permutation(34))
    assert len(downloads.read_text().splitlines()) == 3
    assert len(list((tmp_path / "cache/shards").iterdir())) == 1


def test_a_memory_file_system_serves_too(files):
    system = fsspec.filesystem("memory")
    for path in files[0]:
        system.pipe(path, Path(path).read_bytes())
    check(opened([f"memory://{path}" for path in files[0]]), files[1])
    system.store.clear()


# -- lists of one image, and conversations in other forms


@pytest.mark.parametrize("image", [b"1", {"bytes": b"1", "path": None}])
def test_a_list_of_one_image_is_an_image(image, tmp_path):
    rows = {"images": [[image], [], [image, image], None], "caption": list("abcd")}
    source = opened(written(tmp_path / "a.parquet", rows))
    assert (source[0].image, source[0].caption) == (b"1", "a")
    reasons = []
    for index in (1, 2, 3):
        with pytest.raises(Unusable) as error:
            source[index]
        reasons.append(error.value.reason)
    assert reasons == ["missing", "several images", "missing"]


@pytest.mark.parametrize(
    ("column", "talk"),
    [
        ("texts", [{"user": "What?", "assistant": "A cat.", "source": "own"}]),
        (
            "messages",
            [
                {"role": "user", "content": [{"type": "image", "text": None}, {"type": "text", "text": "What?"}]},
                {"role": "assistant", "content": [{"type": "text", "text": "A cat."}]},
            ],
        ),
    ],
)
def test_conversations_of_the_hub_are_read_in_all_their_forms(column, talk, tmp_path):
    source = opened(written(tmp_path / "a.parquet", {"images": [[b"1"]], column: [talk]}))
    assert source[0].caption == (Turn("What?", False), Turn("A cat.", True))


def test_a_row_group_that_was_refused_is_not_decoded_again(tmp_path, monkeypatch):
    rows = {"image": [bytes(2**16)] * 2000, "caption": ["a"] * 2000}
    source = opened(written(tmp_path / "a.parquet", rows))
    monkeypatch.setattr(parquet_rows, "_DECODED_BYTES", 2**20)
    for index in (7, 8):
        with pytest.raises(
            Unusable, match=rf"a\.parquet:{index}: its row group takes more than .* bytes, .* stored"
        ) as error:
            source[index]
        assert error.value.reason == "too large"
        monkeypatch.setattr(parquet_rows.ParquetRows, "_decode", lambda *_: pytest.fail("decoded again"))


def test_a_pointer_is_told(tmp_path):
    (tmp_path / "a.parquet").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 3\n")
    with pytest.raises(
        ValueError, match=r"a\.parquet: a Git LFS pointer, not the file itself \(fetch it with: git lfs pull\)"
    ):
        opened([str(tmp_path / "a.parquet")])


def test_a_column_whose_name_is_no_utf8_is_one_line(tmp_path):
    file = written(tmp_path / "a.parquet", {"image": [b"x"], "odd_name": ["a"]})
    Path(file).write_bytes(Path(file).read_bytes().replace(b"odd_name", b"\xff\xfe__name"))
    with pytest.raises(ValueError, match=r"a\.parquet: not a Parquet file, or damaged: [^\n]*$"):
        opened([file])
