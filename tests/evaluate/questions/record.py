"""Records what lmms-eval makes of planted answers, into the `recorded_*.json` files beside this script.

    pip download lmms-eval==0.7.3 --no-deps && unzip -d lmms lmms_eval-0.7.3-*.whl
    python tests/evaluate/questions/record.py lmms

Of lmms-eval it runs the metric functions of the tasks and `ConfigurableTask.process_results`, which calls them. Libraries
that lmms-eval imports and these functions do not use are replaced by empty ones where they are not installed.
"""

from __future__ import annotations

import json
import random
import string
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

HERE = Path(__file__).parent
UNUSED = (
    "datasets",
    "datasets.utils",
    "datasets.utils.metadata",
    "loguru",
    "evaluate",
    "dill",
    "pandas",
    "sacrebleu",
    "pytz",
)
UNUSED += ("mistral_common", "tenacity", "requests", "accelerate", "tqdm", "openai")
PLANTED = 500
WORDS = """a an the The A red green light-blue traffic light man's dog's womans 2 3 ten Ten none zero one two Three seven
eleven left/right yes no Yes. No! café naïve Straße STRASSE İstanbul größe 東京 右 don't dont wont cant isnt it's its 1,000
10,000 3.5 $3.50 45% 12 km 5kg o'clock oclock U.S. e.g. t-shirt tshirt (blue) "quoted" @home #1 & and/or what? ok,
semi;colon under_score back\\slash {braces} [brackets] a=b 1+1 x>y <tag> `tick` ... . , - ? !"""
NUMBERS = """0 1 5 7 10 42 99 100 1000 1e3 1_000 1,000 0.5 .5 5. 3.14 -3 +3 -0.5 12% 12.5% 0% 100% %5 5%% $5 5$ 5kg 5 kg 2,5
５ ٣ inf -inf nan NaN Infinity 1/2 ten 007 6.02e23 1e400 0x10 1 000 12 million"""
OPTIONS = (
    "the sun",
    "moon",
    "The Sun",
    "A planet",
    "5",
    "10%",
    "Bird",
    "a b c",
    "café",
    "none of these",
    "plant cell",
    "B",
    "",
)
PHRASINGS = """{L}|{l}|{L}.|{l}.|({L})|({l})|{L})|{L}:|{L},|{L}. {t}|{L}) {t}|({L}) {t}|{L}: {t}|{L} {t}|{L}.{t}|{t}|{t}.|{T}
|{t} ({L})|{t} {L}| {L}. |\n{L}. {t}|{L}\n{t}|**{L}**|**{L}.** {t}|`{L}`|The answer is {L}.|The answer is {L}|x{L}|{L}x
|The answer is ({L}) {t}.|Answer: {L}|answer {L}|Answer:{L}|Answer: {L}. {t}|The correct answer is {M}, or rather {L}.
|I choose {L}|I think it is {t}.|option {L}|Option {L} is right|{L} or {M}|{L}, {M}|It is a {t}|A {t} is {L}|It is A|{L}!
|{L}?|:{L}|'{L}'|"{L}".|The best option is\n{L}|정답은 {L}|答案是{L}|选{L}。|答えは {L}|U.S. law|Ä. nothing|{L}{L}
|Because {M}) is wrong|not {M} but {L}|the answer is unclear|E|(E)|D.|Their choice is|i pick|IC|{L}'s|b|'x' {L}'|{L}.,
|{L},.|...{L}...|| |nothing|I don't know|My choice is {L} since {M} is wrong|Ｂ|b. {t}|[{L}]|{{{L}}}|{L};|{L}-{t}
|the sun and moon"""

SOUP = """(A)|(B)|(C)|A.|B.|C.|D.|A:|B:|C:|A)|B)|D)|A|B|C|D|AB|xC|Dx|the answer is|My choice is|i choose|I pick
|the best option is|correct choice is|so|답:|为|答案为|it"""


def main(source: Path) -> None:
    """Write the files."""
    for name in [name for name in UNUSED if find_spec(name.split(".")[0]) is None]:
        sys.modules[name] = MagicMock(__path__=[], __spec__=ModuleSpec(name, None))
    if isinstance(sys.modules.get("tenacity"), MagicMock):  # which decorates the class
        sys.modules["tenacity"].retry = lambda *given, **options: lambda wrapped: wrapped
    sys.path.insert(0, str(source))
    for name, record in RECORDS.items():
        rows = [json.dumps(row, ensure_ascii=False) for row in record(random.Random(name))]
        (HERE / f"recorded_{name}.json").write_text("[\n" + ",\n".join(rows) + "\n]\n", encoding="utf8")
        print(name, len(rows))


