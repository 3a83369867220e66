"""Model cards: the README.md of a published model, written from the files of the model and of its run.

In: the folder of a model, and the folder of the run that trained it, if there is one. Out: Markdown with the header that the
Hugging Face Hub reads. The same files always give the same text. What is not known is called unknown. Folders are removed
from absolute paths, and credentials from URLs.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from genlip.data.preprocessing import load_preprocessing
from genlip.model.checkpoint import check
from genlip.model.config import GenLIPConfig
from genlip.model.fields import checked
from genlip.model.genlip import GenLIP
from genlip.model.reading import read_json
from genlip.model.weights import read_weights, weight_files
from genlip.train.run_log import Event, read_events

__all__ = ["model_card"]

_ABSOLUTE = re.compile(r"(?:^|(?<=[\s,]))(?:~|file:|[A-Za-z]:)?[/\\](?:[^\s,]*[/\\])?")
_SECRETS = re.compile(r"(?<=://)[^/@\s]*@|\?[^\s,]*")  # parts of a URL: user name and password, and the query
_NOT_ABOUT_THE_MODEL = ("out", "trackers")  # settings that the card leaves out
_FILES = ("init_from", "tokenizer", "source", "held_out")  # settings that name files


@dataclass(frozen=True)
class _Run:
    """The events of a run's log, and the results that the quickstart measured afterwards."""

    events: list[Event]
    results: dict[str, Any]

    def last(self, kind: str, name: str) -> Event:
        """The last event of a kind in which this figure is present; empty if there is none."""
        return next((e for e in reversed(self.events) if e["event"] == kind and e.get(name) is not None), {})

    @property
    def start(self) -> Event:
        return self.last("start", "run")

    @property
    def settings(self) -> dict[str, Any]:
        """The resolved recipe, without private settings."""
        run = self.start.get("run", {})
        return _public({name: value for name, value in run.items() if name not in _NOT_ABOUT_THE_MODEL})


def model_card(
    folder: str | os.PathLike[str],
    name: str,
    run: str | os.PathLike[str] | None = None,
    license: str = "apache-2.0",
    data: str = "",
) -> str:
    """The card of a model's folder.

    name     owner/name on the Hub
    run      folder of the run that trained it; recipe and metrics come from its log
    license  the Hub's name of the licence
    data     description of the training data

    Raises `CheckpointError` if the folder is not a complete checkpoint, ValueError if the run has no log.
    """
    folder, config = Path(folder), check(folder)
    log = _Run([], {}) if run is None else _Run(_until_the_end(read_events(Path(run))), _results(Path(run)))
    sections = {
        "What it is": _what_it_is(folder, config),
        "Data": _data(log, data),
        "Recipe": _recipe(log),
        "Metrics": _metrics(log),
        "Limits": _LIMITS,
        "How to use": _how_to_use(folder, name),
        "Licence": f"`{license}`, as stated by the publisher of the model.",
        "Citation": _CITATION,
    }
    body = "\n\n".join(f"## {title}\n\n{text.strip()}" for title, text in sections.items())
    return f"---\n{_header(license)}---\n\n# {name.rpartition('/')[2]}\n\n{_OPENING.strip()}\n\n{body}\n"


def _until_the_end(events: list[Event]) -> list[Event]:
    """The events up to the last end of the run: its model was written then, and later events do not describe it."""
    ends = [number for number, event in enumerate(events) if event["event"] == "end"]
    return events[: ends[-1] + 1] if ends else events


def _results(run: Path) -> dict[str, Any]:
    """The results file that `genlip quickstart` writes beside the model; empty for other runs."""
    file = run / "results.json"
    found = checked(read_json(file), dict[str, Any], str(file)) if file.is_file() else {}
    return found if {"exact_match", "captions", "steps"} <= found.keys() else {}


def _header(license: str) -> str:
    keys = {
        "license": license,
        "library_name": "genlip",
        "pipeline_tag": "image-to-text",
        "tags": ["genlip", "vision-encoder", "image-captioning", "arxiv:2605.00809"],
    }
    return yaml.safe_dump(keys, sort_keys=False, allow_unicode=True)


_OPENING = """
A [GenLIP](https://arxiv.org/abs/2605.00809): one transformer reads the patches of an image and predicts its caption. It
describes images. Its trunk, given patches without text, is a vision encoder.
"""


# -- what it is


