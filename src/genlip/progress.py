"""Progress: a progress bar.

In: a description and a total. Out: a bar in a terminal, one line elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from genlip.terminal import harmless

__all__ = ["progress"]


@contextmanager
def progress(what: str, total: int, console: Console | None = None) -> Iterator[Callable[[int], None]]:
    """Yields a function to call with the number of newly finished items. The default console is standard error."""
    console, what = console or Console(stderr=True), harmless(" ".join(what.splitlines()))
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    if not console.is_terminal:
        console.print(f"{what}: {total:,}", highlight=False, soft_wrap=True, markup=False)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.advance(task, done)
