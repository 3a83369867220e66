"""Opening: the path of a labelled set -> the set."""

from __future__ import annotations

from genlip.data.datasets.base import LabelledSet
from genlip.data.datasets.idx import open_idx
from genlip.data.datasets.labelled_folder import open_labelled_folder
from genlip.model.files import expanded, is_folder_name

__all__ = ["open_labelled"]

_FORMS = (
    "a folder of class folders (FOLDER/<class>/*.jpg), an idx file of images (…-images-idx3-ubyte, also .gz), "
    "or .parquet files with an image and a label"
)


def open_labelled(spec: str, classes: str = "") -> LabelledSet:
    """Open a labelled set by its path.

    a folder               a folder per class; its sorted names are the labels. Also ImageNet's flat validation images, with
                           LOC_val_solution.csv beside or above them
    …images-idx3-ubyte     the MNIST family, plain or .gz, its labels beside it
    .parquet               rows with an image and a label, as on the Hub; a glob, brace range or URL too

    classes   names of the classes in words, in the order of labels: a text file with a name per line, names with commas
              between, or a built-in list ("digits", "fashion-mnist"). For classes with keys (folders, names in a Parquet
              schema), also a file of lines "n01440764 tench, Tinca tinca". Required for idx, and for Parquet without names.

    Raises FileNotFoundError or ValueError that say what was found and needed.
    """
    if not spec.strip():
        raise ValueError(f"no set was named; need {_FORMS}")
    path = expanded(spec)
    if path.is_dir():
        return open_labelled_folder(path, classes)
    if "-ubyte" in path.name:
        return open_idx(spec, classes)
    if spec.partition("?")[0].lower().endswith(".parquet"):
        from genlip.data.datasets.labelled_parquet import open_labelled_parquet  # imports pyarrow, which folders do not need
        from genlip.data.sources.paths import expand

        return open_labelled_parquet(expand(spec), spec, classes)
    if path.exists():
        raise ValueError(f"{spec}: not a labelled set; need {_FORMS}")
    raise FileNotFoundError(f"{spec}: no such {'folder' if is_folder_name(spec) else 'set'}; need {_FORMS}")
