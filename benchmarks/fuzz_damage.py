"""Damage: the bytes of a valid file -> those of one that is broken, hostile or merely strange, by the numbers of a seed.

Mutations of bytes know nothing of the format; those of text and of JSON values keep its shape; those of a format also mend
its checksums and lengths, so that the damage reaches what lies behind them. `MUTATIONS` lists them by form; a seed file
names the forms that fit it.
"""

from __future__ import annotations

import io
import json
import re
import struct
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["INJECTION", "MUTATIONS", "damaged"]

INJECTION = '"><script>fuzz()</script>'  # which no page may hold as it stands
_BLOCK = 512
_LARGEST = 2**23  # bytes of a damaged file
_SIZES = (0, 1, 2, 7, 255, 256, 65_535, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1)
_NUMBERS = (
    "0", "-0", "-1", "1", "2", "0.5", "1e309", "-1e309", "1e-400", "NaN", "Infinity", "-Infinity", ".inf", ".nan", "true",
    "null", '"8"', "[]", "{}", "0x10", "010", "1_000", "1e6", "99999999", "2147483648", "9223372036854775808", "9" * 400,
    "9" * 5000,
)  # fmt: skip
_TEXTS = (
    "", " ", "\n", "\t", "\0", "\x1b[31mred\x1b[0m", "\x07", "\x7f", "\u202e\u2066", "\u2028", "\u0085", "\ufeff", "é",
    "\U0001f600",
    INJECTION, "../../../etc/passwd", "/etc/passwd", "~", "a/b", "*", "[a]", "{0..9}", "{0..99999999}",
    "http://localhost:1/a.png",
    "<image>", "<|im_end|>", "%s%n", "true", "null", "1", "-1", "a" * 300, "a" * 100_000, "word " * 30_000,
    '[{"from": "human"',
)  # fmt: skip
_FOREIGN = (
    b"", b"\0", b"\n", b"<!DOCTYPE html>\n<html><body>404</body></html>\n", b"PK\3\4" + bytes(60),
    b"\x1f\x8b\x08\0" + bytes(40),
    b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n",
    b"\x80\x04\x95\x10\0\0\0\0\0\0\0.",
    b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64), b"\xff\x0a" + bytes(30),
    b'<svg xmlns="http://www.w3.org/2000/svg"/>', b"%PDF-1.4\n",
    b"\xff\xfe" + "text".encode("utf-16-le"), b"PAR1" + bytes(8) + b"PAR1", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"{}", b"[]",
    b"null", b"0", bytes(4096),
)  # fmt: skip

Mutation = Callable[[Random, bytes, Sequence[bytes]], bytes]


def damaged(dice: Random, data: bytes, others: Sequence[bytes], forms: Sequence[str]) -> tuple[str, bytes]:
    """The names of one to three mutations, and what they make of the bytes; `others` are valid files to splice from."""
    names = []
    for _ in range(dice.choice((1, 1, 1, 1, 2, 3))):
        form = dice.choice(forms)
        name = dice.choice(sorted(MUTATIONS[form]))
        data = MUTATIONS[form][name](dice, data, others)[:_LARGEST]
        names.append(f"{form}: {name}")
    return ", ".join(names), data


# -- bytes


def _span(dice: Random, data: bytes) -> tuple[int, int]:
    """A place and the end of a short piece after it, more often near the ends, where formats keep their tables."""
    near = dice.choice((0, max(0, len(data) - 300), dice.randrange(len(data) + 1)))
    start = min(len(data), near + dice.randrange(300))
    return start, min(len(data), start + dice.choice((1, 2, 4, 8, 16, 64, 512, len(data))))


def _flip_bits(dice: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    changed = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 8, 64)) if data else 0):
        changed[min(len(data) - 1, _span(dice, data)[0])] ^= 1 << dice.randrange(8)
    return bytes(changed)


