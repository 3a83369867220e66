"""How much does one shared cache save when 100 captions are compared for each image?

Times the likelihoods of 100 captions, "a photo of a" and a name, by `caption_likelihoods`, which reads each image once and
the captions as a trie, and by a full pass over image and caption for each pair, in packs of neighbours of equal shape; and,
for scale, one pass over the images alone. Weights are random, token ids too: 4 for the template, 1 to 3 for each name. Two
settings: `small` is the quickstart's model and its end of one token, with 16 patches an image; `base` has 12 layers, 384
wide, the published models' end of two tokens, and 196 patches an image. Packs are laid out before the clock starts.

    python benchmarks/zero_shot.py [--setting small|base] [--end 1|2] [--repeats 5] [--threads 1]

The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence

import numpy as np
import torch
from shapes import CONFIG, machine, seconds

from genlip.data.packing import by_shape
from genlip.model.config import GenLIPConfig
from genlip.model.genlip import GenLIP
from genlip.model.likelihood import caption_likelihoods
from genlip.model.pack import Pack, Sample

QUICKSTART = GenLIPConfig(
    hidden_size=192, intermediate_size=512, num_hidden_layers=4, num_attention_heads=4, vocab_size=384, patch_size=16
)
# model, side of the grid, images, tokens of the end
SETTINGS = {"small": (QUICKSTART, 4, 16, 1), "base": (CONFIG, 14, 1, 2)}
CLASSES, ROWS = 100, 8192


def class_captions(vocabulary: int, ends: int, rng: np.random.Generator) -> list[list[int]]:
    """Captions that differ in their names only."""
    template, end = (rng.integers(vocabulary, size=length).tolist() for length in (4, ends))
    names = [rng.integers(vocabulary, size=rng.integers(1, 4)).tolist() for _ in range(CLASSES)]
    return [template + name + end for name in names]


def pairs(images: Sequence[Sample], captions: Sequence[Sequence[int]]) -> list[tuple[Pack, list[int]]]:
    """Every image with every caption, in packs of about `ROWS` rows, and the number of each pair."""
    samples = [image.with_text(caption) for image in images for caption in captions]
    order = by_shape(samples)
    size = ROWS // max(len(s.patches) + len(s.token_ids) for s in samples)
    chosen = [order[start : start + size] for start in range(0, len(order), size)]
    return [(Pack.of([samples[i] for i in some]), some) for some in chosen]


def by_pairs(model: GenLIP, packs: Sequence[tuple[Pack, list[int]]]) -> torch.Tensor:
    """Float[images * captions], by a full pass for each pair."""
    found = torch.empty(sum(len(numbers) for _, numbers in packs))
    for pack, numbers in packs:
        losses = model.token_losses(pack).split(list(pack.text_lengths))
        found[numbers] = torch.stack([-loss.sum() for loss in losses])
    return found


@torch.inference_mode()
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--setting", choices=SETTINGS, default="small", help="model and images (default small)")
    parser.add_argument("--end", type=int, help="tokens of the end (default 1 if small, 2 if base)")
    parser.add_argument("--repeats", type=int, default=5, help="timed calls of each way; the median counts (default 5)")
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch (default 1)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    config, side, number, ends = SETTINGS[args.setting]
    model, rng = GenLIP(config).eval(), np.random.default_rng(0)
    pixels = rng.integers(256, size=(number, side * side, config.patch_dim), dtype=np.uint8)
    images = [Sample(patches, (side, side)) for patches in pixels]
    captions, alone = class_captions(config.vocab_size, args.end or ends, rng), Pack.of(images)
    packs = pairs(images, captions)
    # also what warms up
    apart = (by_pairs(model, packs).view(number, -1) - caption_likelihoods(model, alone, captions)).abs().max()
    times: dict[str, list[float]] = {"pairs": [], "trie": [], "images": []}
    for _ in range(args.repeats):  # interleaved, so that a noisy machine disturbs all alike
        times["pairs"].append(seconds(lambda: by_pairs(model, packs)))
        times["trie"].append(seconds(lambda: caption_likelihoods(model, alone, captions)))
        times["images"].append(seconds(lambda: model.encode(alone)))
    ratios = [slow / fast for slow, fast in zip(times["pairs"], times["trie"], strict=True)]
    per_image = {name: statistics.median(taken) / number for name, taken in times.items()}
    print(
        f"an image and {CLASSES} captions: pairs {per_image['pairs'] * 1e3:.1f} ms, trie {per_image['trie'] * 1e3:.2f} ms, "
        f"the image alone {per_image['images'] * 1e3:.2f} ms; furthest apart {apart:.1e} nats"
    )
    result = {
        "setting": args.setting,
        "end_tokens": args.end or ends,
        "ratio": round(statistics.median(ratios), 2),
        "least_ratio": round(min(ratios), 2),
        "trie_to_image": round(per_image["trie"] / per_image["images"], 2),
        "ms_an_image": {name: round(taken * 1e3, 3) for name, taken in per_image.items()},
        "largest_difference": float(f"{apart:.2g}"),
        **machine(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