def _what_it_is(folder: Path, config: GenLIPConfig) -> str:
    with torch.device("meta"):
        model = GenLIP(config)
    encoder = sum(p.numel() for part in (model.vision_embeddings, model.visual, model.ln_post) for p in part.parameters())
    stored = read_weights(weight_files(folder), {"ln_post.weight"})["ln_post.weight"].dtype
    activation = f"gated, {config.hidden_act}" if config.use_swiglu_ffn else config.hidden_act
    rows = {
        "parameters": f"{sum(p.numel() for p in model.parameters()):,}, of which the encoder has {encoder:,}",
        "stored as": str(stored).removeprefix("torch."),
        "layers, width, heads": f"{config.num_hidden_layers}, {config.hidden_size}, {config.num_attention_heads}",
        "feed-forward width": f"{config.intermediate_size} ({activation})",
        "text width": f"{config.text_embed_dim}",
        "patches": f"{config.patch_size} x {config.patch_size} pixels, {config.num_channels} channels",
        "vocabulary": f"{config.vocab_size:,}",
    }
    return _table(rows | dict(_preprocessing(folder)))


def _preprocessing(folder: Path) -> Iterator[tuple[str, str]]:
    """How images and captions were prepared in training."""
    if not (folder / "preprocessing.json").is_file():
        yield "images", "unknown; genlip assumes 224 x 224 pixels, as in published models of stage 1"
        return
    settings, _ = load_preprocessing(folder)
    images, captions = settings.images, settings.captions
    if images.resize == "fixed":
        yield "images", f"resized to {images.size} x {images.size} pixels"
    else:
        yield "images", f"own aspect ratio, {images.min_patches} to {images.max_patches} patches"
    yield "prompt", _code(captions.prompt) if captions.prompt else "none"
    yield "captions", f"at most {captions.max_tokens:,} tokens, ended by {_code(captions.end)}"


def _code(text: str) -> str:
    """A text as Markdown code, with line breaks escaped."""
    return f"`{json.dumps(text, ensure_ascii=False)[1:-1]}`"


def _table(rows: dict[str, str]) -> str:
    cells = ((key, value.replace("|", "\\|")) for key, value in rows.items())
    return "| | |\n|---|---|\n" + "\n".join(f"| {key} | {value} |" for key, value in cells)


# -- where it comes from


def _data(log: _Run, data: str) -> str:
    paragraphs = [data.strip()] if data.strip() else []
    if source := log.start.get("source"):
        samples = log.start.get("samples", 0)
        paragraphs.append(f"The run was trained on `{_without_folders(source)}`, which holds {samples:,} samples.")
    return "\n\n".join(paragraphs) or "Unknown: the publisher did not describe the training data."


def _recipe(log: _Run) -> str:
    if not log.settings:
        return "Unknown: no run came with the model."
    settings = yaml.safe_dump(log.settings, sort_keys=False, allow_unicode=True, width=100)
    return f"The settings of `genlip train`, resolved:\n\n```yaml\n{settings}```"


def _metrics(log: _Run) -> str:
    if not log.events:
        return "Unknown: no run came with the model."
    train, held_out, gain = log.last("train", "loss"), log.last("held_out", "loss"), log.last("held_out", "picture_gain")
    rows = {
        "training loss": _figure(train, "loss", "nats per token, over the last updates"),
        "held-out loss": _figure(held_out, "loss", f"nats per token{_measured_on(log)}"),
        "picture gain": _figure(gain, "picture_gain", "nats per token less with the right image than with a wrong one"),
        "held-out captions": _exact(log),
        "training": _training(log),
    }
    return _table(rows)


def _figure(event: Event, name: str, unit: str) -> str:
    return f"{event[name]:.3f} {unit}, at step {event.get('step', 0):,}" if event else "unknown"


def _measured_on(log: _Run) -> str:
    source = log.start.get("held_out")
    return f" of `{_without_folders(source)}`" if source else ""


def _exact(log: _Run) -> str:
    if found := log.results:
        exact = round(found["exact_match"] * found["captions"])
        return f"{exact} of {found['captions']} equal to the true ones, at step {found['steps']:,}"
    event = log.last("spoken", "samples")
    if not event:
        return "unknown"
    exact = sum(bool(sample.get("exact")) for sample in event["samples"])
    return f"{exact} of {len(event['samples'])} equal to the true ones, at step {event.get('step', 0):,}"


def _training(log: _Run) -> str:
    end, train = log.last("end", "seconds"), log.last("train", "seconds")
    event = end or train
    if not event:
        return "unknown"
    words = f"{event.get('step', 0):,} steps in {event['seconds']:,.1f} seconds"
    if log.start.get("machine"):
        words += f" on {log.start['machine']}"
    if not end:
        return f"{words}; the run had not ended"
    used = sum(end.get("used", {}).values())
    return f"{words}; {used:,} samples, {end.get('tokens', 0):,} tokens, patches included"


