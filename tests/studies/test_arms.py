"""Arms by name, with further settings."""

import pytest

from genlip.recipes.recipe import load_recipe
from genlip.studies.arms import ARMS, read_arm, read_arms


@pytest.mark.parametrize("name", ARMS)
def test_every_arm_is_a_run_of_any_recipe_of_genlip(name):
    run = load_recipe("quickstart", read_arm(name).overrides)
    assert run.task == ARMS[name].get("task", "genlip")


def test_settings_follow_the_name():
    arm = read_arm("siglip:pairs.bias=-4,pairs.causal=true")
    assert arm.name == "siglip:pairs.bias=-4,pairs.causal=true"
    run = load_recipe("quickstart", arm.overrides)
    assert (run.pairs.bias, run.pairs.causal) == (-4, True)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["sigl1p"], "did you mean siglip"),
        (["siglip:pairs.bias"], "pairs.bias has no value"),
        (["siglip", "siglip"], "each once"),
        ([], "at least one"),
    ],
)
def test_others_are_refused(texts, message):
    with pytest.raises(ValueError, match=message):
        read_arms(texts)
