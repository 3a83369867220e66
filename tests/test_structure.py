"""The tree: arrows point down, no module imports itself through others, and every module has its tests."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src/genlip"

# From the ground up: each floor imports only those before it. A floor is a folder, or a file beside the folders.
FLOORS = [
    "lazy", "terminal", "suggestions", "machine", "progress", "threads", "extras",
    "synthetic", "model", "data", "remote_code", "recipes", "encoder", "speaker", "reading", "encoders", "mllm",
    "report", "evaluate", "train", "baselines", "export", "inspect", "plan", "studies",
    "quickstart", "cli",
]  # fmt: skip

# Modules without a test file of their own name, and the file that tests them.
TESTED_BY = {
    "baselines.arm_task": "baselines/test_contrastive.py",
    "baselines.language_task": "baselines/test_language_trunk.py",
    "baselines.run": "baselines/test_decoders.py",
    "baselines.towers": "baselines/test_contrastive.py",
    "cli.caption": "cli/test_images.py",
    "cli.compare": "cli/test_eval.py",
    "cli.eval_perplexity": "studies/test_perplexity.py",
    "cli.encode": "cli/test_images.py",
    "cli.eval_results": "cli/test_eval.py",
    "cli.eval_retrieval": "baselines/test_retrieval.py",
    "cli.export": "export/test_export.py",
    "cli.model_options": "cli/test_images.py",
    "cli.question_files": "cli/test_ask.py",
    "cli.quickstart": "test_quickstart.py",
    "cli.read": "reading/test_pages.py",
    "cli.readout": "cli/test_images.py",
    "cli.study": "studies/test_compare.py",
    "data.datasets.base": "data/datasets/test_opening.py",
    "data.dialogues.dialogue": "data/dialogues/test_arranging.py",
    "data.pixel_modes": "data/test_images.py",
    "data.sources.conversations": "data/sources/test_fields.py",
    "data.sources.parquet_columns": "data/sources/test_parquet.py",
    "data.sources.parquet_rows": "data/sources/test_parquet.py",
    "data.sources.tar_shards": "data/sources/test_tar.py",
    "evaluate.comparison.page": "evaluate/comparison/test_compare.py",
    "evaluate.probe.probe_data": "evaluate/probe/test_sweep.py",
    "evaluate.segmentation.linear_head": "evaluate/segmentation/test_measure.py",
    "evaluate.perplexity.table": "evaluate/perplexity/test_measure.py",
    "export.onnx.convert": "export/test_onnx.py",
    "export.onnx.graphs": "export/test_onnx.py",
    "export.onnx.pixels": "export/test_onnx_parts.py",
    "export.onnx.quantize": "export/test_onnx.py",
    "export.onnx.runner": "export/test_onnx.py",
    "export.onnx.sampling": "export/test_onnx_parts.py",
    "export.onnx.weights": "export/test_onnx.py",
    "export.transformers.convert": "export/test_transformers.py",
    "inspect.figures": "inspect/test_inspection.py",
    "mllm.folder_settings": "mllm/test_folder.py",
    "mllm.generated_tokens": "mllm/test_assistant.py",
    "mllm.hub_tower": "mllm/test_folder.py",
    "model.cache": "model/test_generation.py",
    "model.decoding": "model/test_generation.py",
    "model.device_transfer": "model/test_pack.py",
    "plan.genlip_workload": "plan/test_planner.py",
    "plan.workload": "plan/test_plan.py",
    "train.captioned_task": "train/test_genlip_task.py",
    "recipes.run": "recipes/test_recipe.py",
    "remote_code.configuration_genlip": "export/test_transformers.py",
    "remote_code.configuration_genlip_llava": "mllm/test_folder.py",
    "remote_code.image_processing_genlip": "export/test_transformers.py",
    "remote_code.image_processing_genlip_timm": "mllm/test_folder.py",
    "remote_code.modeling_genlip": "export/test_transformers.py",
    "remote_code.modeling_genlip_llava": "mllm/test_folder.py",
    "remote_code.processing_genlip": "export/test_transformers.py",
    "remote_code.processing_genlip_llava": "mllm/test_folder.py",
    "remote_code.settings": "export/test_transformers.py",
    "studies.compare_page": "studies/test_compare.py",
    "studies.cost": "studies/test_compare.py",
    "studies.measures": "studies/test_compare.py",
    "studies.runs": "studies/test_scaling.py",
    "studies.scaling_page": "studies/test_scaling_findings.py",
    "synthetic.chart_kinds": "synthetic/test_charts.py",
    "synthetic.chart_layout": "synthetic/test_charts.py",
    "synthetic.document_records": "synthetic/test_documents.py",
    "synthetic.document_texts": "synthetic/test_documents.py",
    "synthetic.fonts": "synthetic/test_vocabulary.py",
    "synthetic.random_choices": "synthetic/test_vocabulary.py",
    "synthetic.page": "synthetic/test_documents.py",
    "synthetic.text_layout": "synthetic/test_vocabulary.py",
    "train.malloc": "cli/test_main.py",
}


def modules():
    """Every module by its dotted name below genlip."""
    files = [file for file in SOURCE.rglob("*.py") if file.name != "__main__.py"]
    return {".".join(file.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


MODULES = modules()


@cache
def imports(name, at_once=False):
    """The modules of genlip that a module imports: all, or only those that are imported with it."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "genlip":
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.split(".")[0] == "genlip"]
        if not at_once or node.__dict__.get("col_offset") == 0:
            found |= {one.removeprefix("genlip").removeprefix(".") for one in names}
    return {one for one in found if one in MODULES and one not in ("", "__init__")}


