"""The text and the page of an inspection: figures, and warnings with the settings to change.

In: an `Inspection`. Out: `warnings`, a `summary` for a terminal, and one self-contained HTML page. Captions and names of
files may contain control characters, which are replaced in both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from genlip.inspect.figures import QUANTILES, Inspection, Part
from genlip.inspect.inspection import remedy
from genlip.report import charts, html
from genlip.report.formatting import compact, counted, estimate, figure, one_line, share
from genlip.report.html import Headline, Section, Thumbnail
from genlip.terminal import harmless

__all__ = ["inspection_page", "inspection_text", "warnings"]


# -- warnings


def warnings(found: Inspection) -> list[str]:
    """Problems, each with the setting to change."""
    return [
        *_unusable_warnings(found),
        *_part_warnings(found),
        *_caption_warnings(found),
        *_size_warnings(found),
    ]


def _part_warnings(found: Inspection) -> Iterator[str]:
    for part in found.parts:
        if part.per_epoch > 10 * part.examples > 0:
            times = part.per_epoch / part.examples
            yield (
                f"Each of the {part.examples:,} examples of {part.name} comes {times:,.0f} times in an epoch, which leads "
                "to overfitting: lower the weight of this source."
            )


def _unusable_warnings(found: Inspection) -> Iterator[str]:
    share = 1 - found.usable / found.looked_at
    if share > 0.01:
        reason, some = next(iter(found.skipped.items()))
        most = f"{len(some)} of them for one reason, “{reason}”"
        yield f"{share:.1%} of the examples cannot be used, {most}: {remedy(reason)}."


def _caption_warnings(found: Inspection) -> Iterator[str]:
    tokens, cut, cut_by_pack = found.quantiles("tokens"), found.share("cut"), found.share("cut_by_pack")
    if found.duplicates > 0.2:
        yield (
            f"{found.duplicates:.1%} of the captions repeat another caption exactly, so a model may memorise them: remove "
            "duplicates, or name a field with a caption for each image (data.fields)."
        )
    lined = found.several_lines / found.usable
    if lined and found.captions.lines == "all":
        yield (
            f"{lined:.1%} of the captions have several lines, which are read as one text. If each line is a separate "
            "caption, set captions.lines to any (a random line in each epoch) or first."
        )
    cut_lines = sum(one.cut and one.lines > 1 for one in found.seen)
    if cut > 0.05 and not (found.captions.lines == "all" and cut_lines > found.count("cut") / 2):
        yield (
            f"{cut:.1%} of the captions are cut, so their ends are not trained on: raise captions.max_tokens (now "
            f"{found.captions.max_tokens}; 99% of the captions have at most {tokens['p99']:.0f} tokens)."
        )
    if cut_by_pack > 0.05:
        yield (
            f"{cut_by_pack:.1%} of the captions are cut because their image leaves no room in a pack: raise "
            f"packing.max_tokens (now {found.packing.max_tokens}) or lower images.max_patches."
        )
    if tokens["p50"] < 5:
        yield (
            f"Half of the captions have {tokens['p50']:g} tokens or fewer. Such short labels teach little: name a field "
            "with longer captions (data.fields), or let a model write captions."
        )


def _size_warnings(found: Inspection) -> Iterator[str]:
    enlarged, full, packing = found.share("resized", "enlarged"), found.packs.packing_efficiency, found.packing
    if enlarged > 0.5:
        less = "images.min_patches" if found.images.resize == "native" else "images.size"
        yield (
            f"{enlarged:.1%} of the images are enlarged, which costs tokens and adds no detail: lower {less}, or use larger "
            "images."
        )
    if full < 0.98:
        yield (
            f"Packs are only {full:.1%} full, so {1 - full:.1%} of every step is wasted: raise packing.packing_buffer (now "
            f"{packing.packing_buffer}) or packing.max_tokens (now {packing.max_tokens})."
        )


# -- words


def inspection_text(found: Inspection) -> str:
    """All figures and warnings, as lines for a terminal."""
    figures = {**_image_words(found), **_caption_words(found), **_pack_words(found)}
    lines = [
        f"{found.name}: {found.examples:,} examples, {found.looked_at:,} looked at, {found.usable:,} usable",
        *(f"note: {note}" for note in found.notes),
        *(f"part {part.name}: {_part_words(part)}" for part in found.parts),
        *(f"skipped: {reason}: {len(some):,}, such as {some[0].message}" for reason, some in found.skipped.items()),
        *(f"{name}: {words}" for name, words in figures.items()),
        *(f"warning: {text}" for text in warnings(found)),
    ]
    return harmless("\n".join(" ".join(line.split()) for line in lines))


def _part_words(part: Part) -> str:
    times = f" ({part.per_epoch / part.examples:.2f} times each)" if part.examples else ""
    seen = f"{part.looked_at:,} looked at, {part.usable:,} usable"
    return f"{counted(part.examples, 'example')}, {part.per_epoch:,} per epoch{times}, {seen}"


def _image_words(found: Inspection) -> dict[str, str]:
    """Names and figures of the images."""
    config, patch = found.images, found.patch_size
    native = f"own aspect ratio, {config.min_patches:,} to {config.max_patches:,} patches of {patch}x{patch} pixels"
    fixed = f"resized to {config.size}x{config.size} pixels, patches of {patch}x{patch}"
    resized = ", ".join(f"{share(found.share('resized', how))} {how}" for how in ("enlarged", "reduced"))
    very_long = f"{found.count('squeezed'):,} too long to keep their aspect ratio"
    return {
        "image size": f"{_median(found, 'width')} wide, {_median(found, 'height')} high, in pixels",
        "image files": ", ".join(f"{number:,} {name}" for name, number in found.formats.items()),
        **({"file size": f"{_median(found, 'bytes')} bytes"} if "bytes" in found.measures else {}),
        "resize": f"{native if config.resize == 'native' else fixed}: {resized}",
        **({"very long images": very_long} if found.count("squeezed") else {}),
        "patches per image": _median(found, "patches"),
    }


def _caption_words(found: Inspection) -> dict[str, str]:
    """Names and figures of the captions."""
    caption, times = found.most_frequent_caption
    kinds = {
        "of several lines": found.several_lines,
        "with several captions": found.count("several"),
        "conversations": found.count("conversation"),
    }
    cut = {f"at captions.max_tokens {found.captions.max_tokens:,}": "cut", "by the size of a pack": "cut_by_pack"}
    return {
        "caption tokens": _median(found, "tokens"),
        "captions cut": ", ".join(f"{share(found.share(field))} {what}" for what, field in cut.items()),
        **{what: f"{number / found.usable:.1%}" for what, number in kinds.items() if number},
        "repeated captions": share(found.duplicates),
        **({"most frequent caption": f"{times:,} times “{one_line(caption)}”"} if times > 1 else {}),
    }


def _pack_words(found: Inspection) -> dict[str, str]:
    """Names and figures of packs and epochs."""
    packs, epoch, packing = found.packs, found.epoch, found.packing
    return {
        "packs": f"{packs.packing_efficiency:.1%} full (least {packs.least_efficiency:.1%}) "
        f"of {packing.max_tokens:,} tokens, {packs.samples:.1f} samples each",
        "tokens per sample": f"{_median(found, 'rows')}; {packs.patch_share:.1%} are patches, the rest text",
        "epoch": f"about {estimate(epoch['samples'])} samples, {estimate(epoch['tokens'])} tokens, "
        f"{estimate(epoch['packs'])} packs, {estimate(epoch['updates'])} updates of {counted(packing.packs, 'pack')}",
    }


def _median(found: Inspection, measure: str) -> str:
    """The median of a measure, and its range."""
    q = found.quantiles(measure)
    if q["least"] == q["most"]:
        return f"{q['least']:,.0f}"
    return f"median {q['p50']:,.0f}, from {q['least']:,.0f} to {q['most']:,.0f}"


# -- page

# Title and unit of each measure.
_MEASURES = {
    "width": ("Width", "pixels"),
    "height": ("Height", "pixels"),
    "aspect": ("Width : height", ""),
    "bytes": ("File size", "bytes"),
    "patches": ("Patches per image", ""),
    "tokens": ("Length of captions", "tokens"),
    "rows": ("Patches and text per sample", "tokens"),
}


def inspection_page(found: Inspection) -> str:
    """All figures and warnings as one self-contained HTML page."""
    sections = [
        Section("Overview", _story(found) + html.headlines(_headlines(found)) + html.warning_list(warnings(found))),
        *([Section("Parts", _part_table(found.parts))] if found.parts else []),
        *([Section("Left out", html.paragraphs(*found.notes))] if found.notes else []),
        *([Section("Unusable examples", _skipped_table(found))] if found.skipped else []),
        Section(
            counted(len(found.shown), "example"),
            html.contact_sheet(Thumbnail(image, one.caption, f"{one.width}x{one.height}") for one, image in found.shown),
        ),
        Section("Images", _figures(found, _image_words(found), "width", "height", "aspect", "bytes", "patches")),
        Section("Captions", _figures(found, _caption_words(found), "tokens")),
        Section("Packs", _figures(found, _pack_words(found), "rows")),
        Section("All figures", _quantile_table(found)),
    ]
    return html.page(f"Inspection of {found.name}", sections)


def _story(found: Inspection) -> str:
    if found.looked_at == found.examples:
        drawn = f"All {found.examples:,} examples were looked at."
    else:
        drawn = (
            f"{found.looked_at:,} of {found.examples:,} examples were looked at, drawn at random from the whole source. "
            "Figures of an epoch are scaled from them to all examples."
        )
    read = "They were read as in a run with these settings."
    return html.paragraphs(f"{drawn} {read}", *([] if warnings(found) else ["No problems were found."]))


def _headlines(found: Inspection) -> list[Headline]:
    width, height = (found.quantiles(side)["p50"] for side in ("width", "height"))
    packs, epoch = found.packs, found.epoch
    return [
        Headline(compact(found.examples), "examples", f"{found.usable / found.looked_at:.1%} of those looked at are usable"),
        Headline(f"{width:.0f}x{height:.0f}", "pixels", "median width and height"),
        Headline(f"{found.quantiles('tokens')['p50']:,.0f}", "caption tokens", "median length"),
        Headline(f"{packs.packing_efficiency:.1%}", "packing efficiency", f"{packs.samples:.1f} samples a pack on average"),
        Headline(estimate(epoch["tokens"]), "tokens an epoch", f"in about {estimate(epoch['updates'])} updates"),
    ]


def _part_table(parts: Sequence[Part]) -> str:
    rows = [
        (part.name, *(f"{number:,}" for number in (part.examples, part.per_epoch, part.looked_at, part.usable)))
        for part in parts
    ]
    return html.table(("part", "examples", "per epoch", "looked at", "usable"), rows)


def _skipped_table(found: Inspection) -> str:
    rows = [
        (reason, f"{len(some):,}", f"{len(some) / found.looked_at:.1%}", [one_line(one.message, 240) for one in some[:5]])
        for reason, some in found.skipped.items()
    ]
    return html.table(("reason", "examples", "share", "first examples"), rows)


def _figures(found: Inspection, words: Mapping[str, str], *names: str) -> str:
    """A table of figures beside a histogram of each measure that varies."""
    measures = {name: found.measures[name] for name in names if name in found.measures}
    drawn = [
        charts.histogram(_MEASURES[name][0], values, _MEASURES[name][1])
        for name, values in measures.items()
        if values.min() < values.max()
    ]
    facts = html.key_value_table({f"{name[0].upper()}{name[1:]}": text for name, text in words.items()})
    return html.side_by_side(*drawn, facts)


def _quantile_table(found: Inspection) -> str:
    measured = {name: found.quantiles(name) for name in _MEASURES if name in found.measures}
    head = ("", "least", *(f"{q}%" for q in QUANTILES), "most", "mean")
    rows = [
        (", ".join(filter(None, _MEASURES[name])), *(figure(value) for value in figures.values()))
        for name, figures in measured.items()
    ]
    return html.table(head, rows)
