"""Indexing and opening of tar shards: time, memory and disk, beside Python's tarfile.

Writes shards of 10,000 samples with small members (100 bytes of image, 60 of text, 100 of JSON; headers cost the same
whatever their members hold) and measures, in processes of their own so that nothing is warm but the system's file cache:

    tarfile   names and places of the members of one shard, by the standard library
    fresh     opening without an index, all processors
    single    the same, in one process
    threads   the same, by as many threads as processors
    times     the same, of shards whose every member has an extended header with its time, as webdataset's writer once made
    open      opening with the indexes there; memory above what the imports take
    read      random samples, image and caption

    python benchmarks/tar_index.py [--samples 1000000] [--folder /some/disk]

The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from genlip.data.sources import tar_index
from genlip.data.sources.cache import ShardCache
from genlip.data.sources.fields import CaptionFields
from genlip.data.sources.tar import TarShards

PER_SHARD = 10_000
READS = 20_000


def template(times: bool) -> bytes:
    """The members of sample 000000000."""
    parts = []
    for suffix, data in (("jpg", b"i" * 100), ("json", json.dumps({"caption": "c" * 86}).encode()), ("txt", b"t" * 60)):
        member = tarfile.TarInfo(f"000000000.{suffix}")
        member.size, member.mtime = len(data), 1700000000.1234567 if times else 1700000000
        parts += [member.tobuf(tarfile.PAX_FORMAT if times else tarfile.USTAR_FORMAT), data, bytes(512 - len(data))]
    return b"".join(parts)


def write_shard(path: Path, first: int, samples: int, times: bool) -> None:
    """One shard: copies of the template with their own names and checksums."""
    whole = template(times)
    copies = np.tile(np.frombuffer(whole, np.uint8), (samples, 1))
    digits = np.arange(first, first + samples)[:, None] // 10 ** np.arange(8, -1, -1) % 10 + ord("0")
    for name in re.finditer(rb"000000000\.", whole):
        header = copies[:, name.start() : name.start() + 512]
        header[:, :9], header[:, 148:156] = digits, ord(" ")
        sums = header.sum(axis=1, dtype=np.int64)[:, None]
        header[:, 148:155] = np.hstack([sums // 8 ** np.arange(5, -1, -1) % 8 + ord("0"), np.zeros_like(sums)])
    path.write_bytes(copies.tobytes() + bytes(1024))


def write_shards(folder: Path, samples: int, times: bool = False) -> list[str]:
    """As many shards as the samples need, by all processors."""
    folder.mkdir()
    firsts = range(0, samples, PER_SHARD)
    jobs = [(folder / f"{first // PER_SHARD:05}.tar", first, min(PER_SHARD, samples - first), times) for first in firsts]
    with multiprocessing.Pool() as pool:
        pool.starmap(write_shard, jobs)
    return [str(path) for path, *_ in jobs]


def resident() -> int:
    """Bytes of memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def scan(path: str) -> dict[str, float]:
    """Seconds that tarfile takes per million headers."""
    start = time.perf_counter()
    with tarfile.open(path, "r:") as tar:
        members = len([(member.name, member.offset_data, member.size) for member in tar])
    return {"seconds": time.perf_counter() - start, "members": members}


def opened(paths: list[str], cache: ShardCache) -> dict[str, float]:
    """Time and memory of opening; of random reads then."""
    before = resident()
    start = time.perf_counter()
    source = TarShards.open(paths, CaptionFields({}), "benchmark", cache)
    took = {"seconds": time.perf_counter() - start, "samples": len(source), "resident_bytes": resident() - before}
    places = np.random.default_rng(0).integers(len(source), size=READS).tolist()
    start = time.perf_counter()
    for place in places:
        source[place]
    return took | {"read_us": (time.perf_counter() - start) / READS * 1e6}


def allocated(paths: list[str], cache: ShardCache) -> dict[str, float]:
    """Bytes that Python and NumPy hold for an opened source."""
    tracemalloc.start()
    source = TarShards.open(paths, CaptionFields({}), "benchmark", cache)
    return {"bytes": tracemalloc.get_traced_memory()[0], "samples": len(source)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where a temporary folder is made for the shards")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        print(json.dumps(part(args.part, args.folder)))
        return
    folder = Path(tempfile.mkdtemp(dir=args.folder, prefix="tar_index."))
    try:
        measure(folder, args.samples)
    finally:
        shutil.rmtree(folder)


def part(name: str, folder: Path) -> dict[str, float]:
    """One measurement, in this process."""
    paths = sorted(map(str, (folder / ("times" if name == "times" else "plain")).glob("*.tar")))
    if name == "tarfile":
        return scan(paths[0])
    cache = ShardCache(folder / f"cache-{'fresh' if name in ('open', 'allocated') else name}", 2**30)
    if name == "allocated":
        return allocated(paths, cache)
    if name == "single":
        os.cpu_count = lambda: 1
    if name == "threads":
        tar_index._pool = ThreadPoolExecutor
    return opened(paths, cache)


def measure(folder: Path, samples: int) -> None:
    """Write the shards, run every part, print."""
    start = time.perf_counter()
    shards = len(write_shards(folder / "plain", samples))
    write_shards(folder / "times", samples // 10, times=True)
    os.sync()  # or the disk would still be busy with them
    print(f"wrote {samples:,} samples in {shards} shards in {time.perf_counter() - start:.0f} s")
    results: dict[str, dict[str, float]] = {}
    for name in ("tarfile", "fresh", "single", "threads", "times", "open", "allocated"):
        command = [sys.executable, __file__, "--part", name, "--folder", str(folder)]
        results[name] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    index_bytes = sum(path.stat().st_size for path in (folder / "cache-fresh" / "index").iterdir())
    report(results, samples, index_bytes)


def report(results: dict[str, dict[str, float]], samples: int, index_bytes: int) -> None:
    """Readable lines, then one for programs."""
    per_million = {
        name: results[name]["seconds"] / results[name]["samples"] * 1e6 for name in ("fresh", "single", "threads", "times")
    }
    per_million["tarfile"] = results["tarfile"]["seconds"] / results["tarfile"]["members"] * 3e6
    for name, seconds in per_million.items():
        print(f"{name:8} {seconds:6.2f} s per million samples ({seconds / 3:.2f} us per member)")
    opening, held = results["open"], results["allocated"]["bytes"]
    print(f"open     {opening['seconds']:6.3f} s; {held} bytes allocated, {held / samples:.3f} per sample")
    print(f"         {opening['resident_bytes'] / 2**20:.1f} MiB resident; index of {index_bytes / samples:.1f} per sample")
    print(f"read     {opening['read_us']:6.1f} us per random sample")
    told = {
        "samples": samples,
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "seconds_per_million": {name: round(seconds, 3) for name, seconds in per_million.items()},
        "open_seconds": round(opening["seconds"], 4),
        "allocated_bytes": held,
        "index_bytes_per_sample": round(index_bytes / samples, 2),
        "read_us": round(opening["read_us"], 2),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