def test_the_floors_are_the_tree():
    there = {file.stem for file in SOURCE.iterdir() if file.suffix == ".py" or (file / "__init__.py").exists()}
    assert set(FLOORS) == there - {"__init__", "__main__"}


@pytest.mark.parametrize("floor", FLOORS)
def test_a_floor_imports_only_floors_below(floor):
    below = {*FLOORS[: FLOORS.index(floor) + 1]}
    for name in MODULES:
        if name.split(".")[0] == floor:
            above = {one for one in imports(name) if one.split(".")[0] not in below}
            assert not above, f"{name} imports {above}"


def test_no_module_imports_itself_through_others():
    done, path = set(), []

    def follow(name):
        assert name not in path, f"a circle: {' -> '.join([*path[path.index(name) :], name])}"
        if name in done:
            return
        path.append(name)
        for other in sorted(imports(name)):
            if other in MODULES and MODULES[other].name != "__init__.py":
                follow(other)
        path.pop()
        done.add(name)

    for name in MODULES:
        if name not in ("", "__init__"):
            follow(name)


def test_every_module_has_its_tests():
    tests = {path.relative_to(ROOT / "tests").as_posix() for path in (ROOT / "tests").rglob("test_*.py")}
    missing = []
    for name, file in MODULES.items():
        if file.name == "__init__.py":
            continue
        *folders, last = name.split(".")
        own = "/".join([*folders, f"test_{last}.py"])
        if last in ("page", "schema") and folders[0] == "evaluate" and len(folders) == 2:  # the slots of a measurement
            own = "/".join([*folders, "test_measure.py"])
        if TESTED_BY.get(name, own) not in tests:
            missing.append(name)
    assert not missing, missing


def test_every_test_file_tests_a_module_that_is_there():
    for name, file in TESTED_BY.items():
        assert name in MODULES, name
        assert (ROOT / "tests" / file).is_file(), file


def test_functions_and_files_stay_short():
    """No function over 60 lines, no file over 450; nine of ten functions under 20."""
    lengths = []
    for name, file in MODULES.items():
        text = file.read_text()
        assert len(text.splitlines()) <= 450, name
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lengths.append(node.end_lineno - node.lineno + 1)
                assert lengths[-1] <= 60, f"{name}.{node.name} has {lengths[-1]} lines"
    assert sorted(lengths)[len(lengths) * 9 // 10] < 20
