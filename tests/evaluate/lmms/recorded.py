"""Results as lmms-eval 0.7.3 writes them: recorded, with other numbers put in, and what does not matter left out."""

import json


def results(tasks, model="/models/a", limit=None, **config):
    """The content of a `…_results.json`. `tasks`: by name the figures, the questions asked, and those of the set."""
    return {
        "results": {name: {"alias": name, **figures} for name, (figures, _, _) in tasks.items()},
        "group_subtasks": {name: [] for name in tasks},
        "versions": dict.fromkeys(tasks, "Yaml"),
        "n-shot": dict.fromkeys(tasks, 0),
        "n-samples": {name: {"original": of, "effective": asked} for name, (_, asked, of) in tasks.items()},
        "config": {
            "model": "genlip",
            "model_args": f"pretrained={model},dtype=auto",
            "model_backend": "genlip.mllm.lmms_model.LmmsModel (chat)",
            "batch_size": "8",
            "device": None,
            "limit": limit,
            "offset": 0,
            "gen_kwargs": "",
            **config,
        },
        "lmms_eval_version": "unknown@unknown",
        "date": "20261128_152906",
        "model_name": model,
    }


DOCVQA = {"anls,none": 0.6, "anls_stderr,none": 0.02, "anls_stderr_clt,none": 0.03, "anls_stderr_clustered,none": "N/A"}
MME = {
    "mme_perception_score,none": 1500.0,
    "mme_perception_score_stderr,none": "N/A",
    "mme_perception_score_stderr_clt,none": 0.02,
    "mme_cognition_score,none": 300.0,
}
FIGURES = {  # of all tasks of paper14: the key that counts, and a figure
    "chartqa": ("relaxed_overall,none", 0.5),
    "ocrbench": ("ocrbench_accuracy,none", 0.4),
    "docvqa_val": ("anls,none", 0.6),
    "textvqa_val": ("exact_match,none", 0.55),
    "ai2d": ("exact_match,flexible-extract", 0.65),
    "infovqa_val": ("anls,none", 0.35),
    "seedbench_2_plus": ("seedbench_2_plus_all,none", 0.45),
    "vqav2_val": ("exact_match,none", 0.75),
    "gqa": ("exact_match,none", 0.61),
    "scienceqa_img": ("exact_match,none", 0.7),
    "mme": ("mme_perception_score,none", 1400.0),
    "nocaps_val": ("nocaps_CIDEr,none", 0.8),
    "coco2017_cap_val": ("coco_CIDEr,none", 1.1),
    "textcaps_val": ("textcaps_CIDEr,none", 1.0),
}
GROUPS = {"OCR": 50.0, "VQA": 69.0, "CAP": 290 / 3}  # means by hand, with MME at 1400 / 20


def write(file, tasks, **how):
    """Write such a file; returns it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(results(tasks, **how)))
    return file


def whole_suite():
    """Figures of all tasks of paper14, of 100 questions each."""
    return {name: ({key: value}, 100, 100) for name, (key, value) in FIGURES.items()}
