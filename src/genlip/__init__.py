"""genlip: vision encoders that learn by speaking (GenLIP, arXiv 2605.00809).

All that users call is here: `genlip.Speaker` for features, captions and patch readouts of images, `genlip.train_model`,
`genlip.plan_run`, `genlip.measure_…`, `genlip.write_report`, `genlip.export_model`, and `genlip.load` for the plain model.
Functions are named by a verb and its object, because `train`, `plan`, `evaluate`, `report` and `export` are folders of the
package. Modules are imported when one of their names is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from genlip.lazy import lazy

if TYPE_CHECKING:
    from genlip.baselines.retrieval import measure_retrieval
    from genlip.data.datasets.any_images import open_any
    from genlip.data.datasets.opening import open_labelled
    from genlip.data.datasets.segmented_opening import open_segmented
    from genlip.data.dialogues.opening import open_dialogues
    from genlip.data.dialogues.questions import open_questions
    from genlip.data.images import ImageConfig, ImageError
    from genlip.data.shards import write_shards
    from genlip.data.sources import Procedural, open_source
    from genlip.encoder import Encoder, Features
    from genlip.evaluate.attention.measure import measure_attention
    from genlip.evaluate.captioning.measure import CaptioningConfig, measure_captioning
    from genlip.evaluate.comparison.compare import compare_models
    from genlip.evaluate.comparison.page import comparison_text
    from genlip.evaluate.features.measure import measure_features
    from genlip.evaluate.lmms.run import measure_lmms
    from genlip.evaluate.probe.measure import ProbeConfig, measure_probe
    from genlip.evaluate.questions.measure import QuestionsConfig, measure_questions
    from genlip.evaluate.readout.measure import measure_readout
    from genlip.evaluate.resolution.measure import measure_resolution
    from genlip.evaluate.result import Result
    from genlip.evaluate.result_files import evaluations_folder, read_results, write_result
    from genlip.evaluate.segmentation.measure import SegmentationConfig, measure_segmentation
    from genlip.evaluate.zero_shot.measure import ZeroShotConfig, measure_zero_shot
    from genlip.export import export_model
    from genlip.export.hub import push_model
    from genlip.inspect.inspection import inspect_source
    from genlip.inspect.page import inspection_text
    from genlip.mllm.assistant import Assistant
    from genlip.model.checkpoint import CheckpointError, load, save
    from genlip.model.config import GenLIPConfig
    from genlip.model.decoding import Decoding
    from genlip.model.generation import generate, generate_steps, patch_readout
    from genlip.model.genlip import GenLIP
    from genlip.model.pack import Pack, Sample
    from genlip.plan.plan import Plan
    from genlip.plan.planner import plan_run
    from genlip.plan.text import plan_text
    from genlip.quickstart import run_quickstart
    from genlip.reading.pages import ReadLine, read_lines, read_page
    from genlip.recipes.recipe import Run, load_recipe
    from genlip.speaker import PatchWords, Speaker
    from genlip.studies.arms import Arm, read_arm
    from genlip.studies.compare import CompareConfig, compare_arms, plan_comparison
    from genlip.studies.measures import Measures
    from genlip.studies.perplexity import PerplexityConfig, measure_perplexity
    from genlip.studies.scaling import ScalingConfig, plan_scaling, train_scaling
    from genlip.studies.scaling_findings import scaling_findings
    from genlip.train.loop import train_model
    from genlip.train.run_page import write_report

__version__ = "0.1.0"

_HOMES = {
    "Arm": "studies.arms",
    "Assistant": "mllm.assistant",
    "CaptioningConfig": "evaluate.captioning.measure",
    "CheckpointError": "model.checkpoint",
    "CompareConfig": "studies.compare",
    "Decoding": "model.decoding",
    "Encoder": "encoder",
    "Features": "encoder",
    "GenLIP": "model.genlip",
    "GenLIPConfig": "model.config",
    "ImageConfig": "data.images",
    "ImageError": "data.images",
    "Measures": "studies.measures",
    "Pack": "model.pack",
    "PatchWords": "speaker",
    "PerplexityConfig": "studies.perplexity",
    "Plan": "plan.plan",
    "ProbeConfig": "evaluate.probe.measure",
    "Procedural": "data.sources",
    "QuestionsConfig": "evaluate.questions.measure",
    "ReadLine": "reading.pages",
    "Result": "evaluate.result",
    "Run": "recipes.recipe",
    "Sample": "model.pack",
    "ScalingConfig": "studies.scaling",
    "SegmentationConfig": "evaluate.segmentation.measure",
    "Speaker": "speaker",
    "ZeroShotConfig": "evaluate.zero_shot.measure",
    "compare_arms": "studies.compare",
    "compare_models": "evaluate.comparison.compare",
    "comparison_text": "evaluate.comparison.page",
    "evaluations_folder": "evaluate.result_files",
    "export_model": "export",
    "generate": "model.generation",
    "generate_steps": "model.generation",
    "inspect_source": "inspect.inspection",
    "inspection_text": "inspect.page",
    "load": "model.checkpoint",
    "load_recipe": "recipes.recipe",
    "measure_attention": "evaluate.attention.measure",
    "measure_captioning": "evaluate.captioning.measure",
    "measure_features": "evaluate.features.measure",
    "measure_lmms": "evaluate.lmms.run",
    "measure_perplexity": "studies.perplexity",
    "measure_probe": "evaluate.probe.measure",
    "measure_questions": "evaluate.questions.measure",
    "measure_readout": "evaluate.readout.measure",
    "measure_resolution": "evaluate.resolution.measure",
    "measure_retrieval": "baselines.retrieval",
    "measure_segmentation": "evaluate.segmentation.measure",
    "measure_zero_shot": "evaluate.zero_shot.measure",
    "open_any": "data.datasets.any_images",
    "open_dialogues": "data.dialogues.opening",
    "open_labelled": "data.datasets.opening",
    "open_questions": "data.dialogues.questions",
    "open_segmented": "data.datasets.segmented_opening",
    "open_source": "data.sources",
    "patch_readout": "model.generation",
    "plan_comparison": "studies.compare",
    "plan_run": "plan.planner",
    "plan_scaling": "studies.scaling",
    "plan_text": "plan.text",
    "push_model": "export.hub",
    "read_arm": "studies.arms",
    "read_lines": "reading.pages",
    "read_page": "reading.pages",
    "read_results": "evaluate.result_files",
    "run_quickstart": "quickstart",
    "save": "model.checkpoint",
    "scaling_findings": "studies.scaling_findings",
    "train_model": "train.loop",
    "train_scaling": "studies.scaling",
    "write_report": "train.run_page",
    "write_result": "evaluate.result_files",
    "write_shards": "data.shards",
}

__all__ = [
    "Arm",
    "Assistant",
    "CaptioningConfig",
    "CheckpointError",
    "CompareConfig",
    "Decoding",
    "Encoder",
    "Features",
    "GenLIP",
    "GenLIPConfig",
    "ImageConfig",
    "ImageError",
    "Measures",
    "Pack",
    "PatchWords",
    "PerplexityConfig",
    "Plan",
    "ProbeConfig",
    "Procedural",
    "QuestionsConfig",
    "ReadLine",
    "Result",
    "Run",
    "Sample",
    "ScalingConfig",
    "SegmentationConfig",
    "Speaker",
    "ZeroShotConfig",
    "__version__",
    "compare_arms",
    "compare_models",
    "comparison_text",
    "evaluations_folder",
    "export_model",
    "generate",
    "generate_steps",
    "inspect_source",
    "inspection_text",
    "load",
    "load_recipe",
    "measure_attention",
    "measure_captioning",
    "measure_features",
    "measure_lmms",
    "measure_perplexity",
    "measure_probe",
    "measure_questions",
    "measure_readout",
    "measure_resolution",
    "measure_retrieval",
    "measure_segmentation",
    "measure_zero_shot",
    "open_any",
    "open_dialogues",
    "open_labelled",
    "open_questions",
    "open_segmented",
    "open_source",
    "patch_readout",
    "plan_comparison",
    "plan_run",
    "plan_scaling",
    "plan_text",
    "push_model",
    "read_arm",
    "read_lines",
    "read_page",
    "read_results",
    "run_quickstart",
    "save",
    "scaling_findings",
    "train_model",
    "train_scaling",
    "write_report",
    "write_result",
    "write_shards",
]

__getattr__, _names = lazy(__name__, _HOMES, parts=("encoders",))


def __dir__() -> list[str]:
    return ["__version__", *_names()]
