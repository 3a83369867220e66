"""Registers and dropped patches, against packs written out by hand."""

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch

import genlip
from genlip.baselines.arm_task import load_encoder
from genlip.baselines.variants import RegisterGenLIP, with_registers
from genlip.data.sources import open_source
from genlip.model.genlip import GenLIP
from genlip.train.loop import train_model

from ..model.helpers import EXACT, random_pack, small_config
from ..train.helpers import small_run
from .helpers import built, pack_of, task_of

SHAPES = [(2, 2, 3), (1, 3, 0), (3, 2, 4)]


def test_registers_lie_before_the_patches_of_each_image():
    pack = random_pack(small_config(), SHAPES)
    wider, place = with_registers(pack, 2)
    assert place.tolist() == [2, 3, 4, 5, 8, 9, 10, 13, 14, 15, 16, 17, 18]
    assert wider.patch_counts == (6, 5, 8)
    assert torch.equal(wider.patches[place], pack.patches)
    assert torch.equal(wider.positions[:, place], pack.positions[:, : pack.num_patches])
    assert torch.equal(wider.positions[:, wider.num_patches :], pack.positions[:, pack.num_patches :])
    others = sorted({*range(wider.num_patches)} - {*place.tolist()})
    assert not wider.positions[:, others].any()


def test_a_register_that_holds_a_patch_is_that_patch():
    """A model with one register that equals the embedding of a patch computes what GenLIP does with that patch in front."""
    config = small_config()
    pack = random_pack(config, [(2, 2, 3)])
    plain = GenLIP(config).double().eval()
    model = RegisterGenLIP(config, 1).double().eval()
    model.load_state_dict(plain.state_dict(), strict=False)
    front = pack.patches[:1]
    with torch.no_grad():
        model.registers.copy_(plain.embed_patches(front))
    longer = dataclasses.replace(
        pack,
        patches=torch.cat([front, pack.patches]),
        positions=torch.cat([pack.positions[:, :1] * 0, pack.positions], dim=1),
        grids=((1, 5),),
    )
    torch.testing.assert_close(model.predictions(pack), plain.predictions(longer), **EXACT)
    torch.testing.assert_close(model.encode(pack), plain.encode(longer)[1:], **EXACT)
    torch.testing.assert_close(model(pack), plain(longer), **EXACT)


def test_features_leave_registers_out_and_depend_on_them():
    config = small_config()
    pack = random_pack(config, SHAPES)
    model = RegisterGenLIP(config, 4).double().eval()
    before = model.encode(pack)
    assert len(before) == pack.num_patches
    with torch.no_grad():
        model.registers.normal_()
    assert (model.encode(pack) - before).abs().max() > 1e-6


@pytest.mark.parametrize("registers", [0, 3])
def test_a_folder_gives_the_trained_encoder(registers, tmp_path):
    run = small_run(tmp_path, task="genlip_variant", variant__registers=registers, steps=3)
    states = []
    folder = Path(train_model(run, on_step=states.append))
    encoder = load_encoder(folder)
    image = open_source("scenes:0")[0].image
    (found,) = encoder.encode([image])
    model = states[-1].model.eval()
    (expected,) = genlip.Speaker(model, run.images).encode([image])
    torch.testing.assert_close(found.patches, expected.patches)
    assert encoder.speaks == (registers == 0)
    if registers:  # a model that leaves the registers out would have other features
        with pytest.raises(genlip.CheckpointError, match=r"it has no config\.json"):
            genlip.Speaker.load(folder)


def test_patches_are_dropped_in_training_alone(tmp_path):
    task = task_of(tmp_path, "genlip_variant", variant__kept=0.5)
    model, pack = built(task), pack_of(task, [(4, 4, 3)])
    seen = []
    model.blocks[0].register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    task.loss(model.train(), pack)
    task.loss(model.eval(), pack)
    assert seen == [8 + 3, 16 + 3]


def test_a_run_with_registers_resumes_and_starts_from_no_other(tmp_path):
    run = small_run(tmp_path / "run", task="genlip_variant", variant__registers=2, steps=6)
    first = Path(train_model(run)) / "arm/model.safetensors"
    before = first.read_bytes()
    shutil.rmtree(sorted((tmp_path / "run/checkpoints").iterdir())[-1])
    train_model(run)
    assert first.read_bytes() == before
    with pytest.raises(ValueError, match="a model with registers starts with random weights"):
        train_model(
            small_run(tmp_path / "two", task="genlip_variant", variant__registers=2, init_from=tmp_path / "run/model/arm")
        )
