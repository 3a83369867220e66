"""Templates: captions from the names of classes.

In: a template, such as "a photo of {a}.", and a name. Out: "a photo of an owl.". The article depends only on the
first letter, so it is wrong for "hour" and "unicorn". To avoid that, write "{}" in the template and the article into the
name.
"""

from __future__ import annotations

__all__ = ["checked_template", "fill"]

_NAME, _WITH_ARTICLE = "{}", "{a}"


def fill(template: str, name: str) -> str:
    """The template with the name in place of each "{}", and the name with its article, a or an, in place of each "{a}".

    Braces in the name are kept. Raises ValueError for a template with neither place.
    """
    article = "an" if name[:1].lower() in tuple("aeiou") else "a"
    pieces = checked_template(template).split(_WITH_ARTICLE)
    return f"{article} {name}".join(name.join(piece.split(_NAME)) for piece in pieces)


def checked_template(template: str) -> str:
    """The template. Raises ValueError if it has no place for the name: every class would have the same caption."""
    if _NAME not in template and _WITH_ARTICLE not in template:
        raise ValueError(
            f"the template {template!r} has no place for the name of a class: "
            'write {} for the name alone or {a} for the name with a or an, as in "a photo of {a}"'
        )
    return template
