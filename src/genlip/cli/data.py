"""The commands on collections: `genlip data inspect | pack | synth`.

In: arguments. Out: a summary, a page, or tar shards. Every command calls one documented Python function.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genlip.cli.parser import add_command
from genlip.report.formatting import counted, size
from genlip.terminal import say

if TYPE_CHECKING:
    from genlip.data.shards import ShardConfig, Written
    from genlip.data.sources import Source

__all__ = ["add_data"]

_SOURCES = """\
SOURCE is one of
  scenes documents charts        procedural images, also with a seed as in charts:7; notes, bars and closeups are small
  a folder                       images, each beside a .txt of the same name with its caption
  .csv .tsv .json .jsonl         rows with a path and a caption or a conversation; a .json of COCO, NoCaps or TextCaps
  .tar                           WebDataset shards, as img2dataset writes them
  .parquet                       rows with an image and a caption, as on the Hub
  .yaml                          a mixture: `sources`, a list of `source` with, if wanted, `fields`, `weight`, `images`
Files may be globs, brace ranges such as 'shards/{00000..00127}.tar', and URLs.
"""


def add_data(commands: Any) -> None:
    """Add `genlip data` and its three commands."""
    parser = commands.add_parser("data", help="inspect, pack or generate collections of captioned images")
    inner = parser.add_subparsers(dest="data_command", required=True, metavar="COMMAND")
    _add_inspect(inner)
    _add_pack(inner)
    _add_synth(inner)


def _add_inspect(commands: Any) -> None:
    example = (
        _SOURCES + "\n  genlip data inspect images/ --out report.html\n"
        "  genlip data inspect 'shards/*.tar' --fields re_caption=0.8,org_caption=0.2 --tokenizer Qwen/Qwen3-0.6B\n\n"
        "python: genlip.inspect_source(genlip.open_source(SOURCE))"
    )
    parser = add_command(commands, "inspect", _inspect, "summarise a collection, and show it on a page", example)
    _add_source(parser)
    parser.add_argument("--out", default="", help="HTML page to write (default: none)")
    parser.add_argument("--json", default="", help="JSON file to write the figures to (default: none)")
    parser.add_argument("--samples", type=int, default=1000, help="examples to look at (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the choice of examples (default: 0)")
    parser.add_argument("--resize", choices=("fixed", "native"), default="native", help="as in a recipe (default: native)")
    parser.add_argument("--size", type=int, default=224, help="side of a fixed image in pixels (default: 224)")
    parser.add_argument("--patch-size", type=int, default=16, help="side of a patch in pixels (default: 16)")
    parser.add_argument("--min-patches", type=int, default=16, help="fewest patches of a native image (default: 16)")
    parser.add_argument("--max-patches", type=int, default=1024, help="most patches of a native image (default: 1024)")
    parser.add_argument(
        "--tokenizer", default="bpe", help="tokenizer.json, folder or Hub id; bpe trains one of 8,192 tokens here (default)"
    )
    parser.add_argument("--prompt", default="", help="text before every caption (default: none)")
    parser.add_argument("--end", default="", help="token that ends a caption (default: the tokenizer's usual one)")
    parser.add_argument(
        "--lines", choices=("all", "first", "any"), default="all", help="lines of a caption that are read (default: all)"
    )
    parser.add_argument("--max-caption", type=int, default=512, help="tokens at which captions are cut (default: 512)")
    parser.add_argument("--max-tokens", type=int, default=16_384, help="rows of a pack (default: 16384)")
    parser.add_argument("--batch-size", default="1 pack", help="per update, such as '8M tokens' (default: 1 pack)")


def _inspect(args: argparse.Namespace) -> None:
    from genlip.data.images import ImageConfig
    from genlip.data.packing import PackingConfig
    from genlip.data.sources import open_source
    from genlip.inspect.inspection import inspect_source, usual_captions
    from genlip.inspect.page import inspection_page, inspection_text, warnings
    from genlip.model.config import GenLIPConfig
    from genlip.model.writing import write_json, write_text
    from genlip.progress import progress

    for file in filter(None, (args.out, args.json)):
        if not Path(file).absolute().parent.is_dir():
            raise ValueError(f"{file}: no such folder {Path(file).absolute().parent}")
    source = open_source(args.source, args.fields, allow_outside=args.allow_outside)
    images = ImageConfig(resize=args.resize, size=args.size, min_patches=args.min_patches, max_patches=args.max_patches)
    end = args.end.replace("\\n", "\n")
    captions = usual_captions(
        source, args.tokenizer, prompt=args.prompt, end=end, max_tokens=args.max_caption, lines=args.lines
    )  # fmt: skip
    model = GenLIPConfig(patch_size=args.patch_size, vocab_size=captions.tokenizer.get_vocab_size())
    packing = PackingConfig(max_tokens=args.max_tokens, batch=args.batch_size)
    with progress("looking at images", min(args.samples, len(source))) as advance:
        settings: dict[str, Any] = {"samples": args.samples, "seed": args.seed}
        found = inspect_source(source, images, captions, packing, model_config=model, **settings, advance=advance)
    say(inspection_text(found))
    if args.out:
        write_text(Path(args.out), inspection_page(found))
        say(f"page: {args.out}")
    if args.json:
        write_json(Path(args.json), {**found.to_json(), "warnings": warnings(found)})
        say(f"figures: {args.json}")


def _add_pack(commands: Any) -> None:
    example = (
        _SOURCES + "\n  genlip data pack images/ shards/ --workers 8\n"
        "  genlip data pack 'hf://datasets/owner/name/**/*.parquet' shards/ --verify\n\n"
        "After an interruption, the same command writes the missing shards.\n\n"
        "python: genlip.write_shards(genlip.open_source(SOURCE), OUT)"
    )
    parser = add_command(commands, "pack", _pack, "write a collection as tar shards", example)
    _add_source(parser)
    parser.add_argument("out", metavar="OUT", help="folder of the shards")
    _add_shards(parser)
    parser.add_argument(
        "--verify", action="store_true", help="decode every image, and leave out those that cannot be decoded"
    )


def _pack(args: argparse.Namespace) -> None:
    from genlip.data.shards import ShardConfig
    from genlip.data.sources import open_source

    config = ShardConfig(samples=args.samples_per_shard, verify=args.verify, drawn_as=args.drawn_as)
    _write(open_source(args.source, args.fields, allow_outside=args.allow_outside), args, config)


def _add_synth(commands: Any) -> None:
    example = (
        "  genlip data synth documents pages/ --samples 20000 --workers 2\n"
        "  genlip data inspect 'pages/*.tar' --fields caption --out pages.html\n\n"
        "Scenes, documents and charts also hold questions with answers, as conversations; read both with\n"
        "  --data.fields caption=0.7,conversations=0.3\n\n"
        'python: genlip.write_shards(genlip.Procedural("documents", 0, 10_000), OUT)'
    )
    parser = add_command(commands, "synth", _synth, "write procedural images with captions as tar shards", example)
    parser.add_argument("kind", metavar="KIND", help="scenes, closeups, documents, charts, notes or bars")
    parser.add_argument("out", metavar="OUT", help="folder of the shards")
    parser.add_argument("--samples", type=int, default=10_000, help="images to make (default: 10000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the images (default: 0)")
    _add_shards(parser)


def _synth(args: argparse.Namespace) -> None:
    from genlip.data.shards import ShardConfig
    from genlip.data.sources import Procedural
    from genlip.data.sources.fields import CaptionFields
    from genlip.data.sources.procedural import KINDS

    if args.kind not in KINDS or args.samples < 1 or args.seed < 0:
        raise ValueError(
            f"{args.samples} images of kind {args.kind!r} with seed {args.seed}: need at least 1 image, one of the kinds "
            f"{', '.join(KINDS)}, and a seed of at least 0"
        )
    fields = ["caption", "conversations"] if KINDS[args.kind].questions else ["caption"]
    source = Procedural(args.kind, args.seed, args.samples, CaptionFields(dict.fromkeys(fields, 1.0)))
    _write(source, args, ShardConfig(samples=args.samples_per_shard, drawn_as=args.drawn_as))


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help="see below")
    parser.add_argument("--fields", default="", help="fields with captions, as in re_caption=0.8,org_caption=0.2")
    parser.add_argument(
        "--allow-outside", action="store_true", help="read images outside a table's folder; only for tables that you trust"
    )


def _add_shards(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--samples-per-shard", type=int, default=10_000, metavar="N", help="(default: 10000)")
    parser.add_argument(
        "--drawn-as", choices=("png", "jpg", "webp"), default="png", help="format of images without a file (default: png)"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)")


def _write(source: Source, args: argparse.Namespace, config: ShardConfig) -> None:
    from genlip.data.shards import write_shards
    from genlip.progress import progress

    try:
        with progress(f"writing examples, {config.samples:,} a shard", len(source)) as advance:
            written = write_shards(source, args.out, config, args.workers, advance)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; the same command continues with the missing shards") from None
    if not written.samples:
        raise ValueError(
            f"{args.out}: no example could be written: {_left_out(written)}; genlip data inspect names the first"
        )
    say(f"{args.out}: {_summary(written)}")


def _left_out(written: Written) -> str:
    return ", ".join(f"{number} {reason}" for reason, number in written.skipped.most_common())


def _summary(written: Written) -> str:
    left_out, fields = _left_out(written), ", ".join(written.fields)
    return (
        f"{written.samples:,} samples in {counted(written.shards, 'shard')}, {size(written.bytes, 'MiB')}"
        + (f"; left out: {left_out}" if left_out else "")
        + (f"; captions: {fields}" if fields else "")
        + (" (--fields keeps others)" if fields == "txt" else "")
    )
