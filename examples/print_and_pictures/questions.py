"""Questions about print: which word stands after another in a line? -> shards of dialogues for a multimodal LLM.

In: the shards of `lines.py`. Out: OUT/questions/{train,valid,test}.tar: a line at the height that `pocket` reads, with its
question and answer in the form of LLaVA, and OUT/questions/captions.tar: lines with the request to read them, for the
projector. The word in the question stands once in the line, so the answer is certain; it cannot be known without the image.
Manuals for tests are in no part for training.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image
from shards import Captioned, write_shard

from genlip.synthetic.degradation import line_size

HEIGHT = 32
NUMBERS = {"train": 12_000, "captions": 12_000, "valid": 300, "test": 600}


def write_questions(out: Path) -> dict[str, int]:
    """Write the shards that are not there. Returns the number of dialogues of each."""
    counts = {}
    for name, number in NUMBERS.items():
        shard, lines = out / "questions" / f"{name}.tar", out / "lines" / ("train" if name == "captions" else name)
        if not shard.is_file():
            write_shard(shard, _dialogues(lines, name, number))
        with tarfile.open(shard) as archive:
            counts[name] = sum(member.endswith(".json") for member in archive.getnames())
    return counts


def _dialogues(folder: Path, name: str, number: int) -> Iterator[Captioned]:
    """The same number of each manual at most, so that long ones do not fill a part."""
    shards = sorted(folder.glob("*.tar"))
    share, taken = max(1, 2 * number // len(shards)), 0
    for shard in shards:
        of_shard = 0
        for key, image, facts in _lines(shard):
            if taken == number or of_shard == share:
                break
            if (turns := _turns(key, facts["words"], asks=name != "captions")) is None:
                continue
            taken, of_shard = taken + 1, of_shard + 1
            small = image.resize(line_size(image.size, HEIGHT), Image.Resampling.BICUBIC)
            record = {"id": f"{shard.stem}-{key}", "conversations": turns}
            yield Captioned(f"{shard.stem}-{key}".replace(".", "_"), small, "", record)


def _lines(shard: Path) -> Iterator[tuple[str, Image.Image, dict[str, Any]]]:
    with tarfile.open(shard) as archive:
        image = Image.new("L", (1, 1))
        for member in archive:
            opened = archive.extractfile(member)
            if opened and member.name.endswith(".png"):
                image = Image.open(io.BytesIO(opened.read()))
            elif opened and member.name.endswith(".json"):
                yield member.name.removesuffix(".json"), image, json.loads(opened.read())


def _turns(key: str, placed: list[list[Any]], asks: bool) -> list[dict[str, str]] | None:
    """Question and answer about a line; None for one without a word that stands once before another."""
    words = [word for word, _, _ in placed]
    places = [n for n, word in enumerate(words[:-1]) if words.count(word) == 1 and len(word) > 2 and len(words[n + 1]) > 1]
    if len(words) < 4 or not places:
        return None
    chosen = places[hashlib.sha256(key.encode()).digest()[0] % len(places)]
    question = f'Which word stands after "{words[chosen]}"?' if asks else "Read the line."
    answer = words[chosen + 1] if asks else " ".join(words)
    return [{"from": "human", "value": f"<image>\n{question}"}, {"from": "gpt", "value": answer}]
