"""`genlip.evaluate.requirements`: what a measurement lacks is one line that says what to do instead."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from genlip.data.sources import open_source
from genlip.evaluate.requirements import opened, require_speaker, require_whole_image

from .speaking import small_speaker


def test_a_speaker_meets_all_of_them():
    speaker = small_speaker()
    assert require_speaker(speaker, "captioning") is speaker
    require_whole_image(speaker, "segmentation")


def test_another_model_is_refused_in_one_line():
    tower = SimpleNamespace(name="timm:vit", whole_image=False)
    with pytest.raises(
        ValueError, match=r"^captioning needs a model that speaks, and timm:vit gives features alone; measure it"
    ):
        require_speaker(tower, "captioning")
    with pytest.raises(
        ValueError, match=r"^attention reads the attention weights of a GenLIP, and timm:vit is another model; "
    ):
        require_speaker(tower, "attention")
    with pytest.raises(
        ValueError, match=r"^features needs patches of whole images, and timm:vit crops them: give squash=True"
    ):
        require_whole_image(tower, "features")


def test_data_may_be_named_or_opened(tmp_path: Path) -> None:
    source = open_source("scenes:1")
    assert opened("scenes:1", open_source) == source
    assert opened(source, open_source) is source
    with pytest.raises((ValueError, OSError), match=r"nothing-here"):
        opened(tmp_path / "nothing-here", open_source)
