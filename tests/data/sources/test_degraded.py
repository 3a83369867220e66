"""Degraded sources: their length, order and keys, and `degrade` in mixtures."""

import numpy as np
import pytest
from PIL import Image

from genlip.data.dialogues import open_dialogues
from genlip.data.examples import Example, Unusable
from genlip.data.sources import open_source
from genlip.data.sources.degraded import Degraded
from genlip.synthetic.degradation import DEGRADATIONS, degraded


class Two:
    name = "two"

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return Example(f"two:{index}", b"no image" if index else Image.new("RGB", (40, 20), "red"), f"caption {index}")

    def caption(self, index):
        return f"caption {index}"


def test_variants_follow_each_other():
    source = Degraded(Two(), "print", variants=3, seed=7)
    assert (len(source), source.name) == (6, "two")
    assert [source.caption(index) for index in range(6)] == ["caption 0", "caption 1"] * 3
    original = np.asarray(Two()[0].image)
    for index in (0, 2, 4):
        key, image, caption = source[index]
        assert (key, caption) == (f"two:0 (variant {index // 2})", "caption 0")
        assert np.array_equal(np.asarray(image), degraded(original, DEGRADATIONS["print"], 7, index))
    with pytest.raises(Unusable, match="two:1"):
        source[1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "scan"}, "degrade is 'scan': need one of print, drawings, line"),
        ({"kind": "print", "variants": -1}, "variants is -1: need at least 1, or 0 for those of the kind"),
    ],
)
def test_refused(settings, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Degraded(Two(), **settings)


def test_a_mixture_degrades_a_part(tmp_path):
    Image.new("RGB", (40, 20), "red").save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("a red field")
    mixture = tmp_path / "mixture.yaml"
    mixture.write_text(f"sources: [{{source: {tmp_path}, degrade: print}}]")
    source = open_source(str(mixture))
    assert len(source) == 64
    assert {source.caption(index) for index in range(64)} == {"a red field"}
    assert len({source[index].image.size for index in range(64)}) > 10
    with pytest.raises(ValueError, match="degrade 'print' is for sources of captions, not for dialogues"):
        open_dialogues(str(mixture))


@pytest.mark.parametrize("kind", ["scan", 3, None])
def test_an_unknown_kind_in_a_mixture_is_named(tmp_path, kind):
    mixture = tmp_path / "mixture.yaml"
    mixture.write_text(f"sources: [{{source: scenes, degrade: {'null' if kind is None else kind}}}]")
    with pytest.raises(ValueError, match=rf"source 1: degrade {kind!r}; need one of print, drawings"):
        open_source(str(mixture))


def test_a_line_is_only_brought_to_its_height():
    source = Degraded(Two(), "line")
    assert len(source) == 2
    assert np.array_equal(np.asarray(source[0].image), np.full((32, 64, 3), (255, 0, 0)))
