"""A stand-in for the Hugging Face Hub: what downloads and uploads of its library ask for, over a folder on this machine.

In: a folder `owner/name/REVISION/files`, one folder for each branch. Out: answers as the Hub gives them, errors included.
The id of a commit is computed from the files of its branch, so a branch can be changed with `pathlib` between two requests.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import pytest

__all__ = ["TOKEN", "Hub", "closed_port", "hub_at", "hub_settings", "running_hub"]

TOKEN = "hf_standin"
OWNER = "owner"  # whom the token belongs to


class Refused(Exception):
    """An answer that is an error: status, the Hub's code for it, words."""


class Hub:
    """The repositories, and what was asked of them.

    Attributes:
        root: folder of owner/name/REVISION.
        private, gated: names of repositories.
        failing: paths of requests that are answered with an error, and its status.
        requests: "METHOD /path" of every request so far.
        url: where it listens.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.private: set[str] = set()
        self.gated: set[str] = set()
        self.failing: dict[str, int] = {}
        self.requests: list[str] = []
        self.url = ""

    def branch(self, name: str, revision: str = "main") -> Path:
        """The folder of a branch."""
        return self.root / name / quote(revision, safe="")

    def files(self, name: str, revision: str = "main") -> dict[str, bytes]:
        """Every file of a branch or commit by its path."""
        folder = self.folder_of(name, revision)
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

    def commit(self, name: str, revision: str = "main") -> str:
        """The id of a branch's commit."""
        return _id("".join(path + _id(data) for path, data in self.files(name, revision).items()).encode())

    def folder_of(self, name: str, revision: str) -> Path:
        """The folder of a branch or commit."""
        if self.branch(name, revision).is_dir():
            return self.branch(name, revision)
        for branch in (self.root / name).iterdir():
            if self.commit(name, unquote(branch.name)) == revision:
                return branch
        raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")

    def fetched(self) -> list[str]:
        """The paths of files that were downloaded, in order of their names."""
        found = (re.fullmatch(r"GET /[^/]+/[^/]+/resolve/[^/]+/(.*)", request) for request in self.requests)
        return sorted({one[1] for one in found if one})


