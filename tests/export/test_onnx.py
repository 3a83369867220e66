"""ONNX exports agree with the model: features, captions, 8-bit weights, and a runner that needs no PyTorch.

Tracing takes a second for each layer and graph, so what is exported is shared by the tests of this file.
"""

import json
import logging
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import genlip
from genlip import Decoding, Speaker, generate
from genlip.data.captions import Captions, train_tokenizer
from genlip.data.preprocessing import load_preprocessing
from genlip.extras import MissingExtra
from genlip.model.genlip import GenLIP
from genlip.model.pack import Pack, Sample

from ..model.helpers import RECORDED, recorded_model, recording, small_config, small_model
from .helpers import CORPUS, GRIDS, TOLERANCE, model_folder, pictures, stray

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from genlip.export.onnx import OnnxCaptioner, OnnxEncoder, export_onnx, export_onnx_folder, quantize_folder  # noqa: E402

# Every variant of the model's tests at once: tracing each alone would take most of a minute.
UNLIKE = {
    "use_swiglu_ffn": False,
    "hidden_act": "gelu",
    "gated_attention": False,
    "ls_init_value": 0.0,
    "mrope_interleaved": False,
    "mrope_section": (1, 3, 2),
    "text_embed_dim": 10,
    "patch_size": 2,
    "num_channels": 1,
}


