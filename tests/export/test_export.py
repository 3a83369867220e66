"""`genlip export`: every format through the command line, and one line where a library or an option is missing."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import genlip
from genlip.cli.main import main
from genlip.export import FORMATS, export_model

from ..forks import forks
from ..test_extras import installed
from .helpers import model_folder, pictures

EXTRAS = {"transformers": ["transformers"], "timm": ["timm"], "onnx": ["onnxruntime", "onnxscript", "onnx"]}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return model_folder(tmp_path_factory.mktemp("export") / "model", num_hidden_layers=1)


def fresh(script):
    """What a fresh interpreter prints, and its errors."""
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)


@pytest.mark.skipif("GENLIP_OLDEST" not in os.environ, reason="make test-oldest runs the tests with the oldest libraries")
def test_the_oldest_libraries_are_those_that_run():
    lines = (Path(__file__).parents[2] / "lowest.txt").read_text(encoding="utf8").splitlines()
    for library, _, version in (line.partition("==") for line in lines if not line.startswith("#")):
        assert importlib.metadata.version(library) == version


def test_importing_genlip_and_its_exports_imports_no_extra():
    modules = {name for names in EXTRAS.values() for name in names} | {"torchvision"}
    script = f"import genlip, genlip.cli.main, genlip.export; import sys; print(sorted({modules} & sys.modules.keys()))"
    assert fresh(script).stdout.strip() == "[]"


@pytest.fixture(scope="module")
def forked():
    """Runs a program where genlip is imported, and no extra is."""
    with forks("torch, genlip.cli.main, genlip.export.published", Path.cwd()) as run:
        yield run


@pytest.mark.parametrize(("to", "module"), [(to, module) for to, modules in EXTRAS.items() for module in modules])
def test_a_missing_library_is_one_line_that_says_what_to_install(to, module, model, tmp_path, forked):
    arguments = ["export", str(model), str(tmp_path / "out"), "--to", to, *(["--int8"] if module == "onnxruntime" else [])]
    script = f"import sys; sys.modules[{module!r}] = None; from genlip.cli.main import main; sys.exit(main({arguments}))"
    done = forked(script)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line == f'genlip: {module} is not installed: pip install "genlip[{to}]"'


def test_an_older_library_is_one_line_of_the_command(model, tmp_path, forked):
    installed(tmp_path, "timm", "1.0.9")
    arguments = ["export", str(model), str(tmp_path / "out"), "--to", "timm"]
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from genlip.cli.main import main; sys.exit(main({arguments}))"
    )
    done = forked(script)
    told = "genlip: timm 1.0.9 is installed, and genlip needs 1.0.28 or newer"
    assert (done.returncode, done.stderr) == (1, f'{told}: pip install "genlip[timm]"\n')


@pytest.mark.parametrize("to", ["published", "transformers"])
def test_weights_may_change_their_precision(to, model, tmp_path):
    pytest.importorskip("transformers")
    assert main(["export", str(model), str(tmp_path), "--to", to, "--dtype", "bfloat16"]) == 0
    before, after = load_file(model / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(after[name], value.bfloat16()) for name, value in before.items())
    assert genlip.load(tmp_path).ln_post.weight.dtype == torch.bfloat16


def test_options_that_mean_nothing_to_a_format_are_refused(model, tmp_path, capsys):
    assert main(["export", str(model), str(tmp_path), "--to", "timm", "--int8", "--dtype", "bfloat16"]) == 1
    assert capsys.readouterr().err == "genlip: dtype, int8 has no meaning for timm; it takes no options\n"
    with pytest.raises(ValueError, match=f"unknown format 'coreml': the formats are {', '.join(FORMATS)}"):
        export_model(model, tmp_path, "coreml")
    assert main(["export", str(tmp_path / "absent"), str(tmp_path), "--to", "published"]) == 1
    assert "no such folder" in capsys.readouterr().err


@pytest.mark.parametrize("to", FORMATS)
def test_a_models_own_folder_is_not_written_over(to, model, tmp_path, capsys):
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    assert main(["export", str(model), str(model), "--to", to]) == 1
    assert capsys.readouterr().err == f"genlip: {model}: is the model's own folder; name another one to export to\n"
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before
    (tmp_path / "file").touch()
    assert main(["export", str(model), str(tmp_path / "file"), "--to", to]) == 1
    assert "is a file; name a folder" in capsys.readouterr().err


def test_int8_graphs_caption_as_well(model, tmp_path):
    pytest.importorskip("onnxruntime")
    from genlip.export.onnx import OnnxCaptioner, OnnxEncoder

    assert main(["export", str(model), str(tmp_path), "--to", "onnx", "--int8"]) == 0
    assert len(OnnxCaptioner(tmp_path).caption(pictures(), max_tokens=3)) == 4
    exact = genlip.Speaker.load(model).encode(pictures()[:1])[0].patches
    found = torch.from_numpy(OnnxEncoder(tmp_path).encode(pictures()[:1])[0].patches)
    assert torch.cosine_similarity(found, exact).mean() > 0.9


def test_an_encoder_alone_has_no_captioner(model, tmp_path):
    pytest.importorskip("onnxscript")
    assert main(["export", str(model), str(tmp_path), "--to", "onnx", "--encoder-only"]) == 0
    assert sorted(path.name for path in tmp_path.glob("*.onnx")) == ["encoder.onnx"]