def _id(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    """One request; `server.hub` is the Hub."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def _answer(self, verb: str) -> None:
        path = urlsplit(self.path).path
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub: Hub = self.server.hub  # type: ignore[attr-defined]
        self.hub.requests.append(f"{verb} {path}")
        try:
            if path in self.hub.failing:
                raise Refused(self.hub.failing[path], "", "out of order")
            parts = [unquote(part) for part in path.strip("/").split("/")]
            status, headers, content = self._api(parts[1:], body) if parts[0] == "api" else self._file(parts)
        except Refused as error:
            status, code, words = error.args
            headers, content = {"X-Error-Code": code, "X-Error-Message": words}, json.dumps({"error": words}).encode()
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if verb != "HEAD":
            self.wfile.write(content)

    @property
    def _known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _repository(self, name: str) -> None:
        if not (self.hub.root / name).is_dir() or (name in self.hub.private and not self._known):
            # What the Hub answers those without a token, lest it tell which private repositories there are.
            raise Refused(404 if self._known else 401, "RepoNotFound", "Repository not found")

    def _file(self, parts: list[str]) -> tuple[int, dict[str, str], bytes]:
        """owner/name/resolve/REVISION/path"""
        name, revision, path = "/".join(parts[:2]), parts[3], "/".join(parts[4:])
        self._repository(name)
        if name in self.hub.gated and not self._known:
            raise Refused(401, "GatedRepo", "Access to this model is restricted")
        found = self.hub.files(name, revision)
        if path not in found:
            raise Refused(404, "EntryNotFound", "Entry not found")
        headers = {"X-Repo-Commit": self.hub.commit(name, revision), "ETag": f'"{_id(found[path])}"'}
        return 200, headers, found[path]

    def _api(self, parts: list[str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        if parts == ["repos", "create"]:
            return self._created(json.loads(body))
        if parts == ["validate-yaml"]:
            return self._validated(json.loads(body)["content"])
        name, what = "/".join(parts[1:3]), parts[3:] or ["revision", "main"]
        self._repository(name)
        if what[0] == "revision":
            return _json(self._info(name, what[1]))
        if what[0] == "tree":
            files = self.hub.files(name, what[1])
            return _json([{"type": "file", "path": p, "size": len(d), "oid": _id(d)} for p, d in files.items()])
        if not self._known or not name.startswith(f"{OWNER}/"):
            raise Refused(403, "", "You have no right to write here")
        if what[0] == "branch":
            return self._branched(name, what[1])
        if what[0] == "preupload":
            paths = [file["path"] for file in json.loads(body)["files"]]
            return _json({"files": [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in paths]})
        assert what[0] == "commit", self.path
        return self._committed(name, what[1], [json.loads(line) for line in body.splitlines()])

    def _info(self, name: str, revision: str) -> dict[str, Any]:
        files = self.hub.files(name, revision)
        about = {"id": name, "sha": self.hub.commit(name, revision), "private": name in self.hub.private}
        return {**about, "siblings": [{"rfilename": path} for path in files]}

    def _created(self, asked: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        name = f"{asked['organization']}/{asked['name']}"
        if not self._known:
            raise Refused(401, "", "Invalid username or password.")
        if asked["organization"] != OWNER:
            raise Refused(
                403, "", f"You don't have the rights to create a model under the namespace {asked['organization']!r}"
            )
        status = 409 if (self.hub.root / name).is_dir() else 200
        if status == 200:
            self.hub.branch(name).mkdir(parents=True)
            (self.hub.branch(name) / ".gitattributes").write_text("*.safetensors filter=lfs\n")
            self.hub.private |= {name} if asked.get("visibility") == "private" or asked.get("private") else set()
        return status, {}, json.dumps({"url": f"{self.hub.url}/{name}"}).encode()

    def _validated(self, content: str) -> tuple[int, dict[str, str], bytes]:
        """The Hub knows the names of licences; here one of them stands for those that it does not."""
        if "license: made-up" in content:
            words = {"errors": [{"message": '"license" must be one of [apache-2.0, mit]'}], "warnings": []}
            return 400, {}, json.dumps(words).encode()
        return _json({"errors": [], "warnings": []})

    def _branched(self, name: str, branch: str) -> tuple[int, dict[str, str], bytes]:
        if branch.startswith("refs/"):
            raise Refused(400, "", "Invalid reference name")
        if self.hub.branch(name, branch).is_dir():
            raise Refused(409, "", "Reference already exists")
        shutil.copytree(self.hub.branch(name), self.hub.branch(name, branch))
        return _json({})

    def _committed(self, name: str, revision: str, lines: list[dict[str, Any]]) -> tuple[int, dict[str, str], bytes]:
        request = "create_pr=1" in urlsplit(self.path).query
        if request:
            shutil.copytree(self.hub.branch(name), self.hub.branch(name, "refs/pr/1"))
            revision = "refs/pr/1"
        folder = self.hub.folder_of(name, revision)
        assert lines[0]["key"] == "header"
        for line in lines[1:]:
            assert line["key"] == "file", line["key"]
            path = folder / line["value"]["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(base64.b64decode(line["value"]["content"]))
        commit = self.hub.commit(name, revision)
        pull = f"{self.hub.url}/{name}/discussions/1" if request else None
        return _json({"commitUrl": f"{self.hub.url}/{name}/commit/{commit}", "commitOid": commit, "pullRequestUrl": pull})


def _json(value: Any) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


@contextmanager
def running_hub(root: Path) -> Iterator[Hub]:
    """A Hub that answers until the context ends."""
    hub = Hub(root)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.hub = hub  # type: ignore[attr-defined]
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def closed_port() -> str:
    """An address at which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def hub_settings(url: str, home: Path) -> dict[str, str]:
    """The environment in which a new process talks to this Hub alone, keeps all it fetches in `home`, and has no token."""
    switches = dict.fromkeys(("HF_HUB_DISABLE_XET", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_PROGRESS_BARS"), "1")
    return {"HF_ENDPOINT": url, "HF_HOME": str(home), "HF_TOKEN": "", "NO_PROXY": "127.0.0.1", **switches}


def hub_at(url: str, home: Path, patch: pytest.MonkeyPatch) -> None:
    """The same for this process, which has read its environment already."""
    settings = {
        "ENDPOINT": url,
        "HUGGINGFACE_CO_URL_TEMPLATE": url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_TOKEN_PATH": str(home / "token"),
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_DISABLE_TELEMETRY": True,
        "HF_HUB_OFFLINE": False,
    }
    for name, value in settings.items():
        patch.setattr(f"huggingface_hub.constants.{name}", value)
    patch.delenv("HF_TOKEN", raising=False)
    patch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    patch.setenv("NO_PROXY", "127.0.0.1")