def _public(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings without folders and credentials."""
    return {
        name: _public(value) if isinstance(value, dict) else _without_folders(value) if name in _FILES else value
        for name, value in settings.items()
    }


def _without_folders(name: Any) -> str:
    """Names of files or a URL, without the folders of absolute paths and without credentials."""
    return _ABSOLUTE.sub("", _SECRETS.sub("", str(name)))


_LIMITS = """
The model imitates the captions that it was trained on, so it can be wrong, invent things, and repeat their bias. What is not
listed under Metrics is not known to have been measured: other kinds of images, other languages, fairness towards people in
pictures. It reads one image at a time.
"""


# -- how to use


def _how_to_use(folder: Path, name: str) -> str:
    has_tokenizer = (folder / "tokenizer.json").is_file()
    parts = {
        "genlip": _python(_GENLIP if has_tokenizer else _GENLIP_ENCODER),
        "Transformers": _transformers(folder, has_tokenizer),
        "timm": _python(_TIMM),
        "ONNX Runtime": _bash(f"genlip export NAME onnx/ --to onnx{'' if has_tokenizer else ' --encoder-only'}")
        + "\n\n"
        + _python(_ONNX if has_tokenizer else _ONNX_ENCODER),
    }
    note = "" if has_tokenizer else "The model has no tokenizer, so these lines use the encoder.\n\n"
    return note + "\n\n".join(f"{title}:\n\n{text}" for title, text in parts.items()).replace("NAME", name)


def _transformers(folder: Path, has_tokenizer: bool) -> str:
    """Lines for Transformers: with the code in the folder, else with genlip's code, after an export if one is needed."""
    remote = "auto_map" in read_json(folder / "config.json")
    ready = any((folder / file).is_file() for file in ("processor_config.json", "preprocessor_config.json"))
    lines = _CAPTIONING if has_tokenizer else _ENCODING
    if remote:
        return _python(lines.replace('from_pretrained("NAME"', 'from_pretrained("NAME", trust_remote_code=True'))
    lines = f"import genlip.export.transformers\n{lines.strip()}"
    if ready:
        return _python(lines)
    return _bash("genlip export NAME hf/ --to transformers") + "\n\n" + _python(lines.replace('"NAME"', '"hf"'))


def _python(code: str) -> str:
    return f"```python\n{code.strip()}\n```"


def _bash(code: str) -> str:
    return f"```bash\n{code}\n```"


_GENLIP = """
import genlip
speaker = genlip.Speaker.load("NAME")
print(speaker.caption(["photo.jpg"])[0])
(features,) = speaker.encode(["photo.jpg"])  # features.patches: Float[rows * columns, D], features.grid: (rows, columns)
"""

_GENLIP_ENCODER = """
import genlip
speaker = genlip.Speaker.load("NAME")
(features,) = speaker.encode(["photo.jpg"])  # features.patches: Float[rows * columns, D], features.grid: (rows, columns)
"""

_CAPTIONING = """
from PIL import Image
from transformers import AutoModel, AutoModelForImageTextToText, AutoProcessor
processor = AutoProcessor.from_pretrained("NAME")
inputs = processor(images=[Image.open("photo.jpg")])
generated = AutoModelForImageTextToText.from_pretrained("NAME").generate(**inputs)
print(processor.batch_decode(generated[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)[0])
encoder = AutoModel.from_pretrained("NAME")
"""

_ENCODING = """
from PIL import Image
from transformers import AutoImageProcessor, AutoModel
inputs = AutoImageProcessor.from_pretrained("NAME")([Image.open("photo.jpg")], return_tensors="pt")
features = AutoModel.from_pretrained("NAME")(**inputs).last_hidden_state
"""

_TIMM = """
import genlip
from genlip.export.timm import to_timm
model = to_timm(genlip.load("NAME"))  # model.forward_features(images): Float[b, N, D]
"""

_ONNX = """
from genlip.export.onnx import OnnxCaptioner
print(OnnxCaptioner("onnx").caption(["photo.jpg"])[0])
"""

_ONNX_ENCODER = """
from genlip.export.onnx import OnnxEncoder
(features,) = OnnxEncoder("onnx").encode(["photo.jpg"])
"""

_CITATION = """
```bibtex
@article{genlip2026,
  title   = {Let ViT Speak: Generative Language-Image Pre-training},
  author  = {Yan Fang and Mengcheng Lan and Zilong Huang and Weixian Lei and Yunqing Zhao and Yujie Zhong and Yingchen Yu
             and Qi She and Yao Zhao and Yunchao Wei},
  journal = {arXiv preprint arXiv:2605.00809},
  year    = {2026}
}
```
"""
