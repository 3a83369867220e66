"""Recipes: few lines of YAML, overrides by path, and mistakes that name the way out."""

import dataclasses

import pytest

from genlip.recipes.recipe import (
    RecipeError,
    Run,
    describe_settings,
    differences,
    for_processor,
    keys,
    load_recipe,
    recipe_names,
    to_yaml,
)

from ..train.helpers import small_run


@pytest.mark.parametrize("name", recipe_names())
def test_every_packaged_recipe_loads_and_survives_its_own_yaml(name, tmp_path):
    run = load_recipe(name)
    (tmp_path / "run.yaml").write_text(to_yaml(run))
    assert load_recipe(tmp_path / "run.yaml") == run


def test_a_recipe_keeps_the_defaults_that_it_does_not_name(tmp_path):
    (tmp_path / "r.yaml").write_text(
        "steps: 7\noptimizer: {learning_rate: 5e-4}\nmodel: {hidden_size: 64, num_attention_heads: 4}\n"
    )
    run = load_recipe(tmp_path / "r.yaml")
    assert (run.steps, run.optimizer.learning_rate, run.optimizer.beta2) == (7, 5e-4, 0.95)
    assert (run.model.hidden_size, run.model.text_embed_dim, run.model.num_hidden_layers) == (64, 64, 24)


def test_overrides_win_over_the_file_in_both_spellings():
    run = load_recipe("quickstart", ["--steps", "9", "--model.mrope_section=[4,4,4]", "--captions.prompt", "Say: what?"])
    assert (run.steps, run.model.mrope_section, run.captions.prompt) == (9, (4, 4, 4), "Say: what?")


def test_texts_that_look_like_yaml_stay_texts(tmp_path):
    run = load_recipe("quickstart", ["--captions.prompt", "null", "--out", "1e3"])
    assert (run.captions.prompt, run.out) == ("null", "1e3")
    (tmp_path / "run.yaml").write_text(to_yaml(run))
    assert load_recipe(tmp_path / "run.yaml") == run


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["--optimizer.lerning_rate", "1"], "did you mean optimizer.learning_rate"),
        (["--learning_rate", "1"], "did you mean optimizer.learning_rate"),
        (["--stepz", "1"], "did you mean steps"),
        (["--steps", "many"], "steps"),
        (["--steps", "0"], "the run has no end"),
        (["--steps", "-1", "--epochs", "1"], "'steps': -1"),
        (["--packing.patch_schedule", "[[0, 100]]"], "set images.resize to native"),
        (["--images.resize", "native", "--packing.patch_schedule", "[[0, 9]]"], "goes below images.min_patches 16"),
        (["--seed", "2147483648"], "seed 2147483648 in [0, 2**31)"),
        (["--packing.batch", "0 packs"], "packing.batch is '0 packs'"),
        (["--packing.patch_schedule", "[[5, 100]]"], "packing.patch_schedule is [[5, 100]]: need [samples, patches] pairs"),
        (["--images.size", "65"], "images.size 65 is no multiple of model.patch_size"),
        (["--precision", "float8"], "precision"),
        (["--model.num_attention_heads", "5"], "5 heads"),
        (["--captions.end", ""], "captions.end is empty"),
        (["stray"], "stray"),
    ],
)
def test_a_wrong_override_says_what_is_wrong(overrides, message):
    with pytest.raises(RecipeError) as error:
        load_recipe("quickstart", overrides)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["--steps", "many"], "the command line: steps is 'many': need a whole number"),
        (["--steps", "5kk"], "the command line: steps is '5kk': need a whole number"),
        (["--steps", "0.3k5"], "the command line: steps is '0.3k5': need a whole number"),
        (["--steps", "1.0005k"], "the command line: steps: '1.0005k' is not a whole number"),
        (["--ema", "[1]"], "the command line: ema is '[1]': need a number"),
        (["--activation_checkpointing", "ja"], "the command line: activation_checkpointing is 'ja': need true or false"),
        (["--precision", "bf16"], "need one of auto, float32, bfloat16; did you mean bfloat16?"),
        (["--precision", "fp16"], "need one of auto, float32, bfloat16; did you mean bfloat16?"),
        (["--optimizer.kind", "sgd"], "optimizer.kind is 'sgd': need one of adamw, muon"),
        (["--freeze", "3"], "freeze is '3': need a list, each item a text"),
        (["--packing.patch_schedule", "7"], "need a list, each item [a whole number, a whole number]"),
        (["--model.mrope_section", "abc"], "need [a whole number, a whole number, a whole number] or null"),
        (["--data", "images/"], "data is 'images/', but data is a section (source, fields, allow_outside, held_out, "
                                "held_out_samples, workers): write its settings, as in --data.source images/"),
        (["--steps.most", "3"], "unknown key steps.most: steps is a single value, not a section"),
        (["--lr", "1"], "unknown key lr; did you mean optimizer.learning_rate? (peak, reached after the warm-up)"),
        (["--optimizer.lr", "1"], "did you mean optimizer.learning_rate?"),
        (["--wandb", "1"], 'did you mean trackers? (programs that get the figures besides log.jsonl, as in "tensorboard'),
        (["--gpu", "0"], "unknown key gpu; training takes the GPU that there is, and several under torchrun"),
        (["--model", "l61"], "model is 'l61', no preset (tiny, base, l16, so16, g16) and no model: l61: no such folder"),
    ],
)  # fmt: skip
def test_a_misfit_is_told_in_our_words(overrides, message):
    with pytest.raises(RecipeError) as error:
        load_recipe("quickstart", overrides)
    assert message in str(error.value)
    assert "typing." not in str(error.value)
    assert "Expected" not in str(error.value)


