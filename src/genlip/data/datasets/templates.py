"""Templates: how the name of a class becomes a caption.

In: a template, such as "a photo of {a}.", and a name. Out: "a photo of an owl.". The article goes by the first letter
alone, so it is wrong before a silent h and a spoken "you" ("hour", "unicorn"): who minds writes "{}" and the article into
the name.
"""

from __future__ import annotations

__all__ = ["checked_template", "fill"]

_NAME, _WITH_ARTICLE = "{}", "{a}"


def fill(template: str, name: str) -> str:
    """The template with the name in place of each "{}", and the name with its article, a or an, in place of each "{a}".

    The name is put in as it stands, whatever braces it holds. Raises ValueError for a template with neither place.
    """
    article = "an" if name[:1].lower() in tuple("aeiou") else "a"
    pieces = checked_template(template).split(_WITH_ARTICLE)
    return f"{article} {name}".join(name.join(piece.split(_NAME)) for piece in pieces)


def checked_template(template: str) -> str:
    """The template. Raises ValueError where it has no place for a name: every class would get the same caption."""
    if _NAME not in template and _WITH_ARTICLE not in template:
        raise ValueError(
            f"the template {template!r} has no place for the name of a class: "
            'write {} for the name alone or {a} for the name with a or an, as in "a photo of {a}"'
        )
    return template