@pytest.fixture(scope="module", params=[*RECORDED, "unlike"])
def exported(request, recorded_onnx, tmp_path_factory) -> tuple[GenLIP, Path]:
    """A model, and the folder of its export."""
    if request.param in RECORDED:
        return recorded_model(request.param), recorded_onnx(request.param)
    model = small_model(num_hidden_layers=1, **UNLIKE).float()
    return model, export_onnx(model, tmp_path_factory.mktemp("onnx") / "new")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder as a run writes it: the tiny preset, half as deep, that says words which depend on image and prompt."""
    folder = model_folder(tmp_path_factory.mktemp("trained"), num_hidden_layers=2)
    model, (_, tokenizer) = genlip.load(folder), load_preprocessing(folder)
    words = [token for text, token in tokenizer.get_vocab().items() if text.isalpha() and text.isascii()]
    attention = [w for name, w in model.named_parameters() if "self_attn" in name and name.endswith("weight")]
    with torch.no_grad():
        for weight in [model.patch_embedding.weight, *attention]:
            weight.mul_(3)
        torch.nn.init.normal_(model.embeddings.weight)
        torch.nn.init.zeros_(model.lm_head.weight)[words] = torch.randn(len(words), 192)
    genlip.save(model, folder)
    return folder


@pytest.fixture(scope="module")
def spoken(trained, tmp_path_factory) -> Path:
    """The export of `trained`."""
    return export_onnx_folder(trained, tmp_path_factory.mktemp("spoken"))


@pytest.fixture(scope="module")
def eight_bits(spoken, tmp_path_factory) -> Path:
    """`spoken` in 8 bits."""
    return quantize_folder(spoken, tmp_path_factory.mktemp("int8"))


@pytest.fixture
def exact_pictures() -> list[Image.Image]:
    """Images of whole patches, so that nothing is resized; two grids, mixed."""
    random = np.random.default_rng(3)
    sizes = [(24, 24), (12, 40), (24, 24), (8, 8)]
    return [Image.fromarray(random.integers(256, size=(*size, 3), dtype=np.uint8)) for size in sizes]


def random_images(model: GenLIP, grid: tuple[int, int], batch: int) -> tuple[np.ndarray, list[Sample]]:
    """Float32[b, C, H, W] pixels, and the same cut into patches by a loop."""
    size, (rows, columns) = model.config.patch_size, grid
    shape = (batch, model.config.num_channels, rows * size, columns * size)
    pixels = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    cells = [(size * row, size * column) for row in range(rows) for column in range(columns)]
    patches = [[image[:, top : top + size, left : left + size].ravel() for top, left in cells] for image in pixels]
    return pixels, [Sample(np.stack(cut), grid) for cut in patches]


def expected_features(model: GenLIP, samples: list[Sample]) -> torch.Tensor:
    with torch.no_grad():
        return model.encode(Pack.of(samples)).unflatten(0, (len(samples), -1))


def test_features_agree_on_grids_and_batches_that_were_not_traced(exported):
    model, folder = exported
    encoder = OnnxEncoder(folder)
    for grid in [*GRIDS, (1, 1)]:
        for batch in (1, 3):
            pixels, samples = random_images(model, grid, batch)
            found = torch.from_numpy(encoder.encode_pixels(pixels))
            assert stray(found, expected_features(model, samples)) < TOLERANCE, (grid, batch)


def test_greedy_captions_are_the_models_with_and_without_a_prompt(exported):
    model, folder = exported
    captioner = OnnxCaptioner(folder)
    for grid, batch in [((3, 9), 3), ((1, 1), 1), ((6, 2), 2)]:
        pixels, samples = random_images(model, grid, batch)
        for prompt in ([], [5], [3, 1, 4, 1, 5]):  # one token, then one step of several
            pack = Pack.of([sample.with_text(prompt) for sample in samples])
            expected = generate(model, pack, Decoding(max_tokens=12))
            assert captioner.caption_pixels(pixels, prompt, max_tokens=12) == expected


@pytest.mark.parametrize("exported", RECORDED, indirect=True)
def test_features_and_captions_are_the_recorded_ones(exported, request):
    _, folder = exported
    encoder, captioner = OnnxEncoder(folder), OnnxCaptioner(folder)
    name = request.node.callspec.params["exported"]
    for sample in recording(name).samples:
        pixels = sample["pixel_values"].numpy()[None]
        assert stray(torch.from_numpy(encoder.encode_pixels(pixels)[0]), sample["features"]) < TOLERANCE
        assert captioner.caption_pixels(pixels, max_tokens=8) == [sample["greedy_ids"].tolist()]


def test_end_tokens_end_a_caption_and_are_not_part_of_it(exported):
    model, folder = exported
    captioner = OnnxCaptioner(folder)
    pixels, samples = random_images(model, (3, 4), 3)
    free = captioner.caption_pixels(pixels, max_tokens=10)
    end = (free[0][4], free[2][2])
    expected = generate(model, Pack.of(samples), Decoding(max_tokens=10, end_ids=end))
    assert captioner.caption_pixels(pixels, max_tokens=10, end_ids=end) == expected
    assert min(map(len, expected)) < 10


def test_phrases_that_repeat_end_a_caption_as_they_do_in_genlip(exported):
    model, folder = exported
    pixels, samples = random_images(model, (3, 4), 3)
    way = {"max_tokens": 60, "repetition_stop": 2}
    assert OnnxCaptioner(folder).caption_pixels(pixels, **way) == generate(model, Pack.of(samples), Decoding(**way))


def test_the_graphs_are_sound_and_name_what_they_take_and_give(exported):
    _, folder = exported
    named = {}
    for file in folder.glob("*.onnx"):
        onnx.checker.check_model(file)
        graph = onnx.load(file, load_external_data=False).graph
        named[file.stem] = [[value.name for value in values] for values in (graph.input, graph.output)]
    assert named == {
        "encoder": [["pixel_values"], ["features"]],
        "prefill": [["pixel_values"], ["logits", "cache"]],
        "step": [["token_ids", "position", "cache"], ["logits", "grown_cache"]],
    }


def test_three_graphs_hold_one_copy_of_the_weights(exported):
    model, folder = exported
    large = [4 * p.numel() for p in model.parameters() if 4 * p.numel() >= 1024]
    assert (folder / "weights.bin").stat().st_size == sum(large)


def test_the_graphs_keep_no_path_of_the_machine_that_wrote_them(exported):
    _, folder = exported
    for file in folder.glob("*.onnx"):
        assert str(Path(genlip.__file__).parent).encode() not in file.read_bytes()


def test_the_config_can_be_read_back(exported):
    model, folder = exported
    assert genlip.GenLIPConfig.from_dict(json.loads((folder / "config.json").read_text())) == model.config


def test_a_model_of_another_precision_or_in_training_is_exported_and_stays_as_it_is(tmp_path):
    """Without captions here; graphs of an older export go, since they would read the new weights as the old ones."""
    for name in ("prefill", "step"):
        (tmp_path / f"{name}.onnx").write_bytes(b"old")
    model = small_model(num_hidden_layers=1, drop_path_rate=0.5).train()  # float64
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folder = export_onnx(model, tmp_path, captions=False)
    assert model.training
    assert model.ln_post.weight.dtype == torch.float64
    assert sorted(file.name for file in folder.iterdir()) == ["config.json", "encoder.onnx", "weights.bin"]
    pixels, samples = random_images(model, (2, 3), 2)
    found = torch.from_numpy(OnnxEncoder(folder).encode_pixels(pixels)).double()
    assert stray(found, expected_features(model.eval(), samples)) < TOLERANCE
    with pytest.raises(ValueError, match=r"no prefill.onnx; export the model again, for captions without --encoder-only"):
        OnnxCaptioner(folder)


def test_the_runner_encodes_images_as_the_speaker_does(trained, spoken, exact_pictures):
    expected = Speaker.load(trained).encode(exact_pictures)
    for batch in (1, 3, 16):
        found = OnnxEncoder(spoken).encode(exact_pictures, batch)
        assert [features.grid for features in found] == [features.grid for features in expected]
        for one, other in zip(found, expected, strict=True):
            assert stray(torch.from_numpy(one.patches), other.patches) < TOLERANCE


def test_resized_images_give_the_speakers_features_up_to_the_resizing(trained, spoken):
    expected = Speaker.load(trained).encode(pictures())
    for one, other in zip(OnnxEncoder(spoken).encode(pictures()), expected, strict=True):
        assert one.grid == other.grid
        assert stray(torch.from_numpy(one.patches), other.patches) < 0.05


def test_a_path_bytes_and_a_pillow_image_are_one_image(spoken, exact_pictures, tmp_path):
    file = tmp_path / "image.png"
    exact_pictures[0].save(file)
    path, data, picture = OnnxEncoder(spoken).encode([file, file.read_bytes(), exact_pictures[0]])
    assert np.array_equal(path.patches, data.patches)
    assert np.array_equal(path.patches, picture.patches)


def test_the_runner_captions_images_as_the_speaker_does(trained, spoken, exact_pictures):
    captioner = OnnxCaptioner(spoken)
    for prompt in (None, "", "two blue squares"):
        expected = Speaker.load(trained, prompt=prompt).caption(exact_pictures, max_tokens=20)
        assert len(set(expected)) > 1
        for batch in (1, 3, 16):
            assert captioner.caption(exact_pictures, batch, prompt, max_tokens=20) == expected


def test_a_caption_ends_where_the_models_end_token_comes(trained, spoken, exact_pictures):
    """The end is made to come: its token is the one that the caption says third."""
    captioner, speaker = OnnxCaptioner(spoken), Speaker.load(trained)
    pixels = np.stack([np.asarray(exact_pictures[0])]).transpose(0, 3, 1, 2) / np.float32(127.5) - 1
    (tokens,) = captioner.caption_pixels(pixels, captioner.captions.prompt_ids, max_tokens=12)
    for one in (captioner.captions, speaker.captions):
        one.end_ids = [tokens[3]]
    expected = speaker.caption(exact_pictures[:1], max_tokens=12)
    assert captioner.caption(exact_pictures[:1], max_tokens=12) == expected
    assert expected == [captioner.captions.decode(tokens[: tokens.index(tokens[3])])]


def test_a_stream_joins_to_the_caption(spoken, exact_pictures):
    """Without `repetition_stop`, which removes repeats from a caption that a stream has already yielded."""
    captioner = OnnxCaptioner(spoken)
    pieces = list(captioner.stream(exact_pictures[1], max_tokens=15, repetition_stop=0))
    assert len(pieces) > 1
    assert ["".join(pieces).strip()] == captioner.caption(exact_pictures[1:2], max_tokens=15, repetition_stop=0)


def test_sampling_is_repeatable_and_differs_between_seeds(spoken, exact_pictures):
    captioner = OnnxCaptioner(spoken)
    said = [captioner.caption(exact_pictures, max_tokens=8, temperature=2.0, seed=seed) for seed in (0, 0, 1)]
    assert said[0] == said[1] != said[2]


def test_threads_reach_the_runtime_and_change_no_caption(spoken, exact_pictures):
    runner = OnnxCaptioner(spoken, threads=1)
    for session in (OnnxEncoder(spoken, threads=1)._session, runner._prefill, runner._step):
        assert session.get_session_options().intra_op_num_threads == 1
    assert OnnxEncoder(spoken)._session.get_session_options().intra_op_num_threads == 0  # ONNX Runtime's choice
    assert runner.caption(exact_pictures, max_tokens=5) == OnnxCaptioner(spoken).caption(exact_pictures, max_tokens=5)
    for kind in (OnnxEncoder, OnnxCaptioner):
        with pytest.raises(ValueError, match="threads is 0: it must be at least 1, or None"):
            kind(spoken, threads=0)


def test_image_settings_can_be_replaced(spoken, exact_pictures):
    for runner in (OnnxEncoder(spoken, resize="fixed", size=16), OnnxCaptioner(spoken, resize="fixed", size=16)):
        assert runner.images.size == 16
    assert OnnxEncoder(spoken, resize="fixed", size=16).encode(exact_pictures[:1])[0].grid == (4, 4)


# What the runner does where `import torch` fails; the answers are printed.
WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None  # importing it now raises ImportError
import json
from genlip.export.onnx import OnnxCaptioner, OnnxEncoder
folder, *images = sys.argv[1:]
features = [image.patches.tolist() for image in OnnxEncoder(folder).encode(images)]
captioner = OnnxCaptioner(folder)
print(json.dumps([features, captioner.caption(images, max_tokens=9), list(captioner.stream(images[0], max_tokens=9))]))
"""


