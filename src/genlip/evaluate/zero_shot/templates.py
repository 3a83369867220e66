"""Templates: sets of captions around the name of a class, by name.

In: templates, or names of sets of them. Out: templates, each with a place for the name (`genlip.data.datasets.templates`).
Several captions of one class are averaged, so that no single wording decides. A model knows the wording of its own training
captions best: a template in their style is worth more than many others.
"""

from __future__ import annotations

from collections.abc import Sequence

from genlip.data.datasets.templates import checked_template

__all__ = ["TEMPLATE_SETS", "chosen_templates"]

TEMPLATE_SETS: dict[str, tuple[str, ...]] = {
    "plain": ("a photo of {a}",),
    "name": ("{}",),
    "photos": (
        "a photo of {a}.",
        "{a}",
        "a picture of {a}.",
        "a close-up of {a}.",
        "a bright photo of {a}.",
        "a dark photo of {a}.",
        "a blurry photo of {a}.",
        "The image shows {a}.",
    ),
    "objects": ("{a}", "a picture of {a}", "a drawing of {a}", "an image with {a} in it", "a small {}", "a large {}"),
}


def chosen_templates(templates: Sequence[str]) -> tuple[str, ...]:
    """The templates, each once and in order, with the sets that are named among them in their names' places.

    Raises ValueError where there is none, or one has no place for a name and names no set.
    """
    if isinstance(templates, str) or not templates:
        raise ValueError(f"templates {templates!r}: need a list of at least 1, such as ['a photo of {{a}}']")
    found: list[str] = []
    for one in templates:
        try:
            found += TEMPLATE_SETS.get(one) or (checked_template(one),)
        except ValueError as error:
            raise ValueError(f"{error}; or name a set of templates: {', '.join(TEMPLATE_SETS)}") from None
    return tuple(dict.fromkeys(found))
