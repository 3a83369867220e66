"""The recipes of both stages: the paper's values, their twins for two cores, and stage 2 after stage 1."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file

from genlip.data.sources import open_source
from genlip.model.config import GenLIPConfig
from genlip.model.genlip import GenLIP
from genlip.recipes.recipe import RecipeError, load_recipe
from genlip.train.loop import train_model
from genlip.train.parallel import World
from genlip.train.state import begin
from genlip.train.tracking import read_log
from genlip.train.update import update

from .helpers import SMALL, small_run

SIZES = ("l16", "so16", "g16")
PAPER = {"l16": 0.3e9, "so16": 0.4e9, "g16": 1.1e9}  # trunks, without the gate's weights


def short(name, out, **changes):
    settings = {"out": out, "steps": 4, "log_every": 1, "packing.max_tokens": 1024, "data.held_out_samples": 4, "spoken": 1}
    words = [str(word) for key, value in (settings | changes).items() for word in (f"--{key}", value)]
    return load_recipe(name, words)


@pytest.mark.parametrize("size", SIZES)
def test_the_big_recipes_build_and_have_the_papers_size(size):
    for stage in (1, 2):
        run = load_recipe(f"stage{stage}_{size}")
        assert run.model == GenLIPConfig.preset(size)
        with torch.device("meta"):
            model = GenLIP(run.model)
        trunk = sum(p.numel() for p in model.blocks.parameters())
        width = run.model.hidden_size
        gates = run.model.num_hidden_layers * (width**2 + width)
        assert round((trunk - gates) / 1e9, 1) == PAPER[size] / 1e9


@pytest.mark.parametrize("size", SIZES)
def test_the_recipes_hold_the_papers_values(size):
    """From the paper's table of both stages."""
    one, two = load_recipe(f"stage1_{size}"), load_recipe(f"stage2_{size}")
    shared = {
        "beta1": 0.9,
        "beta2": 0.95,
        "eps": 1e-8,
        "weight_decay": 0.01,
        "max_grad_norm": 1.0,
        "final_learning_rate": 1e-6,
    }
    for run in (one, two):
        assert {name: getattr(run.optimizer, name) for name in shared} == shared
        assert run.optimizer.warmup_ratio == (0.02 if size == "g16" else 0.007)
        assert (run.packing.max_tokens, run.precision, run.model.drop_path_rate) == (
            16_384, "bfloat16", 0.2 if size == "g16" else 0.1,
        )  # fmt: skip
    assert (one.samples, one.steps, one.epochs, one.optimizer.learning_rate) == (8_000_000_000, 0, 0, 1e-3)
    assert (one.images.resize, one.images.size) == ("fixed", 224)
    assert (two.epochs, two.steps, two.samples, two.optimizer.learning_rate) == (1, 0, 0, 1e-4)
    assert (two.images.resize, two.images.min_patches, two.images.max_patches) == ("native", 16, 1024)
    batch = {run: run.packing.packs * run.packing.max_tokens / run.packing.tokens_per_sample for run in (one, two)}
    assert batch[one] == pytest.approx(48e3 if size == "g16" else 32e3, rel=1 / 30)
    assert batch[two] == pytest.approx(3600, rel=1 / 30)
    assert two.init_from == f"{one.out}/model"


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """The model of stage 1's twin."""
    return train_model(short("stage1_l16_cpu", tmp_path_factory.mktemp("one")))


def test_stage_two_goes_on_with_the_model_of_stage_one(first, tmp_path):
    """It begins with the weights and the tokenizer that stage 1 ended with."""
    second = short("stage2_l16_cpu", tmp_path / "two", init_from=first)
    begun = []
    model = train_model(second, on_step=lambda state: begun or begun.append(state.run))
    assert begun[0].images.resize == "native"
    assert (model / "tokenizer.json").read_bytes() == (first / "tokenizer.json").read_bytes()
    source = open_source(second.data.source)
    state = begin(dataclasses.replace(second, out=str(tmp_path / "three")), World(), source, None)
    weights = load_file(first / "model.safetensors")
    assert all(torch.equal(p, weights[name]) for name, p in state.model.named_parameters())
    assert read_log(tmp_path / "two", "train")[-1]["step"] == 4


@pytest.mark.parametrize("size", ["so16", "g16"])
def test_the_other_twins_run(size, first, tmp_path):
    tokenizer = first / "tokenizer.json"
    one = train_model(short(f"stage1_{size}_cpu", tmp_path / "one", steps=2, tokenizer=tokenizer))
    train_model(short(f"stage2_{size}_cpu", tmp_path / "two", steps=2, init_from=one))
    assert [event["step"] for event in read_log(tmp_path / "two", "train")] == [1, 2]


@pytest.mark.slow
@pytest.mark.usefixtures("all_captions")
@pytest.mark.parametrize("size", SIZES)
def test_every_twin_learns_when_run_whole(size, tmp_path):
    first = train_model(load_recipe(f"stage1_{size}_cpu", ["--out", str(tmp_path / "one")]))
    train_model(load_recipe(f"stage2_{size}_cpu", ["--out", str(tmp_path / "two"), "--init_from", str(first)]))
    for stage in ("one", "two"):
        losses = [event["loss"] for event in read_log(tmp_path / stage, "held_out")]
        assert losses[-1] < losses[0]


