"""Kinds of files that are fuzzed: valid seeds made in code, the product's call that reads them, and what may not be lost.

In: a kind's name. Out: `Kind` with three functions. `seeds` makes small valid files, the same ones every time. `read` opens
one as a user would and reads all of it; it returns what was told. `lost` compares that with what the damaged file still
holds, found by other means than the product's (lines that are as they were, the standard library's parsers, a walk over
tar headers), and yields what is gone, or was taken, without a word.
"""

from __future__ import annotations

import io
import json
import logging
import math
import re
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
from fuzz_damage import INJECTION
from PIL import Image
from safetensors.torch import load as load_tensors

import genlip
from genlip.data.captions import CaptionConfig, Captions, load_tokenizer, train_tokenizer
from genlip.data.examples import plain_text
from genlip.data.images import ImageConfig, prepare_image
from genlip.data.order import Draw
from genlip.data.preprocessing import Preprocessing, save_preprocessing
from genlip.data.samples import ReadSample, SampleReader
from genlip.data.sources import Mixture, Procedural, locate, open_source
from genlip.evaluate.attention.measure import measure_attention
from genlip.evaluate.captioning.measure import CaptioningConfig, measure_captioning
from genlip.evaluate.features.measure import measure_features
from genlip.evaluate.model_page import write_model_report
from genlip.evaluate.readout.measure import measure_readout
from genlip.evaluate.result_files import write_result
from genlip.model.config import GenLIPConfig
from genlip.model.genlip import GenLIP
from genlip.recipes.recipe import load_recipe, to_yaml
from genlip.speaker import Speaker
from genlip.train.run_log import read_events
from genlip.train.run_page import write_report
from genlip.train.sample_log import read_samples

__all__ = ["KINDS", "Kind", "SeedFile"]

ROWS = 6
MOST_READ = 200  # examples of a source: a broken count may promise billions
CAPTIONS = [f"a {colour} shape, number {n}" for n, colour in enumerate(("red", "blue", "green", "grey", "pink", "black"))]
IMAGES = ImageConfig(size=32, max_pixels=10_000_000)
MODEL = GenLIPConfig(
    hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, vocab_size=300, patch_size=8
)
# The settings that a model's file may name, and the type that each has.
_TYPES = {name: type(value) for name, value in vars(MODEL).items() if isinstance(value, (bool, int, float, str))}


@dataclass(frozen=True)
class SeedFile:
    """A valid file with those that belong to it.

    Attributes:
        path: of the file, in its folder.
        data: its bytes.
        forms: of mutations that fit it, see `fuzz_damage.MUTATIONS`.
        beside: other files of the folder, by path.
        opened: what is opened, where it is not the file itself; "." is the folder.
        held: by name of an image, its caption, for files that hold examples.
    """

    path: str
    data: bytes
    forms: tuple[str, ...]
    beside: Mapping[str, bytes] = field(default_factory=dict)
    opened: str = ""
    held: Mapping[str, str] = field(default_factory=dict)


class Told(NamedTuple):
    """What a source told: how many examples it has, and keys, messages and captions of those that were read."""

    length: int
    names: str
    captions: dict[str, list[str]]
    messages: list[str]
    parts: int


class Kind(NamedTuple):
    """See the module."""

    seeds: Callable[[], list[SeedFile]]
    read: Callable[[Path], Any]
    lost: Callable[[SeedFile, bytes, Any, str], Iterator[str]]


# -- what all kinds share


def _picture(number: int, mode: str = "RGB", side: int = 16) -> Image.Image:
    pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def _encoded(number: int, name: str, mode: str = "RGB", side: int = 16, **options: Any) -> bytes:
    out = io.BytesIO()
    _picture(number, mode, side).save(out, name, **options)
    return out.getvalue()


def _name(row: int) -> str:
    return f"img{row:02}.png"


_PICTURES = {_name(row): _encoded(row, "PNG") for row in range(ROWS)}
_HELD = dict(zip(_PICTURES, CAPTIONS, strict=True))


def _tokenizer() -> Any:
    return train_tokenizer([*CAPTIONS, "the left and the right and a large circle"], 290)


