"""Fuzzing: damaged files of every kind that the package reads, under limits of memory and time.

Each case is a valid small file, damaged by the numbers of a seed, opened by the package's own call, and judged:

    read      all of it, or what is left of it with the rest named
    refused   by an error that users meet as one line, which names the file
    fault     any other error, a message of many lines, a traceback on standard error, a hang, a crash, too much memory
    loss      examples, values or lines gone, or changed, without a word

Cases run in forked processes, a few hundred in each, with limits of address space, of processor time and of waiting per
case. One that breaks a limit ends its process; it is written down, and another process goes on after it.

    python benchmarks/fuzz.py [--files 20000] [--jobs 2] [--seed 0]
    python benchmarks/fuzz.py --kind tars --seed 1234        one case again, with its traceback; the file is kept

The last line is JSON.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import logging
import multiprocessing
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "MPLBACKEND": "agg"}
import torch
from fuzz_damage import damaged
from fuzz_kinds import KINDS, Kind, SeedFile

from genlip.extras import MissingExtra

CHUNK = 200  # cases of one process
REFUSALS = (ValueError, OSError, MissingExtra)  # what the command line prints as one line
LONGEST = 2000  # characters of a message
OUTCOMES = ("read", "refused", "fault", "loss")
COLUMNS = ("files", "read", "refused", "faults", "losses", "seconds")


class Limits(NamedTuple):
    """Of one case: bytes of address space beyond what the process begins with, and seconds of work and of waiting."""

    memory: int = 3 * 2**30
    work: float = 10.0
    wait: float = 60.0


class Case(NamedTuple):
    """What became of one file; `what` says what is wrong with it, `place` groups alike faults."""

    kind: str
    seed: int
    outcome: str
    what: str = ""
    place: str = ""
    mutation: str = ""
    seconds: float = 0.0


# -- one case


def damage_of(kind: str, seeds: Sequence[SeedFile], seed: int) -> tuple[SeedFile, str, bytes]:
    """The valid file of a case, the names of its mutations, and the damaged bytes."""
    dice = Random(f"{kind} {seed}")
    file = dice.choice(seeds)
    return file, *damaged(dice, file.data, [one.data for one in seeds], file.forms)


def laid_out(folder: Path, file: SeedFile, data: bytes) -> Path:
    """Write a damaged file and those that belong to it; returns what is to be opened."""
    for name, held in ({file.path: data} | {name: held for name, held in file.beside.items() if name != file.path}).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(held)
    return folder / (file.opened or file.path)


def judged(kind: Kind, name: str, file: SeedFile, data: bytes, folder: Path, printed: Callable[[], str]) -> Case:
    """Open a damaged file, and say what became of it; `printed` is what stands on standard error since the last call."""
    target = laid_out(folder, file, data)
    with warnings_said() as said:
        try:
            found = kind.read(target)
        except REFUSALS as error:
            wrong = wrong_refusal(
                error, data, (Path(file.path).name, str(target), Path(file.path).parent.name or Path(file.path).name)
            )
            case = Case(name, 0, "fault" if wrong else "refused", wrong or str(error), place_of(error))
        except BaseException as error:
            case = Case(name, 0, "fault", f"{type(error).__name__}: {error}", place_of(error))
        else:
            faults, lost = list(wrong_messages(found)), list(kind.lost(file, data, found, "\n".join(said)))
            outcome, wrong = ("fault", faults) if faults else ("loss", lost) if lost else ("read", [""])
            case = Case(name, 0, outcome, "; ".join(wrong[:3]), re.sub(r"\d+", "N", wrong[0])[:60])
    if re.search(r"Traceback \(most recent|panicked at", text := printed()):
        return case._replace(outcome="fault", what=f"printed: {text[:300]}", place="standard error")
    return case


def wrong_refusal(error: BaseException, data: bytes, names: Sequence[str]) -> str:
    """What is wrong with a refusal; nothing where it is a line about the file, or about what the file names."""
    text = str(error)
    if memory := next((one for one in chain(error) if isinstance(one, MemoryError)), None):
        return f"out of memory: {memory!r}, told as {text[:200]!r}"
    if type(error) in (UnicodeDecodeError, UnicodeEncodeError, json.JSONDecodeError, RecursionError):
        return f"{type(error).__name__} as it is: {text[:200]}"
    if not any(name in text for name in names) and Path(text.split(": ")[0]).name.encode() not in data:
        return f"does not name the file: {text[:300]!r}"
    return wrong_words(text)


def wrong_words(text: str) -> str:
    """What is wrong with a message; lines that are indented are a list, and belong to the line above."""
    lines = [line for line in text.split("\n") if not line.startswith("  ")]
    if len(lines) > 1 or "Traceback" in text:
        return f"a message of {len(lines)} lines: {text[:300]!r}"
    return f"a message of {len(text)} characters: {text[:200]!r}" if len(text) > LONGEST else ""


def wrong_messages(found: Any) -> Iterator[str]:
    """What is wrong with the messages about single examples."""
    for message in getattr(found, "messages", ()):
        if wrong := wrong_words(message):
            yield f"told in {wrong}"
        if "MemoryError" in message or "bad allocation" in message or "malloc of size" in message:
            yield f"out of memory, told as {message[:200]!r}"


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def place_of(error: BaseException) -> str:
    """Where an error was raised, in the package's own file that is nearest to it."""
    frames = [
        f"{Path(frame.filename).name}:{frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
        if "/genlip/" in frame.filename
    ]
    return f"{type(error).__name__} in {frames[-1] if frames else 'no file of the package'}"


