"""Draw readings of a seven-segment display: images with their text, as a user would photograph and type them.

    python examples/seven_segment/draw.py runs/seven_segment

Writes OUT/train and OUT/valid with 50 images each and OUT/test with 200, each NAME.png with NAME.txt, and mixtures of the
same names; OUT/train.yaml shows each image in many variants. No reading is in two of them.
The digits are bars of a display as in meters and clocks; their slant, gaps, colours and size differ from image to image.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from PIL import Image, ImageDraw

# Bars that are lit, in the order: top, upper left, upper right, middle, lower left, lower right, bottom.
LIT = {
    "0": "1110111", "1": "0010010", "2": "1011101", "3": "1011011", "4": "0111010", "5": "1101011", "6": "1101111",
    "7": "1010010", "8": "1111111", "9": "1111011", "-": "0001000", " ": "0000000",
}  # fmt: skip
COLOURS = [
    ("#ff3b30", "#1a0505"),
    ("#44ff66", "#04140a"),
    ("#2b2b2b", "#b7c4a5"),
    ("#38c6ff", "#020a14"),
    ("#202020", "#d8dccf"),
]
PARTS = {"train": 50, "valid": 50, "test": 200}


def reading(rng: random.Random) -> str:
    """A number as a meter shows it, or a time."""
    kind = rng.random()
    if kind < 0.25:
        return f"{rng.randrange(24):02}:{rng.randrange(60):02}"
    digits = "".join(rng.choice("0123456789") for _ in range(rng.randint(2, 7)))
    sign = "-" if rng.random() < 0.15 else ""
    point = rng.randint(1, len(digits) - 1) if kind < 0.7 else len(digits)
    return sign + digits[:point] + ("." + digits[point:] if point < len(digits) else "")


def drawn(text: str, rng: random.Random) -> Image.Image:
    """The display with a reading."""
    lit, ground = rng.choice(COLOURS)
    height, slant = rng.randint(28, 60), rng.uniform(0, 0.15)
    width, bar = round(height * rng.uniform(0.5, 0.62)), max(3, round(height * rng.uniform(0.1, 0.15)))
    space, gap = round(width * rng.uniform(0.3, 0.45)), max(1, bar // 4)
    steps = [space if one in ".:" else width + space for one in text]
    image = Image.new("RGB", (sum(steps) + 2 * space + round(slant * height), height + 2 * space), ground)
    draw, left = ImageDraw.Draw(image), space
    for one, step in zip(text, steps, strict=True):
        for box in _bars(one, width, height, bar, gap):
            _fill(draw, box, left, space, height, slant, lit)
        left += step
    return image


def _bars(one: str, width: int, height: int, bar: int, gap: int) -> list[tuple[int, int, int, int]]:
    """Boxes of the lit bars of a character, from its upper left corner."""
    if one == ".":
        return [(-bar, height - bar, 0, height)]
    if one == ":":
        return [
            (-bar, height // 3 - bar // 2, 0, height // 3 + bar // 2),
            (-bar, 2 * height // 3 - bar // 2, 0, 2 * height // 3 + bar // 2),
        ]
    middle = height // 2
    across = [(gap, top, width - gap, top + bar) for top in (0, middle - bar // 2, height - bar)]
    down = [
        (left, top + gap, left + bar, bottom - gap)
        for top, bottom in ((0, middle), (middle, height))
        for left in (0, width - bar)
    ]
    boxes = [across[0], down[0], down[1], across[1], down[2], down[3], across[2]]
    return [box for box, on in zip(boxes, LIT[one], strict=True) if on == "1"]


def _fill(
    draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], left: int, top: int, height: int, slant: float, colour: str
) -> None:
    corners = [(box[0], box[1]), (box[2], box[1]), (box[2], box[3]), (box[0], box[3])]
    draw.polygon([(left + x + slant * (height - y), top + y) for x, y in corners], colour)


def main() -> None:
    """Write the images and texts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the images")
    out, rng, seen = parser.parse_args().out, random.Random(0), set[str]()
    for part, count in PARTS.items():
        (out / part).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            while (text := reading(rng)) in seen:
                pass
            seen.add(text)
            drawn(text, rng).save(out / part / f"{number:03}.png")
            (out / part / f"{number:03}.txt").write_text(text + "\n", "utf8")
    for part, kind in (("train", "print"), ("valid", "line"), ("test", "line")):
        (out / f"{part}.yaml").write_text(f"sources:\n  - {{source: {part}, degrade: {kind}, weight: 1}}\n", "utf8")


if __name__ == "__main__":
    main()
