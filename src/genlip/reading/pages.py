"""Reading of pages: an image of print -> the text of its lines with their boxes, in reading order.

In: a `Speaker` that was trained on lines of print, and an image. Out: `ReadLine`s. Each line is cut out with a margin and
brought to the height that lines have in training (`degrade: print` of a mixture).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice, pairwise
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image

from genlip.data.images import ImageLike, Patches, decode_pixels
from genlip.encoder import check_batches
from genlip.reading.layout import Box, find_lines
from genlip.speaker import Speaker
from genlip.synthetic.degradation import DEGRADATIONS, line_size

__all__ = ["Layout", "ReadLine", "read_lines", "read_page"]

Layout = Literal["page", "line"]

_HEIGHT = DEGRADATIONS["print"].height  # pixels of a line
_MARGIN = 0.33  # around a line, in heights
_LONGEST = 36  # widths in heights: a longer line is read in parts
_MOST_PIXELS = 8_000_000  # of a page while lines are found: about 250 dots per inch on A4


class ReadLine(NamedTuple):
    """The text of a line, and its box on the image: left, top, right and bottom in pixels, half open."""

    text: str
    box: Box


def read_page(speaker: Speaker, image: ImageLike, *, layout: Layout = "page", batch_size: int = 32) -> list[ReadLine]:
    """The lines of print on an image, in reading order; empty where there is no print. Raises `ImageError`.

    layout      "page" finds the lines; "line" takes the image as one line, with a small margin around its print
    batch_size  lines that are read at a time
    """
    check_batches([image], batch_size, Patches)
    pixels = decode_pixels(image, speaker.max_pixels)
    whole = Box(0, 0, pixels.shape[1], pixels.shape[0])
    boxes = [whole] if layout == "line" else _lines_of(pixels)
    crops = boxes if layout == "line" else _with_margins(boxes, whole)
    texts = _read(speaker, [_parts(pixels, crop) for crop in crops], batch_size)
    return [ReadLine(text, box) for text, box in zip(texts, boxes, strict=True) if text]


def read_lines(speaker: Speaker, images: Sequence[ImageLike], *, batch_size: int = 32) -> list[str]:
    """The text of images of one line each, with a small margin around its print. Raises `ImageError`."""
    check_batches(images, batch_size, Patches)
    texts = list[str]()
    for start in range(0, len(images), batch_size):
        some = (decode_pixels(image, speaker.max_pixels) for image in images[start : start + batch_size])
        texts += _read(speaker, [_parts(pixels, Box(0, 0, pixels.shape[1], pixels.shape[0])) for pixels in some], batch_size)
    return texts


def _read(speaker: Speaker, lines: Sequence[Sequence[Image.Image]], batch_size: int) -> list[str]:
    """The text of each line, whose parts are joined by spaces."""
    texts = iter(speaker.caption([part for parts in lines for part in parts], batch_size))
    return [" ".join(islice(texts, len(parts))) for parts in lines]


def _lines_of(pixels: np.ndarray) -> list[Box]:
    """The boxes of the lines of a page, found on a copy of at most `_MOST_PIXELS`."""
    height, width = pixels.shape[:2]
    factor = max(1, int(np.ceil((height * width / _MOST_PIXELS) ** 0.5)))
    page = Image.fromarray(pixels).convert("L").reduce(factor)
    scaled = (Box(*(factor * side for side in box)) for box in find_lines(np.asarray(page)))
    return [box._replace(right=min(box.right, width), bottom=min(box.bottom, height)) for box in scaled]


def _with_margins(boxes: Sequence[Box], page: Box) -> list[Box]:
    """Boxes as lines are cut out for training: with a margin, and not lower because no letter has an ascender."""
    heights = [box.bottom - box.top for box in boxes]
    usual, framed = float(np.median(heights)) if heights else 0.0, []
    for box, own in zip(boxes, heights, strict=True):
        across = round(_MARGIN * own)
        down = across + (round((usual - own) / 2) if 0.5 * usual < own < usual else 0)
        left, top = max(page.left, box.left - across), max(page.top, box.top - down)
        framed.append(Box(left, top, min(page.right, box.right + across), min(page.bottom, box.bottom + down)))
    return framed


def _parts(pixels: np.ndarray, box: Box) -> list[Image.Image]:
    """A line at the height of training; one that is too long to be read at once, cut between words into equal parts."""
    line = Image.fromarray(pixels[box.top : box.bottom, box.left : box.right])
    line = line.resize(line_size(line.size, _HEIGHT), Image.Resampling.BICUBIC)
    longest = _LONGEST * _HEIGHT
    count = 1 if line.width <= longest else -(-4 * line.width // (3 * longest))  # cuts move by a sixth of a part at most
    edges = _cuts(np.asarray(line.convert("L")), count)
    return [line.crop((left, 0, right, _HEIGHT)) for left, right in pairwise(edges)]


def _cuts(line: np.ndarray, count: int) -> list[int]:
    """The edges of `count` parts of a line, UInt8[H, W]; inner ones where a word ends."""
    ink = np.abs(line.astype(np.int16) - np.median(line).astype(np.int16)).sum(0)
    near = np.convolve(ink, np.ones(_HEIGHT // 4), mode="same")  # lowest in the middle of a space between words
    reach, edges = len(ink) // (6 * count), [0]
    for part in range(1, count):
        first = part * len(ink) // count - reach
        edges.append(first + int(near[first : first + 2 * reach + 1].argmin()))
    return [*edges, len(ink)]
