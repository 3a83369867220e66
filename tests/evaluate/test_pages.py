"""Pages in a browser: every section on a narrow and a wide screen, without a network, with sharp images and no overflow.

Needs Playwright and Chromium (`pip install playwright`, Debian's package `chromium`); skipped where they are missing.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from genlip.data.datasets.base import Labelled
from genlip.data.datasets.segmented_opening import open_named, open_segmented
from genlip.data.dialogues.question import Question
from genlip.data.images import ImageConfig
from genlip.data.sources import Procedural
from genlip.data.sources.base import Subset
from genlip.evaluate.attention.measure import measure_attention
from genlip.evaluate.captioning.measure import CaptioningConfig, measure_captioning
from genlip.evaluate.comparison.compare import compare_models
from genlip.evaluate.comparison.page import comparison_page
from genlip.evaluate.features.measure import measure_features
from genlip.evaluate.model_page import summary, write_model_report
from genlip.evaluate.probe.measure import ProbeConfig, measure_probe
from genlip.evaluate.questions.measure import QuestionsConfig, measure_questions
from genlip.evaluate.readout.measure import measure_readout
from genlip.evaluate.readout.page import readout_page
from genlip.evaluate.registry import MEASUREMENTS, section_of
from genlip.evaluate.resolution.measure import measure_resolution
from genlip.evaluate.result import Result
from genlip.evaluate.result_files import read_result, write_result
from genlip.evaluate.scores import Scores
from genlip.evaluate.segmentation.measure import SegmentationConfig, measure_segmentation
from genlip.evaluate.zero_shot.measure import measure_zero_shot
from genlip.model.genlip import GenLIP
from genlip.report import html
from genlip.report.html import page
from genlip.speaker import Speaker

from ..data.helpers import small_config
from .perplexity.test_measure import result as perplexity_of
from .questions.standin import InMemoryQuestions, Standin, coloured
from .speaking import small_speaker

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = "--no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update --disable-sync"
SCENES = Subset(Procedural("scenes", 1), range(8))
LONG = "/data/" + "a_very_long_name_without_a_break" * 4


@dataclass(frozen=True)
class Coloured:
    """Plain images whose colour is their class."""

    name: str
    length: int
    classes: tuple[str, ...] = ("red", "lime", "blue", "a class with a rather long name, of several words")

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Labelled:
        label = index % len(self.classes)
        return Labelled(
            f"{self.name} {index}", Image.new("RGB", (40, 30 + index % 3), [*self.classes[:3], "grey"][label]), label
        )


CHOICES = InMemoryQuestions(
    [
        Question(f"q{i}", (coloured(i),), f"{LONG} {i}?", ("4",), ("3", LONG, "4", "a few words"), 2, type=f"{LONG} {i % 2}")
        for i in range(14)
    ]
)
ASKED = QuestionsConfig(metric="letters", without_images=True, other_images=True)
MEASURED: dict[str, Callable[[Speaker], Result]] = {
    "captioning": lambda speaker: measure_captioning(speaker, SCENES, CaptioningConfig(max_tokens=12, transcription=True)),
    "perplexity": lambda speaker: perplexity_of(
        curves=[{"stage": "PPL1", "learning_rate": 0.001, "steps": [1, 2], "loss": [2.0, None]}], chosen={"PPL1": 0.001}
    ),
    "questions": lambda speaker: measure_questions(Standin(lambda asked: "4" if asked.images else LONG), CHOICES, ASKED),
    "zero-shot": lambda speaker: measure_zero_shot(speaker, Coloured("colours", 12)),
    "probe": lambda speaker: measure_probe(
        speaker, Coloured("test", 12), ProbeConfig(epochs=2, learning_rates=(1e-3, 1e-2)), train=Coloured("train", 40)
    ),
    "segmentation": lambda speaker: measure_segmentation(
        speaker, open_segmented("scenes:2"), SegmentationConfig(epochs=1), train=open_segmented("scenes:1"), limit=10
    ),
    "resolution": lambda speaker: measure_resolution(
        lambda seen: measure_captioning(seen, SCENES, CaptioningConfig(max_tokens=4), limit=4), speaker, sizes=[16, 32]
    ),
    "attention": lambda speaker: measure_attention(speaker, SCENES),
    "readout": lambda speaker: measure_readout(speaker, open_named("scenes:1"), limit=4, shown=2),
    "features": lambda speaker: measure_features(speaker, open_named("scenes:1"), limit=5),
}


@pytest.fixture(scope="module")
def results() -> dict[str, Result]:
    speaker = small_speaker(ImageConfig(size=32))
    return {name: replace(measure(speaker), model=LONG) for name, measure in MEASURED.items()}


def test_every_measurement_is_shown_here(results: dict[str, Result]) -> None:
    assert {result.measurement for result in results.values()} == set(MEASUREMENTS) == set(MEASURED)


@pytest.mark.parametrize("name", MEASURED)
def test_a_section_is_made_of_what_is_stored(results: dict[str, Result], name: str, tmp_path: Path) -> None:
    made = section_of(results[name])
    assert section_of(read_result(write_result(results[name], tmp_path))) == made
    assert "nan" not in made.body.lower().replace("&nbsp;", "").split()


HOSTILE = "\"'><script>PWN</script>"


def altered(value: Any) -> Iterator[Any]:
    """The same value with something hostile in the place of one part, once for each kind of place."""
    yield HOSTILE
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from ({**value, key: changed} for changed in altered(inner))
            yield {HOSTILE if name == key else name: one for name, one in value.items()}
    elif isinstance(value, list) and value:
        yield from ([changed, *value[1:]] for changed in altered(value[0]))


@pytest.mark.parametrize("name", MEASURED)
def test_no_part_of_a_stored_result_becomes_markup(
    results: dict[str, Result], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stands in another's `result.json` is text on the page, or refused."""
    file = write_result(results[name], tmp_path) / "result.json"
    whole, shown = json.loads(file.read_text(encoding="utf8")), 0
    for module in (
        "html",
        "caption_cards",
        "patch_words",
        "question_cards",
    ):  # pictures are slow and hold nothing of the result
        monkeypatch.setattr(f"genlip.report.{module}.inline_image", lambda image, side: "<img>")
    monkeypatch.setattr("genlip.report.charts._svg", lambda figure, label: f"<svg aria-label='{html.escape(label)}'></svg>")
    monkeypatch.setattr(Scores, "interval", lambda scores: (0.0, 1.0))
    every = list(altered({key: value for key, value in whole.items() if key != "scores"}))
    for stored in ({**whole, **one} if isinstance(one, dict) else one for one in every[:: max(1, len(every) // 60)]):
        file.write_text(json.dumps(stored), encoding="utf8")
        try:
            result = read_result(file.parent)
            markup = page("page", [summary([result]), section_of(result)])
        except Exception:  # refused: how this is told is tested where results are read
            continue
        shown += 1
        assert "<script" not in markup
        assert "Content-Security-Policy" in markup
    assert shown > 5


def test_values_of_any_type_are_escaped() -> None:
    for value in (HOSTILE, 3, None, [HOSTILE], {HOSTILE: 1}):
        assert "<script" not in page(HOSTILE, []) + html.key_value_table({HOSTILE: value}) + html.escape(value)


@pytest.fixture(scope="module")
def pages(results: dict[str, Result], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The page of a model, one that compares two, and a readout."""
    folder = tmp_path_factory.mktemp("pages")
    for model in ("first", "second"):
        for result in results.values():
            write_result(replace(result, data=f"{LONG} {result.data}"), folder / model)
    speaker = small_speaker()
    ungated = Speaker(GenLIP(small_config(num_hidden_layers=2, gated_attention=False)), speaker.images, speaker.captions)
    write_result(replace(measure_attention(ungated, SCENES), data=f"{LONG} {results['attention'].data}"), folder / "second")
    (folder / "compared.html").write_text(comparison_page(compare_models([str(folder / "first"), str(folder / "second")])))
    (folder / "read.html").write_text(readout_page(small_speaker(), [Image.effect_noise((300, 200), 90).convert("RGB")]))
    model = write_model_report(folder / "first", folder / "model.html")
    return {"model": model, "compared": folder / "compared.html", "readout": folder / "read.html"}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        yield opened
        opened.close()


@dataclass
class Opened:
    """A page in the browser, what it asked for, and what its console said."""

    page: Any
    requests: list[str]
    complaints: list[str]


@pytest.fixture(params=[390, 1280], ids=lambda width: f"{width}px")
def screen(request: pytest.FixtureRequest, browser: Any) -> Iterator[Callable[[Path], Opened]]:
    context = browser.new_context(viewport={"width": request.param, "height": 844})

    def show(path: Path) -> Opened:
        opened = Opened(context.new_page(), [], [])
        opened.page.on("request", lambda asked: opened.requests.append(asked.url))
        opened.page.on("console", lambda message: opened.complaints.append(message.text))
        opened.page.on("pageerror", lambda error: opened.complaints.append(str(error)))
        opened.page.goto(path.as_uri())
        return opened

    yield show
    context.close()


PAGES = ["model", "compared", "readout"]

WIDER = """() => [...document.querySelectorAll('main *')].filter(e => {
  const inside = e.closest('.table, pre, .commands, svg, .tokens');
  return (!inside || inside === e) && e.getBoundingClientRect().right > document.documentElement.clientWidth + 1;
}).map(e => e.outerHTML.slice(0, 120))"""

BLURRED = """() => [...document.images].filter(e => {
  const box = e.getBoundingClientRect(), style = getComputedStyle(e);
  if (!box.width || style.imageRendering === 'pixelated') return false;
  const scales = [box.width / e.naturalWidth, box.height / e.naturalHeight];
  const shown = ['contain', 'scale-down'].includes(style.objectFit) ? Math.min(...scales) : Math.max(...scales);
  return shown > 1.05;
}).map(e => `${e.naturalWidth}x${e.naturalHeight} in ${e.closest('[class]').outerHTML.slice(0, 80)}`)"""


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_the_screen(pages: dict[str, Path], screen: Callable[[Path], Opened], name: str) -> None:
    page = screen(pages[name]).page
    assert page.evaluate(WIDER) == []
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_asks_for_nothing_and_complains_of_nothing(
    pages: dict[str, Path], screen: Callable[[Path], Opened], name: str
) -> None:
    opened = screen(pages[name])
    assert opened.requests[0] == pages[name].as_uri()
    assert [url[:80] for url in opened.requests[1:] if not url.startswith("data:")] == []
    assert opened.complaints == []


@pytest.mark.parametrize("name", ["model", "readout"])
def test_images_are_there_and_sharp(pages: dict[str, Path], screen: Callable[[Path], Opened], name: str) -> None:
    page = screen(pages[name]).page
    widths = page.evaluate("[...document.images].map(e => e.naturalWidth)")
    assert len(widths) >= (20 if name == "model" else 2)
    assert min(widths) > 0
    assert page.evaluate(BLURRED) == []


@pytest.mark.parametrize("name", ["model", "readout"])
def test_pointing_at_a_patch_shows_its_tokens(pages: dict[str, Path], screen: Callable[[Path], Opened], name: str) -> None:
    page = screen(pages[name]).page
    patch = page.locator(".patch").nth(5)
    tokens = patch.locator(".tokens")
    assert not tokens.is_visible()
    patch.hover()
    assert tokens.is_visible()
    assert "column" in tokens.inner_text()
    box, width = tokens.bounding_box(), page.viewport_size["width"]
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    page.mouse.move(0, 0)
    assert not tokens.is_visible()
    patch.focus()
    assert tokens.is_visible(), "by keyboard too"