def processed(doc: dict[str, Any], said: str, **task: Any) -> dict[str, Any]:
    """What lmms-eval finds for one answer: of a task with `process_results`, or with a metric that is registered."""
    import lmms_eval.api.metrics  # noqa: F401  which registers them
    from lmms_eval.api.registry import get_metric
    from lmms_eval.api.task import ConfigurableTask

    metric, options = task.get("metric", "none"), task.get("options", {})
    itself = SimpleNamespace(
        OUTPUT_TYPE="generate_until",
        config=SimpleNamespace(process_results=task.get("process"), doc_to_choice=None),
        doc_to_target=lambda doc: doc["target"],
        multiple_target=len(doc["target"]) if isinstance(doc.get("target"), list) else 0,
        _metric_fn_list={metric: get_metric(metric)} if "metric" in task else {},
        _metric_fn_kwargs={metric: options},
    )
    return ConfigurableTask.process_results(itself, doc, [said])


# -- planted answers


def phrase(draw: random.Random, words: Sequence[str] = tuple(WORDS.split())) -> str:
    """A few words of the list, sometimes none."""
    return draw.choice([" ", " ", " ", "  ", "\n", "\t"]).join(draw.choices(words, k=draw.choice([0, 1, 1, 1, 2, 2, 3, 5])))


def altered(draw: random.Random, text: str) -> str:
    """The text, or something near it."""
    changes: list[Callable[[], str]] = [
        lambda: text,
        lambda: text,
        lambda: text.upper(),
        lambda: text.lower(),
        lambda: text.capitalize(),
        lambda: f" {text} ",
        lambda: f"the {text}",
        lambda: f"{text}.",
        lambda: text.replace(" ", draw.choice(["-", "?", ",", "/", "- ", " ,", "? "])),
        lambda: f"{text}{draw.choice(['-', '/', '?', ','])}{phrase(draw)}",
        lambda: text.replace("'", ""),
        lambda: text.replace(",", ""),
        lambda: text[:-1],
        lambda: text[1:],
        lambda: f"{text}{draw.choice(string.printable[:94])}",
        lambda: "".join(draw.sample(text, len(text))) if draw.random() < 0.3 else text,
        lambda: f"{text} {phrase(draw)}",
        lambda: phrase(draw),
    ]
    return draw.choice(changes)()


def random_text(draw: random.Random) -> str:
    """Any signs."""
    return "".join(draw.choices(string.printable + "äßéİ右’–，。", k=draw.randrange(12)))


def pairs(draw: random.Random, words: Sequence[str], most: int) -> Iterator[tuple[str, list[str]]]:
    """Answers and true answers, which are alike."""
    for _ in range(PLANTED):
        text = random_text(draw) if draw.random() < 0.15 else phrase(draw, words)
        yield altered(draw, text), [altered(draw, text) for _ in range(draw.randint(1, most))]