def _keys_twice(data: bytes) -> bool:
    """Whether a JSON text, or one of its lines, holds a key twice."""
    found = False

    def pairs(items: list[tuple[str, Any]]) -> None:
        nonlocal found
        found = found or len({key for key, _ in items}) < len(items)

    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return False
    for part in [text, *text.split("\n")]:
        before = found
        try:
            json.loads(part, object_pairs_hook=pairs)
        except (ValueError, RecursionError):
            found = before  # what is no JSON holds no keys
    return found


def _yaml_keys_twice(data: bytes) -> bool:
    try:
        nodes = [yaml.compose(data.decode(), yaml.CSafeLoader)]
    except (yaml.YAMLError, ValueError, RecursionError):
        return False
    seen: set[int] = set()
    while nodes:
        node = nodes.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
            if len(set(names)) < len(names):
                return True
            nodes += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            nodes += node.value
    return False


def _nothing(seed: SeedFile, data: bytes, found: Any, said: str) -> Iterator[str]:
    return iter(())


# -- images


def _image_seeds() -> list[SeedFile]:
    frames = [_picture(n) for n in range(3)]
    made = {
        "a.png": _encoded(0, "PNG"), "p.png": _encoded(0, "PNG", "P"), "rgba.png": _encoded(1, "PNG", "RGBA"),
        "g.png": _encoded(2, "PNG", "L"),
        "one.png": _encoded(2, "PNG", "1"), "a.jpg": _encoded(3, "JPEG", side=64), "prog.jpg": _encoded(3, "JPEG", side=64,
        progressive=True),
        "cmyk.jpg": _encoded(4, "JPEG", "CMYK"), "a.webp": _encoded(5, "WEBP"), "l.webp": _encoded(5, "WEBP",
        lossless=True), "a.gif": _encoded(6, "GIF"),
        "anim.gif": _encoded(6, "GIF", save_all=True, append_images=frames), "a.bmp": _encoded(7, "BMP"),
        "a.tif": _encoded(8, "TIFF"),
        "lzw.tif": _encoded(8, "TIFF", compression="tiff_lzw"), "float.tif": _encoded(8, "TIFF", "F"), "a.ppm": _encoded(9,
        "PPM"),
        "anim.webp": _encoded(6, "WEBP", save_all=True, append_images=frames),
    }  # fmt: skip
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    made["exif.jpg"] = _encoded(3, "JPEG", exif=exif)
    return [SeedFile(name, data, ("bytes", "bytes", "image")) for name, data in made.items()]


def _read_image(file: Path) -> Any:
    return prepare_image(file, IMAGES, MODEL)


def _image_lost(seed: SeedFile, data: bytes, found: Any, said: str) -> Iterator[str]:
    if found.patches.shape != (16, 192) or found.patches.dtype != np.uint8:
        yield f"patches of {found.patches.shape} {found.patches.dtype}"
    cut = len(data) < 0.7 * len(seed.data) and seed.data.startswith(data)
    if cut and seed.path in ("a.png", "g.png", "a.jpg", "a.webp", "a.bmp", "a.ppm"):
        yield f"an image cut off at {len(data)} of {len(seed.data)} bytes was taken as whole"


# -- sources of examples


def _read_source(file: Path) -> Told:
    source = open_source(str(file))
    reader = SampleReader(source, IMAGES, _captions(), MODEL, max_tokens=512)
    places = range(min(len(source), MOST_READ))
    read = reader.read([Draw(0, index) for index in places])
    captions: dict[str, list[str]] = {}
    for index, one in zip(places, read, strict=True):
        if isinstance(one, ReadSample):
            part, _, inner = locate(source, 0, index)
            captions.setdefault(Path(one.key).name, []).append(plain_text(part.caption(inner)))
    messages = [one.message for one in read if not isinstance(one, ReadSample)]
    names = "\n".join([*(one.key for one in read), *messages])
    return Told(len(source), names, captions, messages, len(source.sources) if isinstance(source, Mixture) else 1)


def _read_tar(file: Path) -> Told:
    """Opened twice: the second time its index is there, and what is wrong must be told again."""
    logging.disable(logging.CRITICAL)
    try:
        open_source(str(file))
    finally:
        logging.disable(logging.NOTSET)
    return _read_source(file)


