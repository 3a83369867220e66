"""Tiles: an image -> itself squeezed to a square, and its parts at higher resolution, as LLaVA-NeXT reads images ("anyres").

In: pixels, the side of a tile, and pinpoints: the arrangements of tiles that may be used, as (rows, columns). Out: tiles,
and for each visual token of the image the row of its feature among those of all tiles.
Sizes, pixels, order and numbers of tokens are those of Transformers' LlavaNextImageProcessor, LlavaNextProcessor and
LlavaNextModel: features of padding are left out as far as both sides have equally many, and a newline vector follows each
row of the tiles, but not the squeezed image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from genlip.data.images import resize

__all__ = ["choose_tiling", "tile_layout", "tiles_of"]

Pinpoints = Sequence[tuple[int, int]]


def choose_tiling(height: int, width: int, tile: int, pinpoints: Pinpoints) -> tuple[int, int]:
    """(rows, columns) of the tiles of an image of `height` x `width` pixels.

    The pinpoint that keeps most pixels of the image without enlarging it wins; then the one with the least padding; then the
    first. Raises ValueError without pinpoints.
    """
    if not pinpoints:
        raise ValueError("no pinpoints: name at least one arrangement of tiles, such as (1, 1), in model.tiles")

    def kept_and_waste(pinpoint: tuple[int, int]) -> tuple[int, int]:
        rows, columns = pinpoint[0] * tile, pinpoint[1] * tile
        scale = min(columns / width, rows / height)
        kept = min(int(width * scale) * int(height * scale), width * height)
        return kept, kept - rows * columns

    rows, columns = max(pinpoints, key=kept_and_waste)  # the first of equal ones
    return rows, columns


def tiles_of(pixels: np.ndarray, tile: int, pinpoints: Pinpoints) -> list[np.ndarray]:
    """Tiles of UInt8[H, W, C] pixels, each UInt8[tile, tile, C].

    The first is the whole image, squeezed. The others are cut row by row from the image that is resized to fit into the
    arrangement of tiles without changing its aspect ratio, centred on black.
    """
    height, width, channels = pixels.shape
    rows, columns = choose_tiling(height, width, tile, pinpoints)
    fitted = resize(pixels, *_fitted_size(height, width, rows * tile, columns * tile), height_first=False)
    canvas = np.zeros((rows * tile, columns * tile, channels), np.uint8)
    top, left = (canvas.shape[0] - fitted.shape[0]) // 2, (canvas.shape[1] - fitted.shape[1]) // 2
    canvas[top : top + fitted.shape[0], left : left + fitted.shape[1]] = fitted
    cut = canvas.reshape(rows, tile, columns, tile, channels).swapaxes(1, 2).reshape(-1, tile, tile, channels)
    return [resize(pixels, tile, tile, height_first=False), *cut]


def tile_layout(height: int, width: int, tile: int, patch: int, pinpoints: Pinpoints) -> np.ndarray:
    """Int64[tokens]: for each visual token of an image of `height` x `width` pixels the row of its feature; -1 is a newline.

    Rows count the (tile / patch)² features of the squeezed image, then those of each tile, row-major. Raises ValueError for
    tiles that are no whole number of patches.
    """
    if tile % patch:
        raise ValueError(f"tiles of {tile} pixels are no whole number of patches of {patch} pixels: change images.size")
    side = tile // patch
    rows, columns = choose_tiling(height, width, tile, pinpoints)
    base = np.arange(side * side)
    tiles = np.arange(rows * columns * side * side).reshape(rows, columns, side, side) + len(base)
    grid = _without_padding(tiles.swapaxes(1, 2).reshape(rows * side, columns * side), height, width)
    newlines = np.full((len(grid), 1), -1)
    return np.concatenate([base, np.concatenate([grid, newlines], axis=1).reshape(-1)]).astype(np.int64)


def _fitted_size(height: int, width: int, most_height: int, most_width: int) -> tuple[int, int]:
    """The largest size of the same aspect ratio in the given limits, rounded up."""
    scale_width, scale_height = most_width / width, most_height / height
    if scale_width < scale_height:
        return min(math.ceil(height * scale_width), most_height), most_width
    return most_height, min(math.ceil(width * scale_height), most_width)


def _without_padding(grid: np.ndarray, height: int, width: int) -> np.ndarray:
    """The part of a grid of patches that holds the image; equally much is removed on both sides."""
    rows, columns = grid.shape
    if width / height > columns / rows:  # floats are multiplied and rounded in the order of Transformers
        padding = (rows - int(round(height * (columns / width), 7))) // 2
        return grid[padding : rows - padding]
    padding = (columns - int(round(width * (rows / height), 7))) // 2
    return grid[:, padding : columns - padding]