@contextmanager
def warnings_said() -> Iterator[list[str]]:
    """What is logged as a warning, or worse."""
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger()
    logger.addHandler(handler)
    try:
        yield said
    finally:
        logger.removeHandler(handler)


# -- many cases, in processes of their own


def work(
    pipe: Connection, kind: str, seeds: Sequence[SeedFile], numbers: Sequence[int], limits: Limits, folder: Path
) -> None:
    """Run cases one after another, and tell when each begins and what became of it."""
    os.setsid()  # what the package starts ends with this process
    log = os.open(folder / "stderr", os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    os.dup2(log, 1), os.dup2(log, 2)
    faulthandler.enable(log)
    limit_memory(limits.memory)
    for signum in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(signum, signal.SIG_DFL)  # which ends the process, also where no Python runs

    def printed() -> str:
        text = os.pread(log, 2**20, 0).decode(errors="replace")
        os.ftruncate(log, 0)
        return text

    for number in numbers:
        pipe.send(number)
        start = time.perf_counter()
        file, mutation, data = damage_of(kind, seeds, number)
        signal.setitimer(signal.ITIMER_PROF, limits.work)
        signal.setitimer(signal.ITIMER_REAL, limits.wait)
        case = judged(KINDS[kind], kind, file, data, folder / str(number), printed)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        shutil.rmtree(folder / str(number))
        pipe.send(case._replace(seed=number, mutation=f"{file.path}, {mutation}", seconds=time.perf_counter() - start))


def limit_memory(more: int) -> None:
    """Bound the address space to what is in use and so many more; what lies free in the heap comes on top."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + more, used + more))


class Worker:
    """A process at work on some cases."""

    def __init__(self, kind: str, seeds: Sequence[SeedFile], numbers: Sequence[int], limits: Limits, folder: Path) -> None:
        self.kind, self.seeds, self.left, self.folder = kind, seeds, list(numbers), Path(tempfile.mkdtemp(dir=folder))
        self.pipe, end = multiprocessing.Pipe(duplex=False)
        arguments = (end, kind, seeds, numbers, limits, self.folder)
        self.process = multiprocessing.get_context("fork").Process(target=work, args=arguments)
        self.process.start()
        end.close()

    def heard(self) -> tuple[Case | None, bool]:
        """A finished case, if there is news of one, and whether the process has ended."""
        try:
            news = self.pipe.recv()
        except EOFError:
            return self._ended(), True
        if isinstance(news, Case):
            self.left.remove(news.seed)
            return news, False
        return None, False

    def _ended(self) -> Case | None:
        """The case that ended the process, if one did."""
        self.process.join()
        text = (self.folder / "stderr").read_text(errors="replace")
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid or 0, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)
        if not self.left:
            return None
        what, number = cause(self.process.exitcode or 0), self.left.pop(0)
        file, mutation, _ = damage_of(self.kind, self.seeds, number)
        return Case(self.kind, number, "fault", f"{what}: {text[:300]}" if text else what, what, f"{file.path}, {mutation}")


def cause(exitcode: int) -> str:
    """Why a process ended before its time."""
    if exitcode == -signal.SIGPROF:
        return "hang: too much work"
    if exitcode == -signal.SIGALRM:
        return "hang: waits"
    return f"killed by {signal.Signals(-exitcode).name}" if exitcode < 0 else f"the process ended with status {exitcode}"


def fuzz(
    numbers: dict[str, Sequence[int]],
    jobs: int,
    limits: Limits,
    folder: Path,
    seeds: dict[str, list[SeedFile]] | None = None,
) -> Iterator[Case]:
    """What became of the cases of these numbers, by kind, as they end."""
    seeds = seeds or {kind: KINDS[kind].seeds() for kind in numbers}
    waiting = [(kind, some[at : at + CHUNK]) for kind, some in numbers.items() for at in range(0, len(some), CHUNK)]
    running: dict[Connection, Worker] = {}
    while waiting or running:
        while waiting and len(running) < jobs:
            kind, some = waiting.pop(0)
            worker = Worker(kind, seeds[kind], some, limits, folder)
            running[worker.pipe] = worker
        for pipe in wait(list(running)):
            worker = running[pipe]  # type: ignore[index]
            case, ended = worker.heard()
            if case:
                yield case
            if ended:
                print(f"{worker.kind}: {len(waiting)} processes to come", file=sys.stderr, flush=True)
                running.pop(pipe).pipe.close()  # type: ignore[arg-type]
                if worker.left:
                    waiting.insert(0, (worker.kind, worker.left))


# -- what is told


def report(cases: Sequence[Case]) -> dict[str, dict[str, float]]:
    """Print faults and losses, alike ones together, then a line per kind; returns the figures."""
    groups: dict[tuple[str, ...], list[Case]] = defaultdict(list)
    for case in cases:
        if case.outcome in ("fault", "loss"):
            groups[case.kind, case.outcome, case.place].append(case)
    for (kind, outcome, place), alike in sorted(groups.items(), key=lambda group: (group[0][0], -len(group[1]))):
        shown = " ".join(str(case.seed) for case in alike[:5])
        print(
            f"{outcome.upper()} {kind}, {len(alike)} times, seeds {shown}: {place}\n"
            f"    {alike[0].mutation}\n    {printable(alike[0].what)}"
        )
    figures = {}
    print(f"{'kind':14}" + "".join(f"{name:>9}" for name in COLUMNS))
    for kind in dict.fromkeys(case.kind for case in cases):
        own = [case for case in cases if case.kind == kind]
        count = Counter(case.outcome for case in own)
        numbers = (len(own), *(count[outcome] for outcome in OUTCOMES), round(sum(case.seconds for case in own), 1))
        figures[kind] = dict(zip(COLUMNS, numbers, strict=True))
        print(f"{kind:14}" + "".join(f"{number:9}" for number in numbers))
    return figures


def printable(text: str) -> str:
    """One line without control characters."""
    return " ".join(text.split()).encode("unicode_escape").decode()[:400]


def again(kind: str, seed: int, limits: Limits) -> Case:
    """One case in this process: its traceback is printed, and its file is kept."""
    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{kind}-{seed}."))
    file, mutation, data = damage_of(kind, KINDS[kind].seeds(), seed)
    print(f"{kind} {seed}: {folder / file.path}, {mutation}")
    faulthandler.dump_traceback_later(limits.work, exit=True)
    limit_memory(limits.memory)
    read = KINDS[kind].read

    def told(target: Path) -> Any:
        try:
            return read(target)
        except BaseException:
            traceback.print_exc()
            raise

    case = judged(KINDS[kind]._replace(read=told), kind, file, data, folder, lambda: "")
    print(f"{case.outcome}: {printable(case.what)}")
    return case._replace(seed=seed)


def main() -> None:
    """Fuzz, or run one case again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, help="over all kinds (default: 20000; with --kind and --seed alone: one)")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="of the first file of each kind; the others follow")
    parser.add_argument("--kind", choices=tuple(KINDS), action="append", help="these kinds alone")
    parser.add_argument("--out", type=Path, help="a file for every fault and loss, a JSON object per line")
    args = parser.parse_args()
    torch.set_num_threads(1)
    kinds, limits = args.kind or list(KINDS), Limits()
    with tempfile.TemporaryDirectory(prefix="fuzz.") as folder:
        os.environ["GENLIP_CACHE"] = f"{folder}/cache"
        if args.kind and args.files is None:
            cases = [again(args.kind[0], args.seed, limits)]
        else:
            share = -(-(args.files or 20_000) // len(kinds))
            cases = list(
                fuzz({kind: range(args.seed, args.seed + share) for kind in kinds}, args.jobs, limits, Path(folder))
            )
    figures = report(cases)
    if args.out:
        args.out.write_text(
            "".join(json.dumps(case._asdict()) + "\n" for case in cases if case.outcome in ("fault", "loss"))
        )
    print(json.dumps(figures))
    sys.exit(any(case.outcome in ("fault", "loss") for case in cases))


if __name__ == "__main__":
    main()