_KEPT: list[Captions] = []


def _captions() -> Captions:
    if not _KEPT:
        _KEPT.append(Captions(_tokenizer(), CaptionConfig()))
    return _KEPT[0]


def _missing(expected: Mapping[str, str], told: Told, said: str) -> Iterator[str]:
    """Examples that were neither read with their caption nor named in a message."""
    for name, caption in expected.items():
        if name not in told.names and name not in said:
            yield f"{name} was neither read nor named"
        elif (read := told.captions.get(name)) and caption not in read:
            yield f"{name} has another caption: {read[0][:80]!r}, in the file {caption!r}"


def _table_seeds() -> list[SeedFile]:
    rows = [{"path": name, "caption": caption} for name, caption in _HELD.items()]
    more = [row | {"url": "http://x/y", "width": 16, "tags": ["a", "b"], "meta": {"k": None}} for row in rows]
    asked = [
        {"image": name, "conversations": [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": caption}]}
        for name, caption in _HELD.items()
    ]
    talk = {name: f"What?\n{caption}" for name, caption in _HELD.items()}
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    made = {
        "t.csv": "path,caption\n" + "".join(f'{name},"{caption}"\n' for name, caption in _HELD.items()),
        "u.csv": "id,path,caption\n" + "".join(f"{n},{name},{caption.replace(',', ' and')}\n" for n, (name,
        caption) in enumerate(_HELD.items())),
        "t.tsv": "path\tcaption\n" + "".join(f"{name}\t{caption}\n" for name, caption in _HELD.items()),
        "t.jsonl": lines,
        "more.jsonl": "".join(json.dumps(row) + "\n" for row in more),
        "asked.jsonl": "".join(json.dumps(row) + "\n" for row in asked),
    }  # fmt: skip
    held = {"u.csv": {name: caption.replace(",", " and") for name, caption in _HELD.items()}, "asked.jsonl": talk}
    tables = [
        SeedFile(name, text.encode(), ("bytes", "text", "text", *(("json", "keys") if name.endswith("jsonl") else ())),
        _PICTURES, "",
                 held.get(name, _HELD))
        for name, text in made.items()
    ]  # fmt: skip
    beside = {f"folder/{name}": data for name, data in _PICTURES.items()}
    texts = {f"folder/{Path(name).stem}.txt": caption.encode() for name, caption in _HELD.items()}
    whole = beside | texts
    for path in ("folder/img02.png", "folder/img03.txt"):
        others = {name: data for name, data in whole.items() if name != path}
        kept = {name: caption for name, caption in _HELD.items() if Path(name).stem != Path(path).stem}
        tables.append(
            SeedFile(path, whole[path], ("bytes", "text") if path.endswith("txt") else ("bytes",), others, "folder", kept)
        )
    return tables


def _table_lost(seed: SeedFile, data: bytes, told: Told, said: str) -> Iterator[str]:
    if seed.opened:  # a folder: all but the damaged pair
        yield from _missing(seed.held, told, said)
        return
    if seed.path.endswith("jsonl") and _keys_twice(data):
        yield "a key that stands twice was read"
    old, new = seed.data.split(b"\n"), data.split(b"\n")
    if not seed.path.endswith("jsonl") and (new[0] != old[0] or data.count(b'"') != seed.data.count(b'"')):
        return  # columns have other meanings, or quotes other ends
    kept = {
        name: caption
        for name, caption in seed.held.items()
        if any(name.encode() in line for line in set(old[1:]) & set(new[1:]))
    }
    yield from _missing(kept, told, said)


def _json_seeds() -> list[SeedFile]:
    rows = [{"path": name, "caption": caption} for name, caption in _HELD.items()]
    coco = {
        "info": {"year": 2017},
        "images": [{"id": n, "file_name": name, "width": 16} for n, name in enumerate(_HELD)],
        "annotations": [{"id": 9 + n, "image_id": n, "caption": caption} for n, caption in enumerate(_HELD.values())],
    }
    stems = [Path(name).stem for name in _HELD]
    textcaps = {"data": [{"image_id": stem, "caption_str": caption} for stem, caption in zip(stems, CAPTIONS, strict=True)]}
    jpegs = {f"{stem}.jpg": data for stem, data in zip(stems, _PICTURES.values(), strict=True)}
    forms = ("bytes", "text", "text", "json", "json", "keys")
    return [
        SeedFile("rows.json", json.dumps(rows, indent=1).encode(), forms, _PICTURES, "", _HELD),
        SeedFile("coco.json", json.dumps(coco, indent=1).encode(), forms, _PICTURES, "", _HELD),
        SeedFile("textcaps.json", json.dumps(textcaps).encode(), forms, jpegs, "", {f"{s}.jpg": c for s, c in zip(stems,
        CAPTIONS, strict=True)}),
    ]  # fmt: skip


def _json_lost(seed: SeedFile, data: bytes, told: Told, said: str) -> Iterator[str]:
    if _keys_twice(data):
        yield "a key that stands twice was read"
        return
    try:
        old, new = json.loads(seed.data), json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        yield "what is no JSON was read"
        return
    yield from _missing(dict(_json_kept(old, new)), told, said)


def _json_kept(old: Any, new: Any) -> Iterator[tuple[str, str]]:
    """The examples that are in a changed file as they were."""
    if isinstance(old, list):
        yield from ((row["path"], row["caption"]) for row in old if isinstance(new, list) and row in new)
    elif isinstance(new, dict) and "data" in old:
        some = new.get("data") if isinstance(new.get("data"), list) else []
        for row in old["data"]:
            alike = [one for one in some if isinstance(one, dict) and one.get("image_id") == row["image_id"]]
            if alike == [row]:
                yield f"{row['image_id']}.jpg", row["caption_str"]
    elif isinstance(new, dict) and isinstance(new.get("images"), list) and isinstance(new.get("annotations"), list):
        ids = [image.get("id") for image in new["images"] if isinstance(image, dict)]
        for image, said in zip(old["images"], old["annotations"], strict=True):
            about = [one for one in new["annotations"] if isinstance(one, dict) and one.get("image_id") == image["id"]]
            if image in new["images"] and about == [said] and ids.count(image["id"]) == 1:
                yield image["file_name"], said["caption"]


def _tar(members: Mapping[str, bytes], form: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(data), 1_700_000_000.5 if form == tarfile.PAX_FORMAT else 1_700_000_000
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def _tar_seeds() -> list[SeedFile]:
    plain = {
        f"{row:03}.{suffix}": data
        for row in range(ROWS)
        for suffix, data in (("png", _PICTURES[_name(row)]), ("txt", CAPTIONS[row].encode()))
    }
    both = {
        f"{row:03}.{suffix}": data
        for row in range(ROWS)
        for suffix, data in (
            ("jpg", _encoded(row, "JPEG")), ("json", json.dumps({"caption": CAPTIONS[row], "width": 16}).encode()), ("txt",
            CAPTIONS[row].encode())
        )
    }  # fmt: skip
    described = {name: data for name, data in both.items() if not name.endswith("txt")}
    long = {f"{'folder/' * 20}{name}": data for name, data in plain.items()}
    forms, held = ("bytes", "tar", "tar"), {f"{row:03}": CAPTIONS[row] for row in range(ROWS)}
    return [
        SeedFile("plain.tar", _tar(plain, tarfile.USTAR_FORMAT), forms, {}, "", held),
        SeedFile("both.tar", _tar(both, tarfile.GNU_FORMAT), forms, {}, "", held),
        SeedFile("json.tar", _tar(described, tarfile.PAX_FORMAT), (*forms, "text", "keys"), {}, "", held),
        SeedFile("long.tar", _tar(long, tarfile.GNU_FORMAT), forms, {}, "", held),
        SeedFile("pax.tar", _tar(long, tarfile.PAX_FORMAT), forms, {}, "", held),
    ]


def _tar_lost(seed: SeedFile, data: bytes, told: Told, said: str) -> Iterator[str]:
    """Samples whose blocks stand as they were, where a walk from the beginning comes by; and an end before the end."""
    reached, end = _walked(data)
    kept = {}
    for name, start, stop in _sample_spans(seed.data):
        block = seed.data[start:stop]
        once = data.count(f"{name}.".encode()) == seed.data.count(f"{name}.".encode())  # no member has its name besides
        if once and data.find(block) in reached:
            kept[name] = seed.held[name]
    for name, caption in kept.items():
        if f":{name}" not in told.names and f"/{name}" not in told.names and not said:
            yield f"sample {name} was neither read nor named"
        else:
            read = [text for key, texts in told.captions.items() if key.split(":")[-1].endswith(name) for text in texts]
            if read and caption not in read:
                yield f"sample {name} has another caption: {read[0][:80]!r}"
    if data[end:].strip(b"\0") and not said and not told.messages:
        yield f"{len(data[end:].strip(bytes(1)))} bytes after block {end // 512} were passed over without a word"


def _sample_spans(data: bytes) -> list[tuple[str, int, int]]:
    """Name, first and last byte of each sample of a sound tar, extended headers included."""
    spans: dict[str, tuple[int, int]] = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = tar.getmembers()
        ends = [*(member.offset for member in members[1:]), members[-1].offset_data + -(-members[-1].size // 512) * 512]
        for member, end in zip(members, ends, strict=True):
            name = Path(member.name).name.split(".")[0]
            spans[name] = (min(spans.get(name, (member.offset, 0))[0], member.offset), end)
    return [(name, *span) for name, span in spans.items()]


def _walked(data: bytes) -> tuple[set[int], int]:
    """The places of headers that a walk meets, and where it ends: at two empty blocks, or a header that is none."""
    reached: set[int] = set()
    place = 0
    while place + 512 <= len(data):
        header = data[place : place + 512]
        if header == bytes(512):
            return reached, place
        size = _number_of(header[124:136])
        total = sum(header) - sum(header[148:156]) + 8 * 32
        if size is None or _number_of(header[148:156]) != total:
            return reached, place
        reached.add(place)
        place += 512 + -(-size // 512) * 512
    return reached, place


def _number_of(field: bytes) -> int | None:
    """In octal digits or, after a byte of 128, in binary; None where it is neither."""
    if field[0] == 128:
        return int.from_bytes(field[1:], "big")
    digits = re.fullmatch(rb" *([0-7]+)[ \0]*", field)
    return int(digits[1], 8) if digits else None


def _parquet_seeds() -> list[SeedFile]:
    images = pa.array([{"bytes": data, "path": name} for name, data in _PICTURES.items()])
    bare = pa.array(list(_PICTURES.values()), pa.binary())
    talk = pa.array([[{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": text}] for text in CAPTIONS])
    tables = {
        "hub.parquet": pa.table({"image": images, "text": CAPTIONS, "number": list(range(ROWS))}),
        "bare.parquet": pa.table({"jpg": bare, "caption": pa.array(CAPTIONS).dictionary_encode()}),
        "talk.parquet": pa.table({"image": bare, "conversations": talk}),
        "many.parquet": pa.table({"image": bare, "captions": pa.array([[text, text] for text in CAPTIONS])}),
    }
    made = []
    for number, (name, table) in enumerate(tables.items()):
        out = io.BytesIO()
        pq.write_table(
            table,
            out,
            row_group_size=2 + number,
            compression=("none", "snappy", "zstd", "gzip")[number],
            write_page_checksum=True,
        )
        made.append(SeedFile(name, out.getvalue(), ("bytes", "parquet", "parquet")))
    return made


def _parquet_lost(seed: SeedFile, data: bytes, told: Told, said: str) -> Iterator[str]:
    """The footer tells how many rows there are; each must be read or named."""
    try:
        rows = pq.read_metadata(io.BytesIO(data))
        held = sum(rows.row_group(number).num_rows for number in range(rows.num_row_groups))
    except (pa.ArrowException, OSError):
        yield "a file was read whose footer cannot be"
        return
    if told.length != held:
        yield f"{told.length} of {held} rows"


# -- YAML


def _yaml_seeds() -> list[SeedFile]:
    packaged = {name: (files("genlip.recipes") / f"{name}.yaml").read_text() for name in ("quickstart", "stage1_l16_cpu")}
    own = (
        "base: quickstart\nout: runs/mine\nsteps: 20k\noptimizer:\n  learning_rate: 1e-3\n"
        "data:\n  source: images/\n  workers: 2\nmodel:\n  vocab_size: 300\n"
    )
    rows = "".join(json.dumps({"path": name, "caption": caption}) + "\n" for name, caption in _HELD.items())
    beside = _PICTURES | {"t.jsonl": rows.encode(), "images/a.png": _PICTURES["img00.png"], "images/a.txt": b"a thing"}
    mixture = (
        "sources:\n  - source: t.jsonl\n    fields: caption\n    weight: 2\n"
        '  - source: images\n    weight: 1\n  - source: "t.jsonl"\n    weight: 0.5\n'
    )
    plain = "sources: [{source: t.jsonl, fields: {caption: 0.8}}, {source: images}]\n"
    forms = ("bytes", "text", "text", "text", "yaml", "yaml", "keys")
    recipes = {
        **{f"{name}_own.yaml": text for name, text in packaged.items()},
        "own.yaml": own,
        "run.yaml": to_yaml(load_recipe("quickstart")),
    }
    return [
        *(SeedFile(name, text.encode(), forms) for name, text in recipes.items()),
        *(SeedFile(name, text.encode(), forms, beside) for name, text in (("mixture.yaml", mixture), ("plain_mixture.yaml",
        plain))),
    ]  # fmt: skip


def _read_yaml(file: Path) -> Any:
    return _read_source(file) if "mixture" in file.name else load_recipe(file)


def _yaml_lost(seed: SeedFile, data: bytes, found: Any, said: str) -> Iterator[str]:
    if _yaml_keys_twice(data):
        yield "a key that stands twice was read"
        return
    try:
        stored = yaml.safe_load(data.decode())
    except (yaml.YAMLError, ValueError):
        yield "what is no YAML was read"
        return
    if isinstance(found, Told):
        if found.parts != len(stored["sources"]):
            yield f"{found.parts} of {len(stored['sources'])} parts"
        return
    for key in ("out", "seed"):
        if isinstance(stored, dict) and type(stored.get(key)) in (str, int) and str(getattr(found, key)) != str(stored[key]):
            yield f"{key} is {getattr(found, key)!r}, in the file {stored[key]!r}"


# -- a model's folder


def _model_files() -> dict[str, bytes]:
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        genlip.save(GenLIP(MODEL), folder)
        save_preprocessing(folder, Preprocessing(images=ImageConfig(size=32)), _tokenizer())
        return {file.name: file.read_bytes() for file in sorted(Path(folder).iterdir())}


def _of_model(name: str, *forms: str) -> Callable[[], list[SeedFile]]:
    def seeds() -> list[SeedFile]:
        held = _model_files()
        made = [SeedFile(name, held[name], forms, {other: data for other, data in held.items() if other != name}, ".")]
        if name == "config.json":  # as Transformers writes it
            scaled = json.loads(held[name]) | {
                "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}
            }
            scaled = {key: value for key, value in scaled.items() if key not in ("rope_theta", "mrope_section")}
            made.append(SeedFile(name, json.dumps(scaled).encode(), forms, made[0].beside, "."))
        return made

    return seeds


def _read_speaker(folder: Path) -> tuple[Speaker, Any]:
    speaker = Speaker.load(folder)
    (features,) = speaker.encode([_picture(0)])
    if speaker._captions is not None:
        speaker.caption([_picture(0)], max_tokens=2)
    return speaker, features


def _read_model(folder: Path) -> Any:
    return genlip.load(folder)


def _config_lost(seed: SeedFile, data: bytes, found: Any, said: str) -> Iterator[str]:
    """Every setting that the file names is the model's, with its type."""
    model = found[0].model if isinstance(found, tuple) else found
    if _keys_twice(data):
        yield "a key that stands twice was read"
        return
    stored, read = json.loads(data), dict(vars(model.config))
    for key, kind in _TYPES.items():
        value = stored.get(key, read.get(key)) if isinstance(stored, dict) else None
        fits = type(value) is kind or (kind is float and type(value) is int)
        if not fits or value != read.get(key) or (kind is float and not math.isfinite(value)):
            yield f"{key} {str(value)[:50]!r} was read as {read.get(key)!r}"


def _preprocessing_lost(seed: SeedFile, data: bytes, found: tuple[Speaker, Any], said: str) -> Iterator[str]:
    if _keys_twice(data):
        yield "a key that stands twice was read"
        return
    images = json.loads(data)["images"]
    for key, value in images.items():
        if getattr(found[0].images, key) != value or type(value) is not type(getattr(IMAGES, key)):
            yield f"images.{key} {str(value)[:50]!r} was read as {getattr(found[0].images, key)!r}"


def _weights_lost(seed: SeedFile, data: bytes, model: Any, said: str) -> Iterator[str]:
    """Weights are those that safetensors' own reader finds, and finite."""
    held, read = load_tensors(data), model.state_dict()
    for name, value in read.items():
        if not torch.isfinite(value).all():
            yield f"{name} is not finite, and was read"
        elif not torch.equal(held[name].to(value.dtype), value):
            yield f"{name} has other values than in the file"
    if _keys_twice(data[8 : 8 + int.from_bytes(data[:8], "little")].strip()):
        yield "a key that stands twice was read"


def _read_tokenizer(file: Path) -> Any:
    tokenizer = load_tokenizer(file)
    try:
        captions = Captions(tokenizer, CaptionConfig(), 10**6)
    except ValueError as error:  # it does not fit the settings, which know no file
        raise ValueError(f"{file}: {error}") from error
    ids, _ = captions.encode("a red shape, number 4! " + "a" * 60)
    return captions.decode(ids[:50].tolist())


# -- what measurements and runs leave


def _result_seeds() -> list[SeedFile]:
    torch.manual_seed(0)
    speaker = Speaker(GenLIP(MODEL).eval(), ImageConfig(size=32), Captions(_tokenizer()))
    scenes = Procedural("scenes", 1, 3)
    found = [measure_captioning(speaker, scenes, CaptioningConfig(max_tokens=4), limit=3),
             measure_readout(speaker, scenes, limit=2, k=2),
             measure_attention(speaker, scenes, limit=2), measure_features(speaker, scenes, limit=3)]  # fmt: skip
    made = []
    for result in found:
        with tempfile.TemporaryDirectory() as folder:
            own = write_result(result, folder)
            held = {f"{own.name}/{file.name}": file.read_bytes() for file in sorted(own.iterdir())}
        path = f"{own.name}/result.json"
        stored = json.loads(held.pop(path)) | {
            "model": "m",
            "about": {"machine": "a machine", "versions": {"torch": "2"}, "seconds": 1.5},
        }
        made.append(
            SeedFile(path, json.dumps(stored).encode(), ("bytes", "text", "text", "json", "json", "json", "keys"), held, ".")
        )
    return made


def _read_results(folder: Path) -> str:
    return write_model_report(folder).read_text(encoding="utf8")


def _page_lost(seed: SeedFile, data: bytes, page: str, said: str) -> Iterator[str]:
    if INJECTION[:12] in page:
        yield "text of the file stands in the page as HTML"
    if _keys_twice(data):
        yield "a key that stands twice was read"


def _log_seeds() -> list[SeedFile]:
    run = yaml.safe_load(to_yaml(load_recipe("quickstart", ["--steps", "6", "--out", "runs/a"])))
    begin = {"step": 0, "parameters": 64288, "precision": "float32", "attention": "sdpa", "parallel": "single", "ranks": 1,
    "device": "cpu",
             "machine": "a machine", "versions": {"genlip": "0.1.0", "torch": "2.11"}, "matrix_rate": 4e10,
             "source": "scenes:0",
             "samples": 100, "held_out": "scenes:1", "run": run}  # fmt: skip
    trained = {"progress": 0.5, "loss": 5.5, "gradient_norm": 1.2, "learning_rate": 1e-3, "samples_per_s": 200.0,
    "tokens_per_s": 9000.0,
               "seconds_per_step": 0.03, "seconds": 0.1, "matrix_share": 0.05, "fill": 1.0, "wait": 0.3,
               "skipped": 0}  # fmt: skip
    events: list[dict[str, Any]] = [{"event": "start", "time": 1e9, **begin}]
    for step in range(1, 7):
        events.append({"event": "train", "time": 1e9 + step, "step": step, **trained, "loss": 6.0 - step / 10})
        if step % 3 == 0:
            events.append(
                {"event": "save", "time": 1e9 + step, "step": step, "seconds": 0.1, "path": f"runs/a/step-{step:08}"}
            )
            events.append({"event": "held_out", "time": 1e9 + step, "step": step, "loss": 5.5, "picture_gain": 0.01})
    said = [{"key": "scenes:1:0", "true": "a circle", "spoken": "a square", "exact": False, "image": "spoken/a.png"}]
    events += [
        {"event": "skipped", "time": 1e9 + 6.2, "update": 6, "key": "a.png", "reason": "damaged",
        "message": "a.png: damaged image", "source": "x"},
        {"event": "spoken", "time": 1e9 + 6.5, "step": 6, "samples": said},
        {"event": "end", "time": 1e9 + 7, "step": 6, "seconds": 0.2, "tokens": 1920, "used": {"x": 45}, "skipped": {},
        "squeezed": 0},
    ]  # fmt: skip
    samples = [
        {"update": n, "row": row, "keys": [f"a{n}{row}.png", f"b\u2028{n}.png"]} for n in range(3) for row in range(2)
    ]
    log = "".join(json.dumps(event) + "\n" for event in events).encode()
    noted = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in samples).encode()
    forms = ("bytes", "text", "text", "json", "json", "keys")
    picture = {"spoken/a.png": _PICTURES["img00.png"]}
    return [
        SeedFile("log.jsonl", log, forms, {"samples-0.jsonl": noted} | picture, "."),
        SeedFile("samples-0.jsonl", noted, forms, {"log.jsonl": log} | picture, "."),
    ]


def _read_logs(folder: Path) -> tuple[Any, Any, str]:
    return read_events(folder), read_samples(folder), write_report(folder).read_text(encoding="utf8")


def _log_lost(seed: SeedFile, data: bytes, found: tuple[Any, Any, str], said: str) -> Iterator[str]:
    """Where every damaged line is no JSON, the others must be there."""
    events, samples, page = found
    if INJECTION[:12] in page:
        yield "text of the log stands in the page as HTML"
    old, new = seed.data.split(b"\n"), data.split(b"\n")
    kept = [json.loads(line) for line in old if line and line in new]
    if any(_is_json(line) for line in new if line not in old):
        return
    if seed.path == "log.jsonl":
        gone = [event["event"] for event in kept if event not in events]
    else:
        gone = [str(line["keys"]) for line in kept if samples.get((line["update"], line["row"])) != tuple(line["keys"])]
    if gone:
        yield f"lines as they were are not read: {', '.join(gone)[:100]}"


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


_CONFIG_FORMS = ("bytes", "text", "text", "json", "json", "json", "keys")
KINDS: dict[str, Kind] = {
    "images": Kind(_image_seeds, _read_image, _image_lost),
    "tars": Kind(_tar_seeds, _read_tar, _tar_lost),
    "parquet": Kind(_parquet_seeds, _read_source, _parquet_lost),
    "tables": Kind(_table_seeds, _read_source, _table_lost),
    "json": Kind(_json_seeds, _read_source, _json_lost),
    "yaml": Kind(_yaml_seeds, _read_yaml, _yaml_lost),
    "config": Kind(_of_model("config.json", *_CONFIG_FORMS), _read_speaker, _config_lost),
    "preprocessing": Kind(_of_model("preprocessing.json", *_CONFIG_FORMS), _read_speaker, _preprocessing_lost),
    "safetensors": Kind(_of_model("model.safetensors", "bytes", "safetensors", "safetensors"), _read_model, _weights_lost),
    "tokenizers": Kind(
        _of_model("tokenizer.json", "bytes", "text", "json", "json", "tokenizer", "tokenizer"), _read_tokenizer, _nothing
    ),
    "results": Kind(_result_seeds, _read_results, _page_lost),
    "logs": Kind(_log_seeds, _read_logs, _log_lost),
}