@pytest.mark.slow
def test_one_update_of_stage_one_at_its_real_width_and_vocabulary(first, tmp_path):
    """Two of its 24 layers: about 330 M parameters, with AdamW's states 5 GB."""
    tokenizer = first / "tokenizer.json"
    run = load_recipe("stage1_l16", [
        "--out", str(tmp_path / "out"), "--model.num_hidden_layers", "2", "--data.source", "scenes:0", "--tokenizer",
        str(tokenizer), "--packing.batch", "1 pack", "--packing.max_tokens", "1024", "--data.workers", "0", "--steps", "1",
    ])  # fmt: skip
    assert (run.model.hidden_size, run.model.vocab_size) == (1024, 151_936)
    state = begin(run, World(), open_source("scenes:0"), None)
    before = state.model.lm_head.weight[:2].clone()
    with torch.random.fork_rng():
        done = update(state, state.loader.batches(), lambda *_: None, lambda: False)
    assert done.finite
    assert done.loss == pytest.approx(12, abs=0.6)  # ln 151,936 = 11.9
    assert done.samples >= 3
    assert not torch.equal(before, state.model.lm_head.weight[:2])


def test_starting_from_another_shape_names_what_differs(tmp_path):
    model = train_model(small_run(tmp_path / "one", steps=1))
    with pytest.raises(ValueError, match=r"another model than the recipe's \(hidden_size 32, not 64.*\): set --model "):
        train_model(small_run(tmp_path / "two", init_from=model, model__hidden_size=64, steps=1))
    words = [word for key, value in SMALL.items() if not key.startswith("model.") for word in (f"--{key}", str(value))]
    run = load_recipe("quickstart", [*words, "--init_from", str(model), "--model", str(model), "--steps", "1"])
    assert run.model.hidden_size == 32
    train_model(dataclasses.replace(run, out=str(tmp_path / "three")))


def test_recipes_inherit_from_others(tmp_path):
    (tmp_path / "a.yaml").write_text("model: tiny\nsteps: 20k\noptimizer: {max_grad_norm: 2.0}\n")
    (tmp_path / "b.yaml").write_text("base: a.yaml\noptimizer: {beta1: 0.8}\nmodel.hidden_size: 96\n")
    (tmp_path / "c.yaml").write_text("base: [b.yaml, quickstart]\nsteps: 7\n")
    b, c = load_recipe(tmp_path / "b.yaml"), load_recipe(tmp_path / "c.yaml", ["--samples", "1.5k"])
    assert (b.steps, b.optimizer.max_grad_norm, b.optimizer.beta1) == (20_000, 2.0, 0.8)
    assert (b.model.hidden_size, b.model.text_embed_dim, b.model.num_hidden_layers) == (96, 96, 4)
    assert (c.steps, c.samples, c.optimizer.kind, c.optimizer.max_grad_norm, c.model.hidden_size) == (
        7,
        1500,
        "muon",
        2.0,
        192,
    )


def test_recipes_in_a_circle_and_settings_without_value_are_refused(tmp_path):
    for name, base in (("a", "b"), ("b", "a")):
        (tmp_path / f"{name}.yaml").write_text(f"base: {base}.yaml\n")
    with pytest.raises(RecipeError, match="inherit from each other in a circle"):
        load_recipe(tmp_path / "a.yaml")
    for words, message in ((["--steps"], "--steps has no value"), (["steps", "3"], "'steps' is not a setting")):
        with pytest.raises(RecipeError, match=message):
            load_recipe("quickstart", words)
    with pytest.raises(RecipeError, match=r"unknown preset|no such folder"):
        load_recipe("quickstart", ["--model", "l17"])
    with pytest.raises(RecipeError, match=r"'8b' .*int|steps"):
        load_recipe("quickstart", ["--steps", "8b"])


def test_weights_are_not_given_other_words_than_they_learned(tmp_path):
    """The tokenizer has as many tokens, and one of them means something else."""
    model = train_model(small_run(tmp_path / "one", steps=1))
    text = (model / "tokenizer.json").read_text()
    vocabulary = json.loads(text)["model"]["vocab"]
    last = max(vocabulary, key=vocabulary.get)
    other = json.loads(text)
    other["model"]["vocab"]["xyz"] = other["model"]["vocab"].pop(last)
    other["model"]["merges"] = [pair for pair in other["model"]["merges"] if "".join(pair).replace(" ", "") != last]
    (tmp_path / "tokenizer.json").write_text(json.dumps(other))
    with pytest.raises(ValueError, match=r"is not that of init_from .*: token \d+ is 'xyz', and was .* set --tokenizer bpe"):
        train_model(small_run(tmp_path / "two", init_from=model, tokenizer=tmp_path / "tokenizer.json", steps=1))
    train_model(small_run(tmp_path / "three", init_from=model, tokenizer=model, steps=1))
