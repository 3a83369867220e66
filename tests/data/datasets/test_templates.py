"""Templates: where a name goes, and its article."""

import pytest

from genlip.data.datasets.templates import checked_template, fill


@pytest.mark.parametrize(
    ("template", "name", "caption"),
    [
        ("a photo of {a}", "dog", "a photo of a dog"),
        ("a photo of {a}.", "owl", "a photo of an owl."),
        ("{a}", "Airedale", "an Airedale"),
        ("{}", "ankle boot", "ankle boot"),
        ("the {} among {}s", "cat", "the cat among cats"),
        ("{}: {a} or {a}", "egg", "egg: an egg or an egg"),
        ("{a}", "", "a "),
        ("{b} {}", "cat", "{b} cat"),
        ("{} {a}", "{a} {}", "{a} {} a {a} {}"),
    ],
)
def test_a_name_goes_where_the_template_says(template, name, caption):
    assert fill(template, name) == caption


@pytest.mark.parametrize("template", ["a photo", "", "{ }", "{name}"])
def test_a_template_without_a_place_is_refused(template):
    with pytest.raises(ValueError, match=r"has no place for the name of a class: write \{\} for the name alone or \{a\}"):
        fill(template, "dog")
    with pytest.raises(ValueError, match="the template"):
        checked_template(template)
