"""Pages: marks with fixed positions, and how they are painted. Documents and charts are pages.

In: a `Page`. Out: an RGB image. Nothing is random here.
Positions are pixels from the top left corner. Slanted marks (strokes, slices, dots) are painted at twice the size and
averaged; boxes and text lie on whole pixels and are painted directly, which is sharp and fast.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from PIL import Image, ImageDraw

from genlip.synthetic.fonts import PLAIN, font, reach, width

__all__ = ["RGB", "Box", "Dot", "Page", "Slice", "Stroke", "Style", "Text", "paint"]

RGB: TypeAlias = tuple[int, int, int]
FINE = 2  # scale at which slanted marks are painted


class Style(NamedTuple):
    """How text looks: the stem of its font's file, its size in pixels, its colour."""

    font: str
    size: int
    ink: RGB

    @property
    def above(self) -> int:
        """Rows above the baseline."""
        return reach(self.font, self.size)[0]

    @property
    def below(self) -> int:
        """Rows below the baseline."""
        return reach(self.font, self.size)[1]

    @property
    def height(self) -> int:
        """Rows of a line."""
        return self.above + self.below

    def width(self, text: str) -> int:
        """Columns of a text."""
        return width(text, self.font, self.size)


class Text(NamedTuple):
    """One line of text, from `at` along its baseline: to the right, or upwards if `turned`.

    `before` is the separator that a transcription writes before this text.
    """

    text: str
    at: tuple[int, int]
    style: Style
    before: str = "\n"
    turned: bool = False


class Box(NamedTuple):
    """A rectangle: left, top, right and bottom; the last two are exclusive."""

    corners: tuple[int, int, int, int]
    fill: RGB | None = None
    outline: RGB | None = None
    thick: int = 1


class Stroke(NamedTuple):
    """A line through points."""

    points: tuple[tuple[float, float], ...]
    ink: RGB
    thick: float


class Slice(NamedTuple):
    """A slice of a disc, from one share of a full turn to another, clockwise from the top."""

    centre: tuple[float, float]
    radius: float
    shares: tuple[float, float]
    fill: RGB


class Dot(NamedTuple):
    """A filled circle."""

    centre: tuple[float, float]
    radius: float
    fill: RGB


Mark: TypeAlias = Text | Box | Stroke | Slice | Dot


class Page(NamedTuple):
    """A page, width by height, and its marks in reading order. Text is painted last, whatever its place in the order."""

    size: tuple[int, int]
    paper: RGB
    marks: tuple[Mark, ...]

    @property
    def texts(self) -> tuple[Text, ...]:
        """The text marks, in reading order."""
        return tuple(mark for mark in self.marks if isinstance(mark, Text))


def paint(page: Page) -> Image.Image:
    """The image, RGB, of the page's size."""
    image = Image.new("RGB", page.size, page.paper)
    pen = ImageDraw.Draw(image)
    for mark in page.marks:
        if isinstance(mark, Box):
            _paint_box(pen, mark)
    image = _paint_slanted(image, [mark for mark in page.marks if isinstance(mark, Stroke | Slice | Dot)])
    pen = ImageDraw.Draw(image)
    for text in page.texts:
        if text.turned:
            _paint_turned(image, text)
        else:
            pen.text(text.at, text.text, text.style.ink, font(*text.style[:2], PLAIN), anchor="ls")
    return image


def _paint_box(pen: ImageDraw.ImageDraw, box: Box) -> None:
    left, top, right, bottom = box.corners
    pen.rectangle((left, top, right - 1, bottom - 1), box.fill, box.outline, box.thick)


def _paint_slanted(image: Image.Image, marks: list[Stroke | Slice | Dot]) -> Image.Image:
    """The image with these marks on it, in the order given; only the part that they touch is enlarged."""
    if not marks:
        return image
    boxes = [_surroundings(mark) for mark in marks]
    left, top = (int(max(0, min(box[side] for box in boxes) - 1)) for side in (0, 1))
    right, bottom = (int(min(image.size[side], max(box[2 + side] for box in boxes) + 2)) for side in (0, 1))
    part = image.crop((left, top, right, bottom)).resize(
        ((right - left) * FINE, (bottom - top) * FINE), Image.Resampling.NEAREST
    )
    pen = ImageDraw.Draw(part)
    for mark in marks:
        _paint_fine(pen, mark, left, top)
    image.paste(part.reduce(FINE), (left, top))
    return image


def _surroundings(mark: Stroke | Slice | Dot) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of what a mark may touch."""
    if isinstance(mark, Stroke):
        across, down = zip(*mark.points, strict=True)
        return min(across) - mark.thick, min(down) - mark.thick, max(across) + mark.thick, max(down) + mark.thick
    (x, y), r = mark.centre, mark.radius
    return x - r, y - r, x + r, y + r


def _paint_fine(pen: ImageDraw.ImageDraw, mark: Stroke | Slice | Dot, left: int, top: int) -> None:
    if isinstance(mark, Stroke):
        points = [((x - left) * FINE, (y - top) * FINE) for x, y in mark.points]
        pen.line(points, mark.ink, round(mark.thick * FINE), joint="curve")
        return
    (x, y), r = mark.centre, mark.radius
    box = ((x - left - r) * FINE, (y - top - r) * FINE, (x - left + r) * FINE, (y - top + r) * FINE)
    if isinstance(mark, Dot):
        pen.ellipse(box, mark.fill)
    else:
        start, end = (360 * share - 90 for share in mark.shares)
        pen.pieslice(box, start, end, mark.fill)


def _paint_turned(image: Image.Image, text: Text) -> None:
    style = text.style
    lying = Image.new("L", (style.width(text.text) + 2, style.height))
    ImageDraw.Draw(lying).text((1, style.above), text.text, 255, font(*style[:2], PLAIN), anchor="ls")
    x, y = text.at
    image.paste(style.ink, (x - style.above, y + 1 - lying.width), lying.transpose(Image.Transpose.ROTATE_90))
