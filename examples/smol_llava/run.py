"""A multimodal LLM from nothing, on two CPU cores: an encoder, SmolLM2-135M-Instruct, and questions about images.

Each step is a command that you can also run by itself. A step that is done is not repeated, and a stopped one goes on.

    python examples/smol_llava/run.py [--encoder trained|random] [--limit 300]

1. get the language model                    language_model.py
2. train the encoder, in two stages          genlip train encoder_stage1.yaml, encoder_stage2.yaml   about 40 minutes
3. train the projector on captions           genlip train align.yaml                                 about 15 minutes
4. train projector and language model        genlip train instruct.yaml                              about 30 minutes
5. ask held-out questions, with controls     genlip eval questions                                   some minutes
6. write the page                            genlip report

With `--encoder random` steps 3 to 6 use an encoder of the same architecture with random weights, in folders of their own.
Run it in the root of the repository.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import genlip
from genlip.evaluate.questions.measure import QuestionsConfig

from language_model import get_language_model  # beside this file  # isort: skip

HERE, RUNS = Path("examples/smol_llava"), Path("runs/smol_llava")
KINDS = ("scenes", "documents", "charts")
TEST_SEED = 2


def main() -> None:
    """Make every step that is not done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", choices=("trained", "random"), default="trained")
    parser.add_argument("--limit", type=int, default=300, help="questions of each kind (default: 300)")
    arguments = parser.parse_args()
    get_language_model(RUNS / "language_model")
    for stage in ("stage1", "stage2"):
        train(HERE / f"encoder_{stage}.yaml", RUNS / stage)
    model = answering_model(arguments.encoder)
    assistant = genlip.Assistant.load(model)
    for kind in KINDS:
        # Without the metric's suffix ("Answer … using a single word"), which the questions of training do not have.
        config = QuestionsConfig(metric="exact", prompt_suffix="", without_images=True, other_images=True)
        result = genlip.measure_questions(assistant, f"{kind}:{TEST_SEED}", config, model=str(model), limit=arguments.limit)
        genlip.write_result(result, genlip.evaluations_folder(model))
        print(result)
    print(genlip.write_report(model))


def answering_model(encoder: str) -> Path:
    """The folder of the model after both stages."""
    end, changes = "", list[str]()
    if encoder == "random":
        end, changes = "_random", ["--model.encoder", "random:runs/smol_llava/stage2/model"]
    align = train(HERE / "align.yaml", RUNS / f"align{end}", changes)
    return train(HERE / "instruct.yaml", RUNS / f"instruct{end}", [*changes, "--init_from", str(align)])


def train(recipe: Path, out: Path, changes: list[str] = []) -> Path:  # noqa: B006  it is not changed
    """The model of a recipe, trained if it is not there."""
    model = out / "model"
    return model if model.is_dir() else genlip.train_model(recipe, ["--out", str(out), *changes])


if __name__ == "__main__":
    main()
