"""Retrieval: against a slow count, and from the folder of a run."""

import pytest
import torch

from genlip.baselines.arm_task import load_arm
from genlip.baselines.retrieval import hits, measure_retrieval
from genlip.cli.main import main
from genlip.train.loop import train_model

from ..train.helpers import small_run


def test_hits_are_those_of_a_slow_count():
    draw = torch.Generator().manual_seed(0)
    queries, others = torch.randn(2, 12, 4, dtype=torch.float64, generator=draw).unbind(0)
    same = torch.tensor([0, 1, 2, 3, 0, 5, 6, 7, 8, 9, 9, 9])
    for rank in (1, 3):
        expected = []
        for i, query in enumerate(queries):
            order = sorted(range(12), key=lambda j: -float(query @ others[j]))
            expected.append(any(same[j] == same[i] for j in order[:rank]))
        assert hits(queries, others, same, rank).tolist() == expected


def test_equal_vectors_of_other_captions_count_as_wrong():
    vectors = torch.ones(3, 2)
    assert not hits(vectors, vectors, torch.arange(3), 1).any()
    assert hits(vectors, vectors, torch.zeros(3), 1).all()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return train_model(small_run(tmp_path_factory.mktemp("siglip"), task="siglip", steps=2))


def test_a_run_is_measured_from_its_folder(folder, capsys):
    found = measure_retrieval(folder, "scenes:3", limit=20, batch_size=7)
    assert len(found.keys) == 20
    assert list(found.scores) == ["image to text at 1", "image to text at 5", "text to image at 1", "text to image at 5"]
    assert found.scores["image to text at 1"].score <= found.scores["image to text at 5"].score
    whole = measure_retrieval(folder, "scenes:3", limit=20, batch_size=20)
    assert whole.scores["image to text at 5"].per_image == found.scores["image to text at 5"].per_image
    assert main(["eval", "retrieval", str(folder), "scenes:3", "--limit", "20"]) == 0
    assert "text to image at 5" in capsys.readouterr().out


def test_folders_without_a_text_tower_are_refused(tmp_path):
    plain = train_model(small_run(tmp_path / "genlip", steps=1))
    with pytest.raises(ValueError, match=r"holds no arm/recipe\.yaml"):
        load_arm(plain)
    decoder = train_model(small_run(tmp_path / "cap", task="cap", steps=1))
    with pytest.raises(ValueError, match="no text tower"):
        measure_retrieval(decoder, "scenes:3")
