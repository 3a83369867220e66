"""A file system that stands in for remote ones: files of this machine, reached as far:///path, with a log of downloads."""

import shutil
import time
from pathlib import Path

import fsspec
from fsspec.spec import AbstractFileSystem


class Far(AbstractFileSystem):
    protocol = "far"
    cachable = False
    downloads = None  # a file with a line for each download, or None
    delay = 0.0  # seconds that a download takes
    failures = ()  # what the next downloads raise

    def info(self, path, **kwargs):
        found = Path(self._strip_protocol(path)).stat()
        kind = "directory" if Path(path).is_dir() else "file"
        return {"name": path, "size": found.st_size, "type": kind, "mtime": found.st_mtime_ns}

    def ls(self, path, detail=True, **kwargs):
        found = [self.info(str(child)) for child in Path(path).iterdir()]
        return found if detail else [info["name"] for info in found]

    def _open(self, path, mode="rb", **kwargs):
        return Path(path).open(mode)

    def get_file(self, rpath, lpath, **kwargs):
        if Far.downloads:
            with Far.downloads.open("a") as log:
                log.write(f"{rpath}\n")
        if Far.failures:
            error, *Far.failures = Far.failures
            raise error
        whole = Path(rpath).read_bytes()
        Path(lpath).write_bytes(whole[: len(whole) // 2])
        time.sleep(Far.delay)
        shutil.copyfile(rpath, lpath)


def register(monkeypatch, folder):
    """Make far:// known for one test; returns the log of downloads."""
    fsspec.register_implementation("far", Far, clobber=True)
    log = folder / "downloads"
    log.touch()
    for name, value in {"downloads": log, "delay": 0.0, "failures": ()}.items():
        monkeypatch.setattr(Far, name, value)
    return log
