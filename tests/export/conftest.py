"""Exported recordings, shared by the files that look at them: tracing takes a second for each layer and graph."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ..model.helpers import recorded_model


@pytest.fixture(scope="session")
def recorded_onnx(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The ONNX folder of a recorded model, by name; not to be changed."""
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            from genlip.export.onnx import export_onnx

            made[name] = export_onnx(recorded_model(name), tmp_path_factory.mktemp("recorded") / name)
        return made[name]

    return folder
