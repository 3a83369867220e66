"""Programs in processes of their own that need not import everything anew, which takes most of their time.

A fresh interpreter imports what it is told to, once, and runs each program in a fork of itself.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

_FORKING = """
import json, os, sys, tempfile, traceback
for line in sys.stdin:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            os.dup2(out.fileno(), 1), os.dup2(err.fileno(), 2)
            code = 0
            try:
                exec(json.loads(line), {"__name__": "__main__"})
            except SystemExit as end:
                code = end.code or 0
            except BaseException:
                traceback.print_exc()
                code = 1
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(code)
        _, status = os.waitpid(child, 0)
        told = [file.seek(0) or file.read().decode() for file in (out, err)]
        print(json.dumps([os.waitstatus_to_exitcode(status), *told]), flush=True)
"""


class Done(NamedTuple):
    """What became of a program."""

    returncode: int
    stdout: str
    stderr: str


@contextmanager
def forks(imports: str, folder: Path) -> Iterator[Callable[[str], Done]]:
    """A function that runs a program in the folder, with some modules imported already."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"import {imports}\n{_FORKING}"], cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:

        def run(program: str) -> Done:
            process.stdin.write(json.dumps(program) + "\n")
            process.stdin.flush()
            return Done(*json.loads(process.stdout.readline()))

        yield run
        process.stdin.close()
