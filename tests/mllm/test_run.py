"""Settings of runs of multimodal LLMs: what is refused, and what the packaged recipes say."""

from dataclasses import replace

import pytest

from genlip.mllm.run import ChatConfig, LearningRates, MLLMConfig, MLLMRun
from genlip.recipes.recipe import RecipeError, load_recipe, recipe_names, to_yaml


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"pixel_shuffle": 0}, r"pixel_shuffle is 0: it must be from 1 to 8"),
        ({"tiles": ((0, 1),)}, r"model\.tiles \[\[0, 1\]\]: rows and columns must be at least 1"),
        ({"tiles": ((1, 2),), "pixel_shuffle": 2}, r"model\.tiles and model\.pixel_shuffle above 1: use one of both"),
    ],
)
def test_a_model_that_cannot_be_is_refused(changes, told):
    with pytest.raises(ValueError, match=told):
        MLLMConfig(**changes)


def test_parts_and_rates_are_checked():
    run = MLLMRun()
    with pytest.raises(ValueError, match=r"train is \[\]: need some of encoder, projector, language"):
        replace(run, train=())
    with pytest.raises(ValueError, match=r"train is \['head'\]"):
        replace(run, train=("head",))
    with pytest.raises(ValueError, match="each at most once"):
        replace(run, train=("projector", "projector"))
    with pytest.raises(ValueError, match=r"learning_rates\.language is -1"):
        LearningRates(language=-1)
    with pytest.raises(ValueError, match="patch_schedule is for GenLIP alone"):
        replace(run, packing=replace(run.packing, patch_schedule=((0, 16),)))
    with pytest.raises(ValueError, match="captions and tokenizer are not used by task mllm"):
        replace(run, tokenizer="Qwen/Qwen3-0.6B")
    with pytest.raises(ValueError, match="each pack of dialogues would be compiled anew"):
        replace(run, compile=True)
    tiles = replace(run.model, tiles=((1, 2),))
    with pytest.raises(ValueError, match=r"model\.tiles are of a fixed size"):
        replace(run, model=tiles, images=replace(run.images, resize="native"))


@pytest.mark.parametrize("name", [name for name in recipe_names() if name.startswith("mllm")])
def test_a_recipe_is_read_back_from_its_yaml(name, tmp_path):
    run = load_recipe(name)
    (tmp_path / "run.yaml").write_text(to_yaml(run))
    assert load_recipe(tmp_path / "run.yaml") == run
    assert isinstance(run, MLLMRun)


def test_the_recipes_have_the_figures_of_the_field():
    align, instruct = load_recipe("mllm_align_1p5b"), load_recipe("mllm_instruct_7b")
    assert align.train == ("projector",)
    assert (align.optimizer.learning_rate, instruct.optimizer.learning_rate) == (1e-3, 1e-5)
    assert (align.images.size // 16) ** 2 == 576
    assert align.chat == ChatConfig(template="plain")
    assert instruct.chat == ChatConfig(template="chat")
    assert (align.epochs, align.optimizer.warmup_ratio, align.optimizer.weight_decay) == (1, 0.03, 0.0)
    assert instruct.train == ("projector", "language")
    assert (instruct.parallel, instruct.activation_checkpointing) == ("fsdp", True)
    assert instruct.init_from == f"{load_recipe('mllm_align_7b').out}/model"
    assert instruct.model.language_model == "Qwen/Qwen2.5-7B-Instruct"


def test_an_unknown_key_names_the_nearest():
    with pytest.raises(RecipeError, match=r"did you mean model\.language_model"):
        load_recipe("mllm_align_1p5b", ["--model.language_modell", "x"])
