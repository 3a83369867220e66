"""Class names: a file, a list or a built-in name -> words, one name per class in the order of labels.

In: a text file, names with commas between, or the name of a built-in list. Out: names for captions. Of synonyms with
commas between ("tench, Tinca tinca") the first is the name. Two classes may have the same name ("crane" in ImageNet);
measurements that compare captions refuse that.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from genlip.model.files import printable
from genlip.model.reading import read_text

log = logging.getLogger(__name__)

__all__ = ["BUILT_IN", "check_label", "class_list", "keyed_classes", "need_classes", "words"]

# Names as published (Fashion-MNIST: "T-shirt/top", "Trouser"), in lower case, and in a form that can follow an article.
BUILT_IN = {
    "digits": ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    "fashion-mnist": (
        "t-shirt", "pair of trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
    ),
}  # fmt: skip
_MAX_BYTES = 2**24  # limit for a file of names
_CHOICES = f"a text file with one name per line, names with commas between, or one of {', '.join(BUILT_IN)}"


def words(name: str) -> str:
    r"""The name of a class in captions: the first synonym, with spaces for underscores, and other bytes as "caf\xe9"."""
    return " ".join(printable(name).partition(",")[0].replace("_", " ").split())


def need_classes(what: str) -> ValueError:
    """The error for a set whose classes need names."""
    return ValueError(f"{what}: holds labels without names; name the classes: {_CHOICES}")


def class_list(classes: str) -> tuple[str, ...]:
    """Names in the order of labels: a built-in list, the lines of a text file, or the parts between commas.

    Raises FileNotFoundError if it is none of these, ValueError for a file that is not text or for an empty name.
    """
    if classes in BUILT_IN:
        return BUILT_IN[classes]
    if (file := _file(classes)) is not None:
        return _named(_lines(file), f"{file}, line")
    return _named(_inline(classes), f"classes {_shortened(classes)}: name")


def keyed_classes(classes: str, keys: Sequence[str], where: str) -> tuple[str, ...]:
    """Names of classes that have keys of their own, such as folders: a name for each key, in the order of keys.

    classes  as `class_list` takes them, or a file of lines "n01440764 tench, Tinca tinca", in any order, also with
             further classes; "" makes words from the keys
    where    name of the keys in messages, as in "folders of photos"

    Raises what `class_list` raises, and ValueError for a key without a name or a list of another length.
    """
    if not classes:
        return _named(keys, where)
    file = None if classes in BUILT_IN else _file(classes)
    if file is not None and (named := _by_key(_lines(file), keys)):
        if missing := [key for key in keys if key not in named]:
            raise ValueError(f"{file}: no line for {missing[0]} ({len(missing)} of {len(keys)} {where} have none); add them")
        return _named([named[key] for key in keys], where)
    names = class_list(classes)
    if len(names) != len(keys):
        raise ValueError(
            f"{file or f'classes {_shortened(classes)}'}: {len(names)} names for {len(keys)} {where} "
            f"({_shortened(', '.join(keys))}); need one per line in the order of labels, or lines '{keys[0]} its name'"
        )
    if names != (known := _named(keys, where)):
        calls = [f"{key} is called {name}" for key, name in zip(known, names, strict=True) if key != name]
        log.warning("%s: named in their order, so %s%s", where, ", ".join(calls[:3]), ", …" if len(calls) > 3 else "")
    return names


def check_label(label: int | None, classes: Sequence[str], where: str) -> int:
    """The label, if it is the index of a class. Raises ValueError, which names the image by `where`."""
    if label is None or not 0 <= label < len(classes):
        raise ValueError(
            f"{where}: label {label} is none of the {len(classes)} classes, 0 to {len(classes) - 1} "
            f"({_shortened(', '.join(classes))}); name all classes, or leave such images out"
        )
    return label


def _file(classes: str) -> Path | None:
    path = os.path.expanduser(classes)  # noqa: PTH111  Path refuses "~nobody"
    return Path(path) if os.path.isfile(path) else None  # noqa: PTH113  Path refuses a list longer than a file name


def _inline(classes: str) -> list[str]:
    if "," not in classes:
        raise FileNotFoundError(f"classes {classes!r}: no such file; need {_CHOICES}")
    return classes.split(",")


def _lines(file: Path) -> list[str]:
    return read_text(file, _MAX_BYTES).rstrip().split("\n")


def _by_key(lines: Sequence[str], keys: Sequence[str]) -> dict[str, str]:
    """Key and name of every line; empty for a plain list, in which a line is a single word or no line has a key."""
    split = [line.split(maxsplit=1) for line in lines if line.strip()]
    named = {pieces[0]: pieces[1] for pieces in split if len(pieces) == 2}
    return named if len(named) == len(split) and not named.keys().isdisjoint(keys) else {}


def _named(names: Sequence[str], where: str) -> tuple[str, ...]:
    """Names in words. Raises ValueError for an empty one, which in a file would shift all later labels."""
    found = tuple(words(name) for name in names)
    if "" in found:
        raise ValueError(f"{where} {found.index('') + 1} of {len(found)} is empty; every class needs a name")
    return found


def _shortened(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:79]}…"
