"""Patch tokens: the likeliest tokens of the patches of images, and which patches the objects of each image cover.

In: prepared images, with their objects if these are known. Out: for each the k likeliest tokens of every patch, as texts and
as ids, and its objects as patches. Ids distinguish tokens with the same text, such as halves of a character.

Axes: p patches of an image, k tokens of a patch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

from genlip.data.datasets.regions import Named
from genlip.data.images import Patches
from genlip.data.packing import pack_images
from genlip.evaluate.frozen.features import KeyedImage
from genlip.evaluate.image_batches import ImageItem
from genlip.evaluate.readout.localization import PatchTokens, Place
from genlip.evaluate.readout.object_patches import covered, own_patches
from genlip.model.generation import patch_readout
from genlip.speaker import PatchWords, Speaker

__all__ = ["PatchReadout", "read_patch_tokens"]


class PatchReadout(NamedTuple):
    """The readout of one image.

    Attributes:
        key: its name.
        said: texts and probabilities of the tokens of every patch.
        patch_tokens: Int64[p k] ids of the same tokens, and the objects; no objects where they are not known.
    """

    key: str
    said: PatchWords
    patch_tokens: PatchTokens


def read_patch_tokens(speaker: Speaker, some: Sequence[ImageItem], k: int) -> list[PatchReadout]:
    """Read out the patches of images together; the order stays.

    Raises ValueError for k outside the vocabulary, and an object whose mask has another size than its image.
    """
    if not some:
        return []
    pack = pack_images([cast(Patches, one.prepared) for one in some], speaker.images, speaker.model.config).to(
        speaker.model.device
    )
    chances, tokens = (part.cpu().split(list(pack.patch_counts)) for part in patch_readout(speaker.model, pack, k))
    texts = {i: speaker.captions.piece(i) for ids in tokens for i in ids.unique().tolist()}
    reads = []
    for one, grid, chance, ids in zip(some, pack.grids, chances, tokens, strict=True):
        said = PatchWords(grid, [_pairs(*row, texts) for row in zip(ids.tolist(), chance.tolist(), strict=True)])
        reads.append(PatchReadout(one.item.key, said, PatchTokens(ids.numpy(), _places(one.item, one.size, grid))))
    return reads


def _pairs(ids: Sequence[int], chances: Sequence[float], texts: Mapping[int, str]) -> list[tuple[str, float]]:
    return [(texts[i], round(chance, 4)) for i, chance in zip(ids, chances, strict=True)]


def _places(item: KeyedImage, size: tuple[int, int], grid: tuple[int, int]) -> tuple[Place, ...]:
    """The objects of an image as patches; none where they are not known."""
    if not isinstance(item, Named):
        return ()
    places = []
    for words, mask in item.objects:
        if mask.shape != size:
            raise ValueError(
                f"{item.key}: the mask of {' '.join(words)!r} is {mask.shape[1]}x{mask.shape[0]} pixels, its image "
                f"{size[1]}x{size[0]}: give masks of the size of the upright image"
            )
        share = covered(mask, grid)
        places.append(Place(words, own_patches(share), share > 0))
    return tuple(places)