def ten_answers(draw: random.Random, contractions: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Answers, and those of ten people; all contractions occur."""
    words = [*WORDS.split(), *contractions]
    for _ in range(PLANTED):
        some = [phrase(draw, words) for _ in range(draw.choice([1, 1, 2, 3, 10]))]
        answers = [altered(draw, draw.choice(some)) for _ in range(10)]
        yield altered(draw, draw.choice([*some, *answers])), answers
    for word in contractions:
        yield word.upper() if draw.random() < 0.2 else word, [word, word.replace("'", ""), "no", *[phrase(draw)] * 7]
    yield "." * 40 + "x", ["." * 8 + "x"] * 10


# -- metrics: rows of answer, true answers, score, and what else is found


def vqa(draw: random.Random) -> Iterator[list[Any]]:
    """VQAv2: also the words that are compared."""
    from lmms_eval.tasks._task_utils.vqa_eval_metric import EvalAIAnswerProcessor
    from lmms_eval.tasks.vqav2.utils import vqav2_process_results

    known = EvalAIAnswerProcessor.CONTRACTIONS
    for said, answers in ten_answers(draw, sorted({*known, *known.values()})):
        people = [{"answer": answer, "answer_confidence": "yes", "answer_id": i} for i, answer in enumerate(answers)]
        found = processed({"answers": people, "question_id": 1}, said, process=vqav2_process_results)
        yield [said, answers, found["exact_match"], found["submission"]["answer"]]


def textvqa(draw: random.Random) -> Iterator[list[Any]]:
    """TextVQA: also the words that are compared."""
    from lmms_eval.tasks._task_utils.vqa_eval_metric import EvalAIAnswerProcessor
    from lmms_eval.tasks.textvqa.utils import textvqa_process_results

    known = EvalAIAnswerProcessor.CONTRACTIONS
    for said, answers in ten_answers(draw, sorted({*known, *known.values()})):
        found = processed({"answers": list(answers), "question_id": 1}, said, process=textvqa_process_results)
        yield [said, answers, found["exact_match"], found["submission"]["answer"]]


def anls(draw: random.Random) -> Iterator[list[Any]]:
    """DocVQA and InfographicVQA."""
    for said, answers in pairs(draw, f"{WORDS} {NUMBERS}".split(), 4):
        yield [said, answers, processed({"target": answers}, said, metric="anls")["anls"]]


def relaxed(draw: random.Random) -> Iterator[list[Any]]:
    """ChartQA, whose questions have one answer."""
    from lmms_eval.tasks.chartqa.utils import chartqa_process_results

    for said, (true, *_) in pairs(draw, [*NUMBERS.split(), *WORDS.split()[:20]], 1):
        if draw.random() < 0.4:
            number = draw.choice([1, 10, 0.5, 97, 1000]) * draw.choice([1, -1])
            nearly = number * draw.choice([1, 0.9499, 0.951, 1.05, 1.049, 1.0501, 0.01, -1])
            true = f"{number:g}{draw.choice(['', '', '%', '%%'])}"
            said = f"{nearly:{draw.choice(['g', ',g'])}}{draw.choice(['', '', '%'])}"
        found = processed({"answer": true, "type": "human_test"}, said, process=chartqa_process_results)
        yield [said, [true], found["relaxed_overall"]]


def exact(draw: random.Random) -> Iterator[list[Any]]:
    """GQA; with several true answers as lmms-eval counts any such task."""
    options = {"ignore_case": True, "ignore_punctuation": True}
    for said, answers in pairs(draw, f"{WORDS} {NUMBERS}".split(), 3):
        target: Any = answers if len(answers) > 1 else answers[0]
        yield [
            said,
            answers,
            float(processed({"target": target}, said, metric="exact_match", options=options)["exact_match"]),
        ]


def choosing(draw: random.Random, form: str, options: Sequence[str], right: int) -> str:
    """A form of words that is filled with the right option or another one."""
    meant, other = right if draw.random() < 0.5 else draw.randrange(len(options)), draw.randrange(len(options))
    letter, text = string.ascii_uppercase[meant], options[meant]
    filled = form.replace("{L}", letter).replace("{l}", letter.lower()).replace("{M}", string.ascii_uppercase[other])
    return filled.replace("{t}", text).replace("{T}", text.capitalize())


def letters(draw: random.Random) -> Iterator[list[Any]]:
    """Rows of answer, options, right option, and the scores of AI2D and ScienceQA, MMBench's letter, and its last
    resort."""
    from lmms_eval.tasks._task_utils.mcq_extract import extract_mcq_answer
    from lmms_eval.tasks.ai2d.utils import MultiChoiceRegexFilter
    from lmms_eval.tasks.mmbench.mmbench_evals import MMBench_Evaluator
    from lmms_eval.tasks.scienceqa.utils import sqa_process_results

    judge, ai2d = MMBench_Evaluator(), MultiChoiceRegexFilter(regex_pattern="([A-Z])\\.", ignore_case=True)
    options = {"ignore_case": True, "ignore_punctuation": True}
    forms = PHRASINGS.replace("\n|", "|").split("|")
    for i in range(3 * PLANTED):
        texts = draw.sample(OPTIONS, draw.choice([2, 3, 4, 4]))
        right = draw.randrange(len(texts))
        said = choosing(draw, forms[i % len(forms)], texts, right)
        if i >= PLANTED:  # several in a row, among words that choose nothing
            said = " ".join(["well", *draw.choices(SOUP.replace("\n|", "|").split("|"), k=draw.randrange(9)), said])
        if i >= 2 * PLANTED:
            said = " ".join(["well", *draw.choices(SOUP.replace("\n|", "|").split("|"), k=draw.randrange(9)), "then"])
        if draw.random() < 0.1:
            said = altered(draw, said)
        target = string.ascii_uppercase[right]
        (filtered,) = ai2d.apply([[said]], [{}])
        exactly = processed({"target": target}, filtered, metric="exact_match", options=options)["exact_match"]
        science = processed({"choices": texts, "answer": right}, said, process=sqa_process_results)["exact_match"]
        choices = dict(zip(string.ascii_uppercase, texts, strict=False))
        telling = extract_mcq_answer(said.strip(), sorted(choices))
        found = judge.can_infer(said.strip(), dict(choices)) or telling
        yield [said, texts, right, float(exactly), science, found, telling]


RECORDS = {"vqa": vqa, "textvqa": textvqa, "anls": anls, "relaxed": relaxed, "exact": exact, "letters": letters}

if __name__ == "__main__":
    main(Path(sys.argv[1]))
