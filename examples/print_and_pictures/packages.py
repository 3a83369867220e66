"""Packages: the files of Debian and npm packages, as folders.

In: a package's name. Out: FOLDER/NAME with its files, and FOLDER/NAME.json with its version.

A package is downloaded by the ordinary client (`apt-get download`, `npm pack`) and its archive is extracted. It is not
installed, no code of it runs, and no rights of an administrator are needed.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Literal

Kind = Literal["debian", "npm"]
_TOOLS: dict[Kind, tuple[str, ...]] = {"debian": ("apt-get", "dpkg-deb"), "npm": ("npm",)}


class Missing(Exception):
    """A package cannot be had here; the message says why, in one line."""


def package_files(folder: Path, name: str, kind: Kind) -> Path:
    """The folder with the files of a package, which is fetched if it is not there. Raises `Missing`."""
    files = folder / name.replace("/", "_").removeprefix("@")
    record = files.with_name(f"{files.name}.json")
    if record.is_file():
        return files
    if absent := [tool for tool in _TOOLS[kind] if shutil.which(tool) is None]:
        raise Missing(f"{name} is a package of {kind}, and this machine has no {absent[0]}")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetching-") as temporary:
        archive, extracted = _download(Path(temporary), name, kind), Path(temporary, "files")
        extracted.mkdir()
        if kind == "debian":
            _run(["dpkg-deb", "--extract", str(archive), str(extracted)], temporary, name)
        else:
            with tarfile.open(archive) as opened:
                opened.extractall(extracted, filter="data")
        shutil.rmtree(files, ignore_errors=True)
        extracted.rename(files)
        record.write_text(json.dumps({"package": name, "kind": kind, "version": _version(archive, kind)}) + "\n", "utf8")
    return files


def _download(folder: Path, name: str, kind: Kind) -> Path:
    quiet = ["--loglevel=error", "--ignore-scripts"]
    command = ["apt-get", "download", name] if kind == "debian" else ["npm", "pack", name, *quiet]
    _run(command, folder, name)
    (archive,) = [*folder.glob("*.deb"), *folder.glob("*.tgz")]
    return archive


def _run(command: list[str], folder: Path | str, name: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
        remedy = "; run `apt-get update` first" if "Unable to locate" in done.stderr or "404" in done.stderr else ""
        raise Missing(f"{name}: `{' '.join(command[:2])}` failed: {said}{remedy}")


def _version(archive: Path, kind: Kind) -> str:
    if kind == "debian":
        return archive.name.split("_")[1].replace("%3a", ":")
    found = re.search(r"-(\d+\.\d+\.\d+.*)\.tgz$", archive.name)
    return found[1] if found else archive.name