def test_a_section_given_a_value_in_a_file_shows_how_to_write_it(tmp_path):
    file = tmp_path / "r.yaml"
    for text, message in (
        ("data: images/", r"r\.yaml: data is 'images/', but data is a section .*as in data: \{source: images/\}"),
        ("optimizer: muon", r"as in optimizer: \{kind: muon\}"),
        ("data:", "data is 'null', but data is a section"),
        ("steps: many", r"r\.yaml: steps is 'many': need a whole number"),
    ):
        file.write_text(text)
        with pytest.raises(RecipeError, match=message):
            load_recipe(file)
    file.write_text("steps: 3")
    with pytest.raises(RecipeError, match=r"^the command line: seed is 'x'"):
        load_recipe(file, ["--seed", "x"])


def test_a_schedule_of_patches_survives_yaml(tmp_path):
    run = load_recipe("quickstart", ["--packing.patch_schedule", "[[0, 64], [1000, 256]]", "--images.resize", "native"])
    assert run.packing.patch_schedule == ((0, 64), (1000, 256))
    (tmp_path / "run.yaml").write_text(to_yaml(run))
    assert load_recipe(tmp_path / "run.yaml") == run


def test_a_wrong_file_says_what_is_wrong(tmp_path):
    with pytest.raises(RecipeError, match=r"nowhere: no such recipe; need a YAML file or one of .*quickstart"):
        load_recipe("nowhere")
    for text, message in (
        ("steps: [", "not YAML"),
        ("- a\n", "need keys and values"),
        ("model: {hiden_size: 3}", "model.hidden_size"),
    ):
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(RecipeError, match=message):
            load_recipe(tmp_path / "bad.yaml")


@pytest.mark.parametrize("overrides", [[], ["--task", "genlip"]])
def test_recipes_that_inherit_from_each_other_are_refused(overrides, tmp_path):
    (tmp_path / "a.yaml").write_text(f"base: ../{tmp_path.name}/b.yaml\n")
    (tmp_path / "b.yaml").write_text("base: [quickstart, a.yaml]\n")
    with pytest.raises(
        RecipeError, match=r"recipes inherit from each other in a circle: \S*a\.yaml -> \S*b\.yaml -> \S*a\.yaml$"
    ):
        load_recipe(tmp_path / "a.yaml", overrides)
    with pytest.raises(RecipeError, match="in a circle"):
        for_processor(tmp_path / "a.yaml")


def test_the_settings_of_later_bases_win_and_a_base_may_be_named_twice(tmp_path):
    (tmp_path / "a.yaml").write_text("base: quickstart\nsteps: 3\nseed: 4\n")
    (tmp_path / "b.yaml").write_text("base: quickstart\nseed: 5\n")
    (tmp_path / "c.yaml").write_text("base: [a.yaml, b.yaml]\nema: 0.5\n")
    run, base = load_recipe(tmp_path / "c.yaml"), load_recipe("quickstart")
    assert (run.steps, run.seed, run.ema) == (base.steps, 5, 0.5)
    assert for_processor(tmp_path / "c.yaml")
    assert not for_processor("stage1_l16")


def test_differences_name_what_changes_the_result_and_nothing_else(tmp_path):
    run = small_run(tmp_path)
    assert differences(run, dataclasses.replace(run, out="elsewhere", log_every=99, keep_last=7, threads=1)) == []
    changed = dataclasses.replace(run, seed=3, optimizer=dataclasses.replace(run.optimizer, max_grad_norm=2.0))
    assert differences(run, changed) == ["optimizer.max_grad_norm: 1.0 -> 2.0", "seed: 0 -> 3"]


def test_every_setting_is_described():
    described = describe_settings()
    assert all(f"--{key} " in described for key in keys())
    assert {field.name for field in dataclasses.fields(Run)} == {key.split(".")[0] for key in keys()}


def test_new_data_that_is_measured_on_the_recipes_own_is_warned_of(caplog):
    assert load_recipe("quickstart", ["--data.source", "images"]).data.held_out == "scenes:1"
    assert "data.source is images, and data.held_out still the recipe's scenes:1" in caplog.text
    caplog.clear()
    load_recipe("quickstart", ["--data.source", "scenes:7"])
    load_recipe("quickstart", ["--data.source", "images", "--data.held_out", ""])
    load_recipe("quickstart")
    assert not caplog.text


def test_a_number_beyond_all_floats_is_one_line(tmp_path):
    (tmp_path / "a.yaml").write_text(
        f"base: quickstart\npacking.max_tokens: {10**400}\npacking.batch: 4k samples of 9 tokens\n"
    )
    with pytest.raises(RecipeError, match=r"a\.yaml: [^\n]*$"):
        load_recipe(tmp_path / "a.yaml")


def test_a_key_of_two_lines_is_named_on_one(tmp_path):
    (tmp_path / "a.yaml").write_text('base: quickstart\n"a\\nb": 1\n')
    with pytest.raises(RecipeError, match=r"a\.yaml: unknown key 'a\\nb'; [^\n]*$"):
        load_recipe(tmp_path / "a.yaml")


def test_a_run_is_shown_in_one_line():
    assert repr(load_recipe("quickstart")) == "<Run 'runs/quickstart': genlip on 'scenes:0', 1,500 steps>"
