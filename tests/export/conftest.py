"""Exported recordings, shared by the files that look at them: tracing takes a second for each layer and graph."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from ..model.helpers import recorded_model


@pytest.fixture(scope="session")
def recorded_onnx(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The ONNX folder of a recorded model, by name, one for all processes that share the tests; not to be changed."""
    temporary = tmp_path_factory.getbasetemp()
    shared = temporary.parent if "PYTEST_XDIST_WORKER" in os.environ else temporary

    def folder(name: str) -> Path:
        made = shared / f"recorded_{name}"
        with FileLock(f"{made}.lock"):
            if not made.exists():
                from genlip.export.onnx import export_onnx

                export_onnx(recorded_model(name), tmp_path_factory.mktemp("recorded") / name).rename(made)
        return made

    return folder