def test_the_runner_works_where_torch_cannot_be_imported(spoken, tmp_path):
    files = [tmp_path / f"{number}.png" for number in range(4)]
    for picture, file in zip(pictures(), files, strict=True):
        picture.save(file)
    command = [sys.executable, "-c", WITHOUT_TORCH, spoken, *files]
    features, captions, pieces = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    for one, other in zip(features, OnnxEncoder(spoken).encode(files), strict=True):
        np.testing.assert_allclose(one, other.patches, rtol=1e-4, atol=1e-4)
    captioner = OnnxCaptioner(spoken)
    assert captions == captioner.caption(files, max_tokens=9)
    assert pieces == list(captioner.stream(files[0], max_tokens=9))


def test_importing_the_package_imports_no_heavy_library():
    script = "import sys, genlip.export.onnx; print({'torch', 'onnx', 'onnxruntime', 'onnxscript'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout == "set()\n"


def test_every_export_is_there_and_nothing_else_is_promised():
    import genlip.export.onnx as package

    for name in package.__all__:
        assert getattr(package, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        package.nonsense  # noqa: B018


@pytest.mark.parametrize("library", ["onnx", "onnxscript"])
def test_a_missing_library_is_named_before_anything_is_written(library, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtra, match=rf'^{library} is not installed: pip install "genlip\[onnx\]"$'):
        export_onnx(small_model(), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_missing_runtime_is_named(spoken, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtra, match=r'^onnxruntime is not installed: pip install "genlip\[onnx\]"$'):
        OnnxEncoder(spoken)


@pytest.mark.parametrize("library", ["onnx", "onnxruntime"])
def test_8_bits_name_the_library_that_they_miss(library, trained, spoken, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtra, match=rf'^{library} is not installed: pip install "genlip\[onnx\]"$'):
        quantize_folder(spoken, tmp_path / "new")
    with pytest.raises(MissingExtra, match=rf"^{library} is not installed"):
        export_onnx_folder(trained, tmp_path / "new", int8=True)
    assert not (tmp_path / "new").exists()


def test_a_folder_that_is_no_export_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no config.json; need a folder that `genlip export … --to onnx` wrote"):
        OnnxEncoder(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ValueError, match=r"config.json: "):
        OnnxEncoder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(small_config().to_dict()))
    with pytest.raises(ValueError, match=r"no encoder.onnx; export the model again"):
        OnnxEncoder(tmp_path)


def test_a_captioner_without_a_tokenizer_says_so(exported):
    pixels, _ = random_images(exported[0], (1, 2), 1)
    captioner = OnnxCaptioner(exported[1])
    assert len(captioner.caption_pixels(pixels, max_tokens=2)[0]) == 2
    with pytest.raises(ValueError, match=r"no tokenizer.json: export the model with one"):
        captioner.caption(pictures())


def test_captions_need_a_tokenizer_that_fits_before_anything_is_exported(trained, tmp_path):
    bare, out = tmp_path / "bare", tmp_path / "out"
    shutil.copytree(trained, bare, ignore=shutil.ignore_patterns("tokenizer.json"))
    with pytest.raises(ValueError, match=r"no tokenizer.json, which captions need: name one.*\(captions=False\)"):
        export_onnx_folder(bare, out)
    large = train_tokenizer(CORPUS, 300)
    large.add_tokens([f"word{number}" for number in range(100)])
    large.save(str(tmp_path / "large.json"))
    with pytest.raises(ValueError, match="the model's vocabulary ends at 319"):
        export_onnx_folder(bare, out, tokenizer=tmp_path / "large.json")
    with pytest.raises(ValueError, match="is the model's own folder; name another one"):
        export_onnx_folder(trained, trained / ".")
    assert not out.exists()


@pytest.fixture
def no_tracing(spoken, monkeypatch):
    """`export_onnx` copies the graphs of `spoken`: what these tests look at lies around them."""

    def copy_graphs(model: GenLIP, folder: str | Path, captions: bool) -> Path:
        Path(folder).mkdir(parents=True, exist_ok=True)
        for name in ["encoder.onnx", "weights.bin", "config.json", *(["prefill.onnx", "step.onnx"] if captions else [])]:
            shutil.copy(spoken / name, folder)
        return Path(folder)

    monkeypatch.setattr("genlip.export.onnx.convert.export_onnx", copy_graphs)


@pytest.mark.usefixtures("no_tracing")
def test_a_folder_can_go_to_8_bits_at_once_with_a_tokenizer_of_ones_choice(trained, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(trained, source)
    shutil.move(source / "tokenizer.json", tmp_path / "mine.json")
    out = export_onnx_folder(source, tmp_path / "out", int8=True, tokenizer=tmp_path / "mine.json")
    names = [
        "config.json",
        "encoder.onnx",
        "prefill.onnx",
        "preprocessing.json",
        "step.onnx",
        "tokenizer.json",
        "weights.bin",
    ]
    assert sorted(file.name for file in out.iterdir()) == names
    assert "int8" in tensor_types(out / "step.onnx")
    assert json.loads((out / "preprocessing.json").read_text()) == json.loads((source / "preprocessing.json").read_text())
    assert OnnxCaptioner(out).captions.ids(CORPUS[0]) == Captions(train_tokenizer(CORPUS, 300)).ids(CORPUS[0])


@pytest.mark.usefixtures("no_tracing")
def test_an_encoder_alone_needs_no_tokenizer_and_keeps_its_settings(trained, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(trained, source, ignore=shutil.ignore_patterns("tokenizer.json"))
    out = export_onnx_folder(source, tmp_path / "out", captions=False)
    names = ["config.json", "encoder.onnx", "preprocessing.json", "weights.bin"]
    assert sorted(file.name for file in out.iterdir()) == names
    assert OnnxEncoder(out).images == Speaker.load(source).images


def tensor_types(file: Path) -> set[str]:
    stored = onnx.load(file, load_external_data=False).graph.initializer
    return {onnx.TensorProto.DataType.Name(tensor.data_type).lower() for tensor in stored}


def test_8_bit_weights_stay_close_and_take_less_room(trained, spoken, eight_bits, exact_pictures):
    """Rounding to 255 levels leaves about 1 in 250 of each product."""
    expected = Speaker.load(trained).encode(exact_pictures)
    for one, other in zip(OnnxEncoder(eight_bits).encode(exact_pictures), expected, strict=True):
        found = torch.from_numpy(one.patches)
        assert TOLERANCE < stray(found, other.patches) < 0.1
        assert torch.cosine_similarity(found, other.patches, dim=-1).min() > 0.99
    assert (eight_bits / "weights.bin").stat().st_size < 0.4 * (spoken / "weights.bin").stat().st_size


def test_8_bit_captions_mostly_begin_as_those_of_the_model(spoken, eight_bits):
    pixels = np.random.default_rng(0).uniform(-1, 1, (40, 1, 3, 24, 24)).astype(np.float32)
    exact, rounded = OnnxCaptioner(spoken), OnnxCaptioner(eight_bits)
    same = [exact.caption_pixels(image, max_tokens=1) == rounded.caption_pixels(image, max_tokens=1) for image in pixels]
    assert sum(same) >= 32
    assert rounded.caption(pictures(), max_tokens=5) == rounded.caption(pictures(), max_tokens=5)


def test_quantising_leaves_the_root_logger_as_it_was(spoken, tmp_path, caplog):
    encoder = tmp_path / "encoder"
    shutil.copytree(spoken, encoder, ignore=shutil.ignore_patterns("prefill.onnx", "step.onnx"))
    before = [*logging.getLogger().handlers], [*logging.getLogger().filters]
    with caplog.at_level(logging.INFO):
        quantize_folder(encoder, tmp_path / "out")
    assert ([*logging.getLogger().handlers], [*logging.getLogger().filters]) == before
    assert caplog.messages == []


def test_only_an_exported_folder_is_quantised_and_not_into_itself(spoken, tmp_path):
    with pytest.raises(ValueError, match="cannot quantise a folder into itself; name another folder"):
        quantize_folder(spoken, spoken)
    with pytest.raises(ValueError, match=r"no encoder.onnx; need a folder that `genlip export … --to onnx` wrote"):
        quantize_folder(tmp_path, tmp_path / "out")
