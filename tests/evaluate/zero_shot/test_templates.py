"""Sets of templates: each can be filled, and is found by its name."""

import re

import pytest

from genlip.data.datasets.templates import fill
from genlip.evaluate.zero_shot.templates import TEMPLATE_SETS, chosen_templates


def test_every_template_names_the_class_and_no_two_are_the_same():
    for templates in TEMPLATE_SETS.values():
        captions = [fill(template, "zebu") for template in templates]
        assert all(caption.count("zebu") == 1 for caption in captions)
        assert len(set(captions)) == len(captions) > 0


def test_names_of_sets_and_templates_can_be_mixed_and_nothing_counts_twice():
    assert chosen_templates(["the {}", "plain", "{}", "name", "the {}"]) == ("the {}", "a photo of {a}", "{}")


@pytest.mark.parametrize(
    ("templates", "message"),
    [
        ([], "templates []: need a list of at least 1, such as ['a photo of {a}']"),
        ("{}", "templates '{}': need a list of at least 1"),
        (["{}", "photo"], "the template 'photo' has no place for the name of a class"),
        (["photo"], "; or name a set of templates: plain, name, photos, objects"),
    ],
)
def test_templates_that_name_nothing_are_refused(templates, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        chosen_templates(templates)
