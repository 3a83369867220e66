"""Several processes train what one does: DDP, FSDP2 and hybrid shards over gloo, in float64."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from genlip.train.parallel import World, choose_strategy
from genlip.train.sample_log import read_samples
from genlip.train.tracking import read_log

from .distributed import STEPS, launch, train_here

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process makes of the run, EMA, DropPath and an update of seven packs included."""
    out = tmp_path_factory.mktemp("alone")
    train_here(out)
    return out


def weights(out):
    return load_file(out / "model" / "model.safetensors")


def furthest(a, b):
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)


@pytest.mark.parametrize(("ranks", "how"), [(2, "ddp"), (3, "ddp"), (2, "fsdp"), (3, "fsdp")])
def test_several_processes_train_what_one_does(alone, ranks, how, tmp_path):
    """Parameters after 20 updates to 1e-9, figures and sample log too; three ranks have unequally many packs."""
    launch(tmp_path, ranks, fork=(ranks, how) != (2, "ddp"), parallel=how)
    assert furthest(weights(tmp_path), weights(alone)) < 1e-9
    assert read_samples(tmp_path) == read_samples(alone)
    assert len(read_samples(tmp_path)) == 7 * STEPS
    for kind, figures in (
        ("train", ("loss", "gradient_norm", "packing_efficiency")),
        ("held_out", ("loss", "picture_gain")),
    ):
        here, there = read_log(tmp_path, kind), read_log(alone, kind)
        assert [[event[name] for name in figures] for event in here] == [
            [event[name] for name in figures] for event in there
        ]
    ends = [read_log(out, "end")[0] for out in (tmp_path, alone)]
    assert ends[0]["used"] == ends[1]["used"]


def test_shards_within_nodes_and_copies_between_them(alone, tmp_path):
    launch(tmp_path, 2, nodes=2, parallel="hybrid", activation_checkpointing="true")
    assert furthest(weights(tmp_path), weights(alone)) < 1e-9
    assert read_log(tmp_path, "start")[0]["parallel"] == "hybrid"


def test_ranks_whose_data_ends_early_stay_in_step(tmp_path):
    """Forty-one examples once, over three ranks: some streams end updates before others, and every sample is used."""
    from .test_loop import images

    source = images(tmp_path / "in", good=40, bad=1)
    changes = {"data.source": source, "data.held_out": source, "steps": 0, "epochs": 1, "parallel": "fsdp"}
    launch(tmp_path / "out", 3, **changes)
    keys = [key for row in read_samples(tmp_path / "out").values() for key in row]
    assert sorted(keys) == [str(source / f"{i:03}.png") for i in range(40)]
    (end,) = read_log(tmp_path / "out", "end")
    assert (sum(end["used"].values()), end["skipped"]) == (40, {str(source): {"not an image": 1}})


def test_hybrid_needs_several_equal_nodes():
    with pytest.raises(ValueError, match="4 processes with 4 on this node are not several equal nodes; use fsdp"):
        choose_strategy("hybrid", World(0, 4, 4))
    assert choose_strategy("hybrid", World(0, 4, 2)) == "hybrid"
    assert (choose_strategy("auto", World(0, 4, 4)), choose_strategy("fsdp", World())) == ("ddp", "single")


def test_more_ranks_than_packs_are_refused_on_all(tmp_path):
    told = launch(tmp_path, 2, check=False, **{"packing.batch": "1 pack"})
    # The other rank may be stopped before it prints the same.
    assert re.search(r"rank [01] of 2 with 1 packs an update: every rank needs at least one; raise packing\.batch", told)


def test_an_error_in_the_held_out_samples_ends_all_ranks(tmp_path):
    """Without torchrun, which would stop the other rank: it ends itself, and waits for no collective."""
    from .test_loop import images

    changes = {"data.source": "scenes:0", "data.held_out": str(images(tmp_path / "in", good=1, bad=1))}
    script = f"from tests.train.distributed import *\ntrain_here(Path({str(tmp_path / 'out')!r}), **{changes!r})"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    place = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", script], cwd=ROOT, env=place | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    told = [rank.communicate(timeout=120)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [1, 1]
    assert "1 usable held-out samples: need at least 2" in told[0]
    assert "Traceback" not in told[1]


def test_one_process_needs_no_group(tmp_path):
    script = "import torch.distributed as d\nfrom tests.train.helpers import small_run\n"
    script += "from genlip.train.loop import train_model\n"
    script += f"train_model(small_run({str(tmp_path)!r}, steps=1)); assert not d.is_initialized()"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT, capture_output=True)