def _cut_off(dice: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    return data[: dice.choice((dice.randrange(len(data) + 1), max(0, len(data) - dice.randrange(40)), dice.randrange(40)))]


def _delete(dice: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    start, end = _span(dice, data)
    return data[:start] + data[end:]


def _duplicate(dice: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    start, end = _span(dice, data)
    return data[:end] + data[start:end] * dice.choice((1, 1, 2, 100)) + data[end:]


def _overwrite(dice: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    start, end = _span(dice, data)
    size = end - start
    return data[:start] + dice.choice((bytes(size), b"\xff" * size, dice.randbytes(size), b" " * size)) + data[end:]


def _insert(dice: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    start, _ = _span(dice, data)
    return data[:start] + dice.randbytes(dice.choice((1, 2, 4, 100))) + data[start:]


def _splice(dice: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    other, (start, end) = dice.choice(others), _span(dice, data)
    left, right = _span(dice, other)
    return dice.choice((data[:start] + other[left:right] + data[end:], data[:start] + other[left:], data + other))


def _number(dice: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    start, _ = _span(dice, data)
    size, order = dice.choice((2, 4, 8)), dice.choice(("big", "little"))
    value = (dice.choice(_SIZES) % 2 ** (8 * size)).to_bytes(size, order)
    return data[:start] + value + data[start + size :]


def _foreign(dice: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    return dice.choice((*_FOREIGN, dice.randbytes(dice.randrange(2000))))


# -- text


def _text(change: Callable[[Random, str], str]) -> Mutation:
    """A mutation of text as one of bytes; bytes that are no UTF-8 stay what they are."""
    return lambda dice, data, others: change(dice, data.decode("utf-8", "surrogateescape")).encode(
        "utf-8", "surrogateescape"
    )


def _replaced(dice: Random, text: str, pattern: str, choices: Sequence[str]) -> str:
    """One match of a pattern replaced."""
    if not (found := list(re.finditer(pattern, text))):
        return text
    match = dice.choice(found)
    return text[: match.start()] + dice.choice(choices) + text[match.end() :]


def _other_number(dice: Random, text: str) -> str:
    return _replaced(dice, text, r"-?\b\d+(\.\d+)?([eE][-+]?\d+)?", _NUMBERS)


def _other_string(dice: Random, text: str) -> str:
    return _replaced(
        dice, text, r'"(?:[^"\\]|\\.)*"', [*map(json.dumps, _TEXTS), '"\\ud800"', '"\\u0000"', "0", "null", "'a'"]
    )


def _other_word(dice: Random, text: str) -> str:
    return _replaced(dice, text, r"\b[A-Za-z_]+\b", _TEXTS)


def _lines(dice: Random, text: str) -> str:
    """A line deleted, doubled, moved, or emptied."""
    lines = text.split("\n")
    here, there = dice.randrange(len(lines)), dice.randrange(len(lines))
    line = lines[here]
    match dice.randrange(4):
        case 0:
            del lines[here]
        case 1:
            lines.insert(there, line)
        case 2:
            lines[here], lines[there] = lines[there], line
        case _:
            lines[here] = dice.choice(("", " ", "\t", "null", "[]", "{}", line[: len(line) // 2]))
    return "\n".join(lines)


def _control(dice: Random, text: str) -> str:
    place = dice.randrange(len(text) + 1)
    return (
        text[:place]
        + dice.choice((*"\0\t\r\n\x0b\x0c\x1b\x1c\x85\u2028\u202e\ufeff\"'\\,;:{}[]&*!#", "é", "\udcff"))
        + text[place:]
    )


def _nested(dice: Random, text: str) -> str:
    depth = dice.choice((50, 500, 5_000, 100_000))
    opened, closed = dice.choice((("[", "]"), ('{"a":', "}"), ("[{", "}]"), ("- ", ""), ("(", ")")))
    deep = opened * depth + dice.choice(("1", "", closed * depth, "1" + closed * depth))
    return dice.choice((deep, _replaced(dice, text, r"\b\d+\b|\"[^\"]*\"", [deep])))


def _coded(dice: Random, text: str) -> str:
    """Another encoding, as Windows writes files, or with a mark before it."""
    code = dice.choice(("utf-16", "utf-32", "latin-1", "cp1252", "utf-8-sig"))
    return (text + " é").encode(code, "replace").decode("utf-8", "surrogateescape")


def _key_twice(dice: Random, text: str) -> str:
    pairs = list(re.finditer(r'"\w+": (?:"[^"\\]*"|-?[\d.]+|true|false|null)(?=[,}\s])|^ *\w+: \S.*$', text, re.MULTILINE))
    if not pairs:
        return text
    pair = dice.choice(pairs)
    key, value = pair[0].split(":", 1)
    between = ", " if pair[0].startswith('"') else "\n"
    return (
        text[: pair.start()]
        + dice.choice((pair[0], f"{key}: 1", pair[0].replace(value.strip(), '"x"')))
        + between
        + text[pair.start() :]
    )


_YAML = (
    "a: &a [*a]", "<<: *b", "!!python/object/apply:os.system ['true']", "!!binary x", "!!set {a}", "? [a]\n: b",
    "--- 1\n--- 2", "%YAML 9.9\n---",
    "base: [quickstart, quickstart]", "base: damaged.yaml", "steps: &s 5\nseed: *s", "2026-01-01: 1", "yes: no", "0o7: 0",
    "model: [1]", "model: l16",
    "? |\n  a\n: b", "data: scenes", "data: null", "sources: 3", "sources: [{source: damaged.yaml}]",
    "sources: [{source: scenes, weight: .nan}]",
    "\n".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9) if i else 1}]" for i in range(12)),
)  # fmt: skip


def _yaml(dice: Random, text: str) -> str:
    """A line of YAML's rarer features, more often instead of all the rest."""
    lines, line = text.split("\n"), dice.choice(_YAML)
    place = dice.randrange(len(lines) + 1)
    return dice.choice((line, "\n".join([*lines[:place], line, *lines[place:]]), f"{text}\n{line}\n"))


# -- JSON values


def _tree(dice: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """One value of a JSON text, or of one of its lines, of another type, missing, or somewhere else."""
    try:
        text = data.decode()
        lines = [text] if _parsed(text) is not None else text.split("\n")
        here = dice.randrange(len(lines))
        value = json.loads(lines[here])
        lines[here] = json.dumps(_changed(dice, value), ensure_ascii=bool(dice.randrange(2)))
        return "\n".join(lines).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return data


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _changed(dice: Random, value: Any) -> Any:
    """A value of which one part, at any depth, is another."""
    if isinstance(value, dict) and value and dice.randrange(6):
        key = dice.choice(list(value))
        match dice.randrange(10):
            case 0:
                return {k: v for k, v in value.items() if k != key}
            case 1:
                return value | {dice.choice(_TEXTS): value[key]}
            case 2:
                return {(dice.choice(_TEXTS) if k == key else k): v for k, v in value.items()}
            case 3:
                return value | {key: value[dice.choice(list(value))]}
        return value | {key: _changed(dice, value[key])}
    if isinstance(value, list) and value and dice.randrange(6):
        place = dice.randrange(len(value))
        match dice.randrange(8):
            case 0:
                return value[:place] + value[place + 1 :]
            case 1:
                return [*value, *value[place:]] * dice.choice((1, 1, 50))
        return [*value[:place], _changed(dice, value[place]), *value[place + 1 :]]
    return _strange(dice, value)


def _strange(dice: Random, value: Any) -> Any:
    simple = (
        None, True, False, 0, 1, -1, 2, 0.5, -0.0, 1e308, float("inf"), float("-inf"), float("nan"), 2**31, 2**63, 10**30,
        10**400, 999_999,
        [], {}, [[]], [{}], [value], [value] * 1000, {"a": value}, str(value)[:1000], [None], [1, 2], [1, 2, 3], {"x": 1},
        "false", "\ud800",
    )  # fmt: skip
    if isinstance(value, (int, float)) and not isinstance(value, bool) and dice.randrange(2):
        return dice.choice((value + 1, value - 1, -value, value * 2, value * 1000, value * 10**9, value // 2, str(value), 0))
    return dice.choice((dice.choice(simple), dice.choice(_TEXTS)))


# -- formats


def _tar_header(dice: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """One field of a header replaced, its checksum right again."""
    starts = [place for place in range(0, len(data) - _BLOCK, _BLOCK) if data[place + 257 : place + 262] == b"ustar"]
    if not starts:
        return data
    start = dice.choice(starts)
    header = bytearray(data[start : start + _BLOCK])
    at, size = dice.choice(
        ((0, 100), (100, 8), (124, 12), (124, 12), (124, 12), (136, 12), (156, 1), (157, 100), (257, 8), (345, 155))
    )
    value = dice.choice(
        (b"7" * 11, b"0" * 11, b"%011o" % dice.choice(_SIZES[:10]), b"\x80" + bytes(max(0, size - 2)) + b"\xff",
        b"\xff" * size, b"", b"-1", b"a.b.c.jpg",
         b"x", b"L", b"K", b"2", b"5", b"S", b"g", b"0", b"../up.jpg", b"/abs.jpg", b"caf\xe9.jpg", b"._001.jpg",
         b"\x1b[31m.txt", b"001.jpg", b"dir/002.txt")
    )  # fmt: skip
    header[at : at + size] = value[:size].ljust(size, b"\0")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return data[:start] + bytes(header) + data[start + _BLOCK :]


def _tar_blocks(dice: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Whole blocks zeroed, doubled, deleted or moved."""
    blocks = [data[place : place + _BLOCK] for place in range(0, len(data), _BLOCK)]
    here, there = dice.randrange(max(1, len(blocks))), dice.randrange(max(1, len(blocks)))
    low, high = sorted((here, there))
    match dice.randrange(4):
        case 0:
            blocks[here : here + 1] = [bytes(_BLOCK)]
        case 1:
            blocks[here:here] = blocks[low : high + 1]
        case 2:
            del blocks[low : high + 1]
        case _:
            blocks.insert(there, blocks.pop(here) if blocks else b"")
    return b"".join(blocks)


def _png_chunk(dice: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """A PNG whose header or another chunk holds strange numbers, its checksum right again."""
    if data[:4] != b"\x89PNG":
        return data
    width, height = (dice.choice((0, 1, 16, 1000, 30_000, 2**31 - 1, 2**32 - 1)) for _ in range(2))
    depth, colour, rest = (
        dice.choice((1, 2, 8, 16, 3, 0)),
        dice.choice((0, 2, 3, 4, 6, 1, 9)),
        bytes((0, 0, dice.randrange(3))),
    )
    kind, held = b"IHDR", struct.pack(">IIBB", width, height, depth, colour) + rest
    if dice.randrange(3) == 0:
        kind, held = (
            dice.choice((b"tRNS", b"PLTE", b"eXIf", b"iCCP", b"zTXt", b"acTL", b"IEND", b"IDAT")),
            dice.randbytes(dice.randrange(80)),
        )
    chunk = struct.pack(">I", len(held)) + kind + held + struct.pack(">I", zlib.crc32(kind + held))
    return data[:8] + chunk + data[33:] if kind == b"IHDR" else data[:33] + chunk + data[33:]


def _jpeg_scans(dice: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """The last scan of a JPEG again and again: each costs a pass over all pixels; often of a large image."""
    if data[:2] != b"\xff\xd8" or (scan := data.rfind(b"\xff\xda")) < 0:
        return data
    if dice.randrange(2) and (frame := max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))) > 0:
        data = (
            data[: frame + 5]
            + struct.pack(">HH", *dice.choice(((3000, 3000), (65_535, 100), (8, 65_500))))
            + data[frame + 9 :]
        )
    return data[:scan] + data[scan:-2] * dice.choice((2, 50, 3000)) + data[-2:]


def _tensor_header(dice: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """The header of safetensors changed, its length right again, or the length alone changed."""
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > len(data):
        return data
    if dice.randrange(4) == 0:
        return dice.choice(_SIZES).to_bytes(8, "little") + data[8:]
    header = data[8 : 8 + size]
    kinds = ("BOOL", "U8", "I8", "F8_E4M3", "I16", "F16", "BF16", "I32", "F32", "F64", "I64", "C64", "F4", "X", "")
    change = dice.choice((
        lambda: _tree(dice, header, others),
        lambda: re.sub(rb'"F32"', f'"{dice.choice(kinds)}"'.encode(), header, count=dice.choice((0, 1))),
        lambda: _replaced(dice, header.decode(), r"\[\d+,\d+\]", ["[0,0]", "[0,4]", "[4,0]", "[0,18446744073709551615]",
        "[1]"]).encode(),
        lambda: _key_twice(dice, header.decode()).encode(),
        lambda: b" " * dice.choice((1, 1000, 10**6)) + header,
    ))  # fmt: skip
    with suppress(UnicodeDecodeError):
        header = change()
    return len(header).to_bytes(8, "little") + header + data[8 + size :]


def _tensor_values(dice: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Weights that are NaN, infinite or huge."""
    size = 8 + int.from_bytes(data[:8], "little")
    if size >= len(data) - 8:
        return data
    place = size + 4 * dice.randrange((len(data) - size) // 4)
    value = struct.pack("<f", dice.choice((float("nan"), float("inf"), float("-inf"), 3e38, 1e-40, 1e30)))
    times = dice.choice((1, 1, 100, 10**6))
    return (data[:place] + value * min(times, (len(data) - place) // 4)).ljust(len(data), b"\0")[: len(data)]


_PRE_TOKENIZERS = (
    {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False},
    {"type": "Split", "pattern": {"Regex": "(\\w|\\w\\w)*!"}, "behavior": "Removed", "invert": True},
    {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": False},
    {"type": "Split", "pattern": {"String": ""}, "behavior": "Isolated", "invert": False},
    {"type": "Sequence", "pretokenizers": [{"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True,
    "use_regex": True}] * 50},
    {"type": "Metaspace", "replacement": "ab", "prepend_scheme": "always", "split": True},
    None,
)  # fmt: skip
_NORMALIZERS = (
    {"type": "Replace", "pattern": {"String": ""}, "content": "x" * 1000},
    {"type": "Sequence", "normalizers": [{"type": "Replace", "pattern": {"String": "a"}, "content": "aaaa"}] * 30},
    {"type": "Prepend", "prepend": "x" * 100_000},
    {"type": "Precompiled", "precompiled_charsmap": "AAAA"},
    {"type": "Lowercase"},
)  # fmt: skip


def _tokenizer_parts(dice: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Parts of a tokenizer that explode, never end, or do not fit each other."""
    stored = _parsed(data.decode("utf-8", "replace"))
    if not isinstance(stored, dict):
        return data
    vocabulary = {"a": 0, "b": 2**32 - 1, "ab": 1}
    padding = {"strategy": {"Fixed": dice.choice((64, 10**7, 10**12))}, "direction": "Right", "pad_to_multiple_of": None,
    "pad_id": 0,
               "pad_type_id": 0, "pad_token": "[PAD]"}  # fmt: skip
    added = {"id": dice.choice((0, 5, 10**6, 2**32 - 1, -1)), "content": dice.choice(_TEXTS), "single_word": False,
    "lstrip": False, "rstrip": False,
             "normalized": False, "special": True}  # fmt: skip
    models = (
        {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
        {
            "type": "Unigram",
            "unk_id": dice.choice((None, 7)),
            "vocab": [["a", -1.0], ["b", float("1e300")]],
            "byte_fallback": True,
        },
        {
            "type": "WordPiece",
            "vocab": vocabulary,
            "unk_token": "z",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 10**9,
        },
        {"type": "BPE", "vocab": vocabulary, "merges": [["a", "b"]] * 3, "unk_token": None},
        {"type": "BPE", "vocab": {}, "merges": []},
    )
    key, values = dice.choice((
        ("pre_tokenizer", _PRE_TOKENIZERS), ("normalizer", _NORMALIZERS), ("padding", (padding,)), ("added_tokens",
        ([added], [added] * 500, [])),
        ("model", models), ("truncation", ({"direction": "Right", "max_length": 1, "strategy": "LongestFirst",
        "stride": 5},)), ("decoder", _NORMALIZERS[:1]),
    ))  # fmt: skip
    return json.dumps(stored | {key: dice.choice(values)}).encode("utf-8", "surrogatepass")


def _parquet_columns(dice: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """A valid table with columns of other types, without some values, or in strange groups."""
    table = pq.read_table(io.BytesIO(data if data in others else dice.choice(others)))
    column = dice.choice(table.column_names)
    rows, place = len(table), table.column_names.index(column)
    texts, blobs = [f"text {i}" for i in range(rows)], [b"\x89PNG"] * rows
    strange: tuple[Callable[[], Any], ...] = (
        lambda: pa.array([None] * rows),
        lambda: pa.array([None] * rows, pa.string()),
        lambda: pa.array(range(rows)),
        lambda: pa.array([float("nan")] * rows),
        lambda: pa.array([[text] for text in texts]),
        lambda: pa.array([[[text]] for text in texts]),
        lambda: pa.array([[blob] for blob in blobs]),
        lambda: pa.array(texts).dictionary_encode(),
        lambda: pa.array(blobs).dictionary_encode(),
        lambda: pa.array([{"bytes": blob, "path": dice.choice(_TEXTS[:40]).replace("\0", "")} for blob in blobs]),
        lambda: pa.array([{"bytes": None, "path": "../up.png"}] * rows, pa.struct([("bytes", pa.binary()), ("path",
        pa.string())])),
        lambda: pa.array([{"path": "a.png"}] * rows),
        lambda: pa.array([[{"from": "human", "value": "<image>?"}, {"from": "gpt", "value": text}] for text in texts]),
        lambda: pa.array([[{"role": "user", "content": text}, {"role": None, "content": text}] for text in texts]),
        lambda: pa.array([[{"from": i, "value": i}] for i in range(rows)]),
        lambda: pa.array([[]] * rows, pa.list_(pa.string())),
        lambda: pa.array([b"\xff\xfe"] * rows),
        lambda: pa.array([text.encode("latin-1") + b"\xe9" for text in texts]).cast(pa.string(), safe=False),
        lambda: pa.array([True] * rows),
        lambda: pa.array([{"a": 1}] * rows),
        lambda: pa.array([[("a", "b")]] * rows, pa.map_(pa.string(), pa.string())),
        lambda: pa.array([2**63 - 1] * rows).cast(pa.timestamp("ns")),
    )  # fmt: skip
    try:
        match dice.randrange(6):
            case 0:
                table = table.drop_columns([column])
            case 1:
                table = table.append_column(column, table[column])
            case 2:
                table = table.slice(0, dice.choice((0, 1)))
            case 3:  # a few bytes that stand for gigabytes
                many = dice.choice((10, 10, 6000))
                large = pa.DictionaryArray.from_arrays(
                    pa.array([0] * many, pa.int32()), pa.array([dice.choice((b"x", "x")) * 2**19])
                )
                table = pa.table({name: large if name == column else pa.array(["t"] * many) for name in table.column_names})
            case _:
                table = table.set_column(place, column, dice.choice(strange)())
        out = io.BytesIO()
        pq.write_table(
            table,
            out,
            row_group_size=dice.choice((1, 4, 1000)) if len(table) < 100 else 1000,
            compression=dice.choice(("none", "snappy", "zstd")),
        )
        return out.getvalue()
    except (pa.ArrowException, OSError):
        return data


def _parquet_footer(dice: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Bits of the footer flipped, or its length changed."""
    if data[-4:] != b"PAR1" or len(data) < 12:
        return data
    size = int.from_bytes(data[-8:-4], "little")
    if size == 0 or dice.randrange(5) == 0:
        return data[:-8] + (dice.choice(_SIZES) % 2**32).to_bytes(4, "little") + data[-4:]
    changed, start = bytearray(data), max(4, len(data) - 8 - size)
    for _ in range(dice.choice((1, 1, 2, 5))):
        changed[dice.randrange(start, len(data) - 8)] = dice.choice(
            (0, 1, 0x15, 0x16, 0x7F, 0x80, 0xFF, dice.randrange(256))
        )
    return bytes(changed)


MUTATIONS: dict[str, dict[str, Mutation]] = {
    "bytes": {
        "flip bits": _flip_bits, "cut off": _cut_off, "delete": _delete, "duplicate": _duplicate, "overwrite": _overwrite,
        "insert": _insert,
        "splice": _splice, "number": _number, "foreign": _foreign,
    },
    "text": {
        "number": _text(_other_number), "string": _text(_other_string), "word": _text(_other_word), "lines": _text(_lines),
        "control": _text(_control), "nested": _text(_nested), "coded": _text(_coded),
    },
    "keys": {"twice": _text(_key_twice)},
    "yaml": {"features": _text(_yaml)},
    "json": {"value": _tree},
    "tar": {"header": _tar_header, "blocks": _tar_blocks},
    "image": {"png chunk": _png_chunk, "jpeg scans": _jpeg_scans},
    "safetensors": {"header": _tensor_header, "values": _tensor_values},
    "tokenizer": {"parts": _tokenizer_parts},
    "parquet": {"columns": _parquet_columns, "footer": _parquet_footer},
}  # fmt: skip
