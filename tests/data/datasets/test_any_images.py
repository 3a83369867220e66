"""`genlip.data.datasets.any_images`: which kind of set each thing is read as, and options that it has no use for."""

import re
import struct

import pytest
from PIL import Image

from genlip.data.datasets.any_images import open_any
from genlip.data.datasets.idx import IdxImages
from genlip.data.datasets.labelled_folder import LabelledFiles
from genlip.data.datasets.regions import NamedRegions
from genlip.data.datasets.segmented_scenes import NamedScenes
from genlip.data.sources import Files, Procedural


@pytest.fixture
def sets(tmp_path):
    """A captioned folder, one of class folders, one of images alone, one with label maps, and an idx file, by name."""
    for name in ("captioned/a", "labelled/cat/a", "plain/a", "segmented/images/a", "segmented/masks/a"):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(parents=True)
        Image.new("L", (2, 2)).save(path)
    (tmp_path / "captioned/a.txt").write_text("a cat")
    (tmp_path / "t-images-idx3-ubyte").write_bytes(bytes([0, 0, 8, 3]) + struct.pack(">III", 1, 1, 1) + b"a")
    (tmp_path / "t-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 1, 0]))
    (tmp_path / "labelled/README.txt").write_text("not a caption")
    places = {name: str(tmp_path / name) for name in ("captioned", "labelled", "plain", "segmented")}
    return places | {"idx": str(tmp_path / "t-images-idx3-ubyte"), "scenes": "scenes:3", "charts": "charts:3"}


@pytest.mark.parametrize(
    ("name", "classes", "kind"),
    [
        ("scenes", "", NamedScenes),
        ("charts", "", Procedural),
        ("segmented", "cat,dog", NamedRegions),
        ("labelled", "", LabelledFiles),
        ("idx", "cat,dog", IdxImages),
        ("captioned", "", Files),
        ("plain", "", Files),
    ],
)
def test_each_form_is_read_with_what_is_known_of_it(sets, name, classes, kind):
    found = open_any(sets[name], classes)
    assert type(found) is kind
    assert found.name == sets[name]
    assert len(found[0]) == 3  # a key, an image, and what is known


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("scenes", {"fields": "caption"}),
        ("segmented", {"images": "folder"}),
        ("labelled", {"fields": "caption"}),
        ("idx", {"images": "folder"}),
        ("captioned", {"classes": "cat,dog"}),
        ("charts", {"classes": "digits"}),
    ],
)
def test_an_option_without_use_is_refused(sets, name, option):
    ((key, value),) = option.items()
    with pytest.raises(ValueError, match=re.escape(f"{sets[name]}: {key} {value!r} would be lost")):
        open_any(sets[name], **option)
