"""lmms-eval: runs its benchmarks on a multimodal LLM of genlip, or reads its results, and averages them by suite.

In: a folder of a model, or finished results of lmms-eval. Out: `SuiteScores` and their table. lmms-eval aggregates each task
in its own way (CIDEr of a set, sums over categories), not from a score of each image: a JSON file holds them, no `Result`.
"""

from genlip.evaluate.lmms.results import LmmsResults, TaskResult, read_lmms_results
from genlip.evaluate.lmms.run import measure_lmms
from genlip.evaluate.lmms.scores import SuiteScores, TaskScore, suite_scores, suite_table
from genlip.evaluate.lmms.suite import Suite, SuiteRow, SuiteTask, read_suite, suite_names

__all__ = [
    "LmmsResults", "Suite", "SuiteRow", "SuiteScores", "SuiteTask", "TaskResult", "TaskScore", "measure_lmms",
    "read_lmms_results", "read_suite", "suite_names", "suite_scores", "suite_table",
]  # fmt: skip
