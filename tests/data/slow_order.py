"""The order, packing and rows of a run written down slowly and obviously, for the tests to compare with.

Lists only: an epoch is written out whole, dealt, shuffled; packs are found by trying every subset of those that wait.
"""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np


def lots(key: tuple[int, ...], number: int) -> list[int]:
    """0 … number - 1 by the rank of the random numbers that each draws."""
    drawn = [int(x) for x in np.random.PCG64(key).random_raw(number)]
    return sorted(range(number), key=lambda i: drawn[i])


def epoch_shares(length: int, seed: int, streams: int, block: int, epoch: int) -> list[list[int]]:
    """The indices of an epoch, dealt into as many shares as there are streams."""
    block = block or max(1, min(64, length // (streams * 64)))
    blocks = [list(range(start, min(start + block, length))) for start in range(0, length, block)]
    line = [index for number in lots((seed, 0, epoch), len(blocks)) for index in blocks[number]]
    ends = [share * length // streams for share in range(streams + 1)]
    return [line[start:stop] for start, stop in pairwise(ends)]


def stream(length: int, seed: int, streams: int, block: int, window: int, number: int, epochs: int) -> list[tuple[int, int]]:
    """All (epoch, index) that a stream draws in so many epochs."""
    drawn = []
    for epoch in range(epochs):
        share = (number + epoch) % streams
        mine = epoch_shares(length, seed, streams, block, epoch)[share]
        windows = [mine[start : start + window] for start in range(0, len(mine), window)]
        for place, samples in enumerate(windows):
            drawn += [(epoch, samples[i]) for i in lots((seed, 1, epoch, share, place), len(samples))]
    return drawn


def best_subset(sizes: list[int], room: int) -> int:
    """The largest sum within the room of any subset; the first size is in it if it fits."""
    must, rest = (sizes[:1], sizes[1:]) if sizes and sizes[0] <= room else ([], sizes[1:])
    sums = [sum(must) + sum(some) for n in range(len(rest) + 1) for some in combinations(rest, n)]
    return max((total for total in sums if total <= room), default=0)


Draws = list[tuple[int, int]]
Packs = list[tuple[Draws, list[int]]]


def row(
    streams: list[Draws], sizes: dict[int, int], max_tokens: int, packing_buffer: int
) -> list[tuple[int, Draws, list[int]]]:
    """What stands in one row of update after update: the stream whose turn it is, its samples, and broken indices.

    Several streams feed it in turn, each up to the pack for which it reads its last sample. What they have left then is put
    together, stream after stream, and packed as one.
    """
    read: list[list[bool]] = [[] for _ in streams]
    given = [packs(drawn, sizes, max_tokens, packing_buffer, read=known) for drawn, known in zip(streams, read, strict=True)]
    full = [known.count(False) for known in read]
    left = [{draw for pack, _ in found[n:] for draw in pack} for found, n in zip(given, full, strict=True)]
    kept = [draw for drawn, mine in zip(streams, left, strict=True) for draw in drawn if draw in mine]
    tail = packs(kept, sizes, max_tokens, packing_buffer, chunk=1)
    stands, turn, ended = [], 0, set()
    while len(ended) < len(streams) or tail:
        number, round_ = turn % len(streams), turn // len(streams)
        turn += 1
        if number in ended:
            stands.append((number, *(tail.pop(0) if len(ended) == len(streams) else ([], []))))
            continue
        pack, broken = given[number][round_] if given[number] else ([], [])
        if round_ >= full[number]:
            ended.add(number)
        stands.append((number, [] if number in ended else pack, broken))
    return stands


def packs(
    drawn: Draws, sizes: dict[int, int], max_tokens: int, packing_buffer: int, chunk: int = 8, read: list[bool] | None = None
) -> Packs:
    """The packs of a stream that ends: of each its samples, unsorted, and the broken indices met before it was full.

    `sizes` of usable indices; the others are broken. `read` is told of each pack whether all was read when it was full.
    """
    done, waiting, place = [], [], 0
    while True:
        pack, broken, room = [], [], max_tokens
        while True:
            while len(waiting) < packing_buffer and place < len(drawn):
                for draw in drawn[place : place + chunk]:
                    waiting.append(draw) if draw[1] in sizes else broken.append(draw[1])
                place += chunk
            wanted = [sizes[index] for _, index in waiting]
            if not wanted:
                break
            if sum(wanted) < 2 * room and wanted[0] <= room:
                pack, room, waiting = pack + waiting[:1], room - wanted[0], waiting[1:]
            else:
                chosen = earliest_subset(wanted, best_subset(wanted, room))
                pack += [waiting[i] for i in chosen]
                waiting = [one for i, one in enumerate(waiting) if i not in chosen]
                break
        if not pack and not broken:
            return done
        done.append((pack, broken))
        if read is not None:
            read.append(place >= len(drawn))


def earliest_subset(sizes: list[int], total: int) -> tuple[int, ...]:
    """Places of sizes that sum to the total, the first size among them if it fits; later ones are left out first."""
    every = [c for n in range(len(sizes) + 1) for c in combinations(range(len(sizes)), n)]
    fitting = [c for c in every if sum(sizes[i] for i in c) == total and (sizes[0] > total or 0 in c)]
    return min(fitting, key=lambda chosen: tuple(i in chosen for i in reversed(range(len(sizes)))))
