"""Folders: Transformers computes what encoder, projector and language model compute by hand, and a next run reads it all."""

import json
import os
import subprocess
import sys

import pytest
import torch
from PIL import Image
from safetensors import safe_open

from genlip.data.images import ImageConfig
from genlip.encoders import TimmEncoder, TransformersEncoder
from genlip.encoders import timm as timm_encoder_of
from genlip.mllm import folder as folder_module
from genlip.mllm.folder import read_folder
from genlip.mllm.hub_tower import hub_tower
from genlip.mllm.run import ChatConfig, MLLMConfig
from genlip.model.checkpoint import CheckpointError
from genlip.remote_code import register

from ..encoders.towers import random_timm, random_tower
from ..export.helpers import stray
from .folders import CHATML, OWN_TEMPLATE, TinyMLLM, genlip_encoder, language_model, make_encoder, pictures

transformers = pytest.importorskip("transformers")

TOLERANCE = 1e-5
TILES = ((1, 2), (2, 1), (2, 2), (1, 3), (3, 1))
OWN, PLAIN, NEXT = "GenLIPLlava", "Llava", "LlavaNext"
ENCODERS = {
    "genlip": PLAIN, "genlip native": OWN, "clip": PLAIN, "siglip": OWN, "siglip2": OWN, "dinov2": OWN,
    "dinov2_with_registers": OWN, "dinov3_vit": OWN, "timm:vit_base_patch16_siglip_224": OWN,
    "timm:vit_small_patch16_dinov3": OWN, "timm:naflexvit_base_patch16_siglip": OWN,
}  # fmt: skip


def opened(folder, **options):
    """The model and the processor that Transformers loads."""
    register()
    model = transformers.AutoModelForImageTextToText.from_pretrained(folder, **options).eval()
    return model, transformers.AutoProcessor.from_pretrained(folder)


def asked(processor, question="what is shown here?", images=1):
    """The text of a question about images."""
    content = [*[{"type": "image"}] * images, {"type": "text", "text": question}]
    return processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)


def check_answers(tiny, folder, visual_tokens=None):
    """Logits and answers about each picture are those by hand; returns the class of the model."""
    model, processor = opened(folder)
    answers = set()
    for picture in pictures():
        inputs = processor(images=[picture], text=[asked(processor)], return_tensors="pt")
        ids = inputs["input_ids"][0].tolist()
        visual = [tiny.visual_tokens(picture) if visual_tokens is None else visual_tokens(picture, processor, inputs)]
        expected = tiny.logits(ids, visual)
        assert stray(model(**inputs).logits[0], expected) < TOLERANCE
        said = model.generate(**inputs, max_new_tokens=6)[0, len(ids) :].tolist()
        assert said == tiny.answer(ids, visual, 6)
        answers.add(tuple(expected[-1].tolist()))
    assert len(answers) == 3  # else no test could see a wrong image
    return type(model).__name__.removesuffix("ForConditionalGeneration")


@pytest.mark.parametrize("name", ENCODERS)
def test_transformers_computes_what_the_encoder_and_the_language_model_do(name, tmp_path):
    tiny = TinyMLLM.of(make_encoder(name))
    assert check_answers(tiny, tiny.write(tmp_path)) == ENCODERS[name]


@pytest.mark.parametrize("side", [2, 3])
@pytest.mark.parametrize("name", ["genlip", "genlip native", "dinov3_vit"])
def test_squares_of_patches_are_one_token_also_where_they_do_not_fit(name, side, tmp_path):
    tiny = TinyMLLM.of(make_encoder(name), pixel_shuffle=side)
    assert check_answers(tiny, tiny.write(tmp_path)) == OWN


@pytest.mark.parametrize(("language", "tied"), [("llama", True), ("qwen2", False), ("qwen2", True)])
def test_any_causal_language_model_reads_the_image(language, tied, tmp_path):
    tiny = TinyMLLM.of(make_encoder("genlip"), language_model(language, tied))
    assert check_answers(tiny, tiny.write(tmp_path)) == PLAIN


@pytest.mark.parametrize(("name", "kind"), [("siglip", OWN), ("clip", OWN), ("timm:vit_base_patch16_siglip_224", OWN)])
def test_learned_positions_are_resampled_as_the_encoder_does_it(name, kind, tmp_path):
    encoder = make_encoder(name)
    encoder.interpolate_positions = True
    tiny = TinyMLLM.of(encoder.resized(size=96))
    assert check_answers(tiny, tiny.write(tmp_path)) == kind


def test_a_squashed_image_keeps_its_edges(tmp_path):
    tiny = TinyMLLM.of(TransformersEncoder(*random_tower("clip"), "clip", squash=True))
    assert check_answers(tiny, tiny.write(tmp_path)) == OWN


def tokens_of_tiles(tiny):
    """For `check_answers`: the visual tokens of the tiles that the processor made, which are read back as images."""

    def tokens(picture, processor, inputs):
        settings = processor.image_processor
        mean, std = (torch.tensor(x)[:, None, None] for x in (settings.image_mean, settings.image_std))
        pixels = [((x * std + mean) * 255).round().byte() for x in inputs["pixel_values"][0]]
        tiles = [Image.fromarray(x.permute(1, 2, 0).numpy()) for x in pixels]
        grid = {(64, 64): (1, 2), (90, 40): (1, 2), (50, 130): (3, 1)}[picture.size]
        assert len(tiles) == 1 + grid[0] * grid[1]
        return tiny.tile_tokens(tiles, grid, (picture.height, picture.width))

    return tokens


@pytest.mark.parametrize(
    ("name", "kind"), [("genlip", NEXT), ("clip", NEXT), ("siglip", OWN), ("timm:vit_small_patch16_dinov3", OWN)]
)
def test_tiles_are_those_of_llava_next(name, kind, tmp_path):
    tiny = TinyMLLM.of(make_encoder(name), tiles=TILES)
    folder = tiny.write(tmp_path)
    assert check_answers(tiny, folder, tokens_of_tiles(tiny)) == kind
    _, processor = opened(folder)
    assert type(processor).__name__ == "LlavaNextProcessor"
    assert processor.image_processor.image_grid_pinpoints == [[64 * rows, 64 * columns] for rows, columns in TILES]


@pytest.mark.parametrize(
    ("name", "model"),
    [("genlip", {}), ("genlip native", {"pixel_shuffle": 2}), ("siglip2", {}), ("timm:naflexvit_base_patch16_siglip", {}),
     ("siglip", {"tiles": TILES})],
)  # fmt: skip
def test_samples_of_a_batch_do_not_see_each_other(name, model, tmp_path):
    model, processor = opened(TinyMLLM.of(make_encoder(name), **model).write(tmp_path))
    texts = [asked(processor, "what?"), asked(processor, "two blue squares and a circle", 2), asked(processor, "why?", 0)]
    one, two, three = pictures()
    batch = processor(images=[[one], [two, three], []], text=texts, return_tensors="pt", padding=True)
    assert batch["attention_mask"][:, -1].all()
    assert not batch["attention_mask"][0, 0]  # padded on the left
    whole = model(**batch).logits
    for row, (text, images) in enumerate(zip(texts, ([one], [two, three], None), strict=True)):
        single = processor(images=images, text=[text], return_tensors="pt")
        logits = model(**single).logits[0]
        assert stray(whole[row, -len(logits) :], logits) < TOLERANCE


@pytest.mark.parametrize("name", ["genlip", "genlip native", "siglip", "siglip2", "timm:naflexvit_base_patch16_siglip"])
@pytest.mark.parametrize("side", [1, 2])
def test_visual_tokens_are_counted_from_sizes_alone_as_vllm_asks_for_them(name, side, tmp_path):
    _, processor = opened(TinyMLLM.of(make_encoder(name), pixel_shuffle=side).write(tmp_path))
    found = processor._get_num_multimodal_tokens(image_sizes=[(x.height, x.width) for x in pictures()])
    inputs = processor(images=pictures(), text=["<image>"] * 3, return_mm_token_type_ids=True)
    assert found["num_image_tokens"] == [len(ids) for ids in inputs["input_ids"]]
    assert found["num_image_tokens"] == [sum(types) for types in inputs["mm_token_type_ids"]]
    assert found["num_image_patches"] == [1, 1, 1]


REMOTE = {
    "fixed": ("genlip", {}, "LlavaWithGenLIP"),
    "tiles": ("genlip", {"tiles": TILES}, "LlavaNextWithGenLIP"),
    "native": ("genlip native", {"pixel_shuffle": 2}, "GenLIPLlavaForConditionalGeneration"),
    "timm": ("timm:naflexvit_base_patch16_siglip", {}, "GenLIPLlavaForConditionalGeneration"),
}


def test_folders_with_their_code_need_no_genlip(tmp_path):
    for name, (encoder, model, _) in REMOTE.items():
        TinyMLLM.of(make_encoder(encoder), **model).write(tmp_path / name)
    pictures()[1].save(tmp_path / "picture.png")
    script = f"""
import json, sys
sys.modules["genlip"] = None
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor
image = Image.open({str(tmp_path / "picture.png")!r})
for name in {list(REMOTE)!r}:
    folder = {str(tmp_path)!r} + "/" + name
    model = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True).eval()
    processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
    inputs = processor(images=[image], text=["<image>what is shown here?"], return_tensors="pt")
    logits = model(**inputs).logits[0, -1].tolist()
    said = model.generate(**inputs, max_new_tokens=5)[0, inputs["input_ids"].shape[1]:].tolist()
    print(json.dumps([type(model).__name__, logits, said]))
assert not any(name.startswith("genlip.") for name in sys.modules)
"""
    modules = {"HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=os.environ | modules)
    assert done.returncode == 0, done.stderr
    assert "newly initialized" not in done.stderr
    for name, line in zip(REMOTE, done.stdout.splitlines(), strict=True):
        kind, logits, said = json.loads(line)
        model, processor = opened(tmp_path / name)
        inputs = processor(images=pictures()[1:2], text=["<image>what is shown here?"], return_tensors="pt")
        assert kind == REMOTE[name][2]
        assert stray(torch.tensor(logits), model(**inputs).logits[0, -1]) < TOLERANCE
        assert said == model.generate(**inputs, max_new_tokens=5)[0, inputs["input_ids"].shape[1] :].tolist()


def test_code_is_left_out_on_request_and_where_transformers_has_all_classes(tmp_path):
    without = TinyMLLM.of(make_encoder("siglip")).write(tmp_path / "without", remote_code=False)
    clip = TinyMLLM.of(make_encoder("clip")).write(tmp_path / "clip")
    tiles = TinyMLLM.of(make_encoder("genlip"), tiles=TILES).write(tmp_path / "tiles")
    for folder in (without, clip):
        assert not list(folder.glob("*.py"))
        assert "auto_map" not in json.loads((folder / "config.json").read_text())
    assert not list(tiles.glob("*processing*.py"))
    assert opened(without)


# -- a next run


SAME = [("genlip", {}), ("genlip native", {"pixel_shuffle": 2}), ("clip", {"tiles": TILES}), ("siglip2", {}),
        ("timm:vit_small_patch16_dinov3", {})]  # fmt: skip
NOT_READ = ("vision.embeddings.", "vision.in_proj.", "vision.proj.", "vision.lm_head.", "vision.head.")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("name", "model"), SAME)
def test_what_is_written_is_read_bit_by_bit(name, model, dtype, tmp_path):
    tiny = TinyMLLM.of(make_encoder(name), language_model("qwen2", tied=name == "clip"), **model)
    read = read_folder(tiny.write(tmp_path, dtype=dtype))
    unread = NOT_READ if name.startswith("genlip") else ("vision.head.",) if name == "siglip2" else ()
    expected = {name: value for name, value in tiny.weights().items() if not name.startswith(unread)}
    assert read.weights.keys() == expected.keys()
    for key, value in expected.items():
        assert read.weights[key].dtype == dtype
        assert torch.equal(read.weights[key], value.to(dtype)), key
    assert read.model == tiny.model
    assert read.images == getattr(tiny.encoder, "images", ImageConfig(size=64))
    assert read.chat == ChatConfig(system="be brief")
    assert read.image_token == "<image>"
    assert read.tokenizer.chat_template == OWN_TEMPLATE
    assert read.tokenizer("two blue squares<image>").input_ids == tiny.tokenizer("two blue squares<image>").input_ids
    known, own = read.language_config.to_dict(), tiny.language.config.to_dict()
    other = {key for key in known.keys() | own.keys() if known.get(key) != own.get(key)}
    assert other <= {"dtype", "_name_or_path", "transformers_version", "architectures"}
    again = transformers.AutoModelForCausalLM.from_config(read.language_config)
    tied = {"lm_head.weight"} if read.language_config.tie_word_embeddings else set()
    rest = {key.removeprefix("language."): value for key, value in read.weights.items() if key.startswith("language.")}
    assert set(again.load_state_dict(rest, strict=False).missing_keys) <= tied


def test_settings_of_training_do_not_stay_in_the_folder(tmp_path):
    tiny = TinyMLLM.of(make_encoder("genlip"))
    transformers.modeling_utils.ALL_ATTENTION_FUNCTIONS.register("of_packs", lambda *inputs, **more: None)
    tiny.language.config._attn_implementation = "of_packs"
    tiny.language.config.use_cache = False
    folder = tiny.write(tmp_path)
    tiny.language.config._attn_implementation = "sdpa"
    model, _ = opened(folder)
    assert model.config.text_config.use_cache
    assert model.model.language_model.config._attn_implementation == "sdpa"
    assert check_answers(tiny, folder) == PLAIN
    assert read_folder(folder).language_config._attn_implementation in (None, "sdpa")


def test_the_weights_say_how_many_tokens_there_are(tmp_path):
    tiny = TinyMLLM.of(make_encoder("genlip"), language_model(tied=True))
    before = transformers.LlamaConfig(**tiny.language.config.to_dict() | {"vocab_size": 290})  # before a token was added
    folder = tiny.write(tmp_path, language_config=before)
    assert check_answers(tiny, folder) == PLAIN
    assert read_folder(folder).language_config.vocab_size == 304


def test_the_chat_template_is_the_processors(tmp_path):
    _, processor = opened(TinyMLLM.of(make_encoder("genlip")).write(tmp_path))
    assert processor.chat_template == CHATML
    assert asked(processor) == "<|im_start|>user\n<image>\nwhat is shown here?<|im_end|>\n<|im_start|>assistant\n"


def test_weights_in_several_files_have_an_index(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_module, "_SHARD_BYTES", 50_000)
    tiny = TinyMLLM.of(make_encoder("genlip"))
    folder = tiny.write(tmp_path, dtype=torch.bfloat16)
    files = sorted(folder.glob("*.safetensors"))
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert len(files) > 2
    assert {x.name for x in files} == set(index["weight_map"].values())
    total = 0
    for file in files:
        with safe_open(file, "pt") as stored:
            names = list(stored.keys())
            sizes = [stored.get_tensor(name).numel() * 2 for name in names]
        assert {index["weight_map"][name] for name in names} == {file.name}
        assert sum(sizes) <= 50_000 or len(sizes) == 1
        total += sum(sizes)
    assert index["metadata"]["total_size"] == total
    model, _ = opened(folder)
    assert torch.equal(model.lm_head.weight, tiny.language.lm_head.weight.bfloat16())
    assert read_folder(folder).weights["projector.linear_2.bias"].dtype == torch.bfloat16


def test_a_folder_holds_no_pickles_and_all_may_read_it(tmp_path):
    folder = TinyMLLM.of(make_encoder("genlip")).write(tmp_path / "model")
    assert {file.suffix for file in folder.iterdir()} == {".json", ".jinja", ".py", ".safetensors"}
    assert (
        len({file.stat().st_mode for file in folder.glob("*.json")} | {(folder / "model.safetensors").stat().st_mode}) == 1
    )


@pytest.mark.parametrize("name", ["genlip", "siglip", "timm:vit_small_patch16_dinov3"])
def test_of_the_encoder_only_settings_are_read(name, tmp_path):
    tiny = TinyMLLM.of(make_encoder(name))
    weights = tiny.weights()
    tiny.write(tmp_path / "real")
    tiny.encoder.model.to("meta")
    tiny.write(tmp_path / "meta", weights=weights)
    for file in (tmp_path / "real").iterdir():
        assert file.read_bytes() == (tmp_path / "meta" / file.name).read_bytes(), file.name


def test_parameters_that_features_do_not_need_may_be_missing(tmp_path):
    for name, unneeded in (
        ("genlip", NOT_READ[:4]), ("clip", ("vision.post_layernorm.",)), ("dinov3_vit", ("vision.embeddings.mask_token",)),
        ("timm:vit_base_patch16_siglip_224", ("vision.attn_pool.",)),
    ):  # fmt: skip
        tiny = TinyMLLM.of(make_encoder(name))
        weights = {key: value for key, value in tiny.weights().items() if not key.startswith(unneeded)}
        assert len(weights) < len(tiny.weights())
        folder = tiny.write(tmp_path / name.replace(":", "_"), weights=weights)
        check_answers(tiny, folder)
        assert read_folder(folder).weights.keys() == weights.keys()


# -- generation


def test_the_placeholder_is_never_generated_and_the_end_token_ends(tmp_path):
    tiny = TinyMLLM.of(make_encoder("genlip"))
    model, processor = opened(tiny.write(tmp_path))
    inputs = processor(images=pictures()[:1], text=[asked(processor)], return_tensors="pt")
    end = tiny.tokenizer.eos_token_id
    with torch.no_grad():
        state = model(**inputs, output_hidden_states=True).hidden_states[-1][0, -1]
        model.lm_head.weight.zero_()
        model.lm_head.weight[tiny.image_id], model.lm_head.weight[end] = 2 * state, state
        likeliest = model(**inputs).logits[0, -1].topk(2).indices.tolist()
    assert likeliest == [tiny.image_id, end]
    assert model.generate(**inputs, max_new_tokens=3)[0, inputs["input_ids"].shape[1] :].tolist() == [end]


def test_ends_are_those_that_are_named_else_those_of_tokenizer_and_language_model(tmp_path):
    tiny = TinyMLLM.of(make_encoder("genlip"))
    end = tiny.tokenizer.eos_token_id

    def ends(name, **changes):
        file = tiny.write(tmp_path / name, **changes) / "generation_config.json"
        return json.loads(file.read_text())["eos_token_id"]

    assert ends("own") == [end]
    assert ends("named", end_ids=[7, 9]) == [7, 9]
    tiny.language.config.eos_token_id = [5, end]
    assert ends("both") == [end, 5]


def test_losses_are_cross_entropies_and_every_part_gets_gradients(tmp_path):
    tiny = TinyMLLM.of(make_encoder("genlip native"), pixel_shuffle=2)
    model, processor = opened(tiny.write(tmp_path))
    inputs = processor(images=pictures()[1:2], text=[asked(processor)], return_tensors="pt")
    labels = inputs["input_ids"].masked_fill(inputs["input_ids"] == tiny.image_id, -100)
    loss = model(**inputs, labels=labels).loss
    logits = tiny.logits(inputs["input_ids"][0].tolist(), [tiny.visual_tokens(pictures()[1])])
    expected = torch.nn.functional.cross_entropy(logits[:-1], labels[0, 1:])
    assert stray(loss, expected) < TOLERANCE
    loss.backward()
    assert all(p.grad is not None and p.grad.any() for p in model.model.multi_modal_projector.parameters())
    assert model.model.vision_tower.ln_post.weight.grad.any()
    assert model.lm_head.weight.grad.any()


def test_a_loaded_model_can_be_saved_again(tmp_path):
    model, processor = opened(TinyMLLM.of(make_encoder("siglip"), tiles=TILES).write(tmp_path / "a"))
    inputs = processor(images=pictures()[1:2], text=[asked(processor)], return_tensors="pt")
    model.save_pretrained(tmp_path / "b")
    processor.save_pretrained(tmp_path / "b")
    again, _ = opened(tmp_path / "b")
    assert torch.equal(again(**inputs).logits, model(**inputs).logits)


# -- errors


def test_texts_and_images_that_do_not_fit_are_refused(tmp_path):
    _, processor = opened(TinyMLLM.of(make_encoder("genlip native")).write(tmp_path))
    with pytest.raises(ValueError, match=r"2 of <image> in the texts for 1 images: need one for each image"):
        processor(images=pictures()[:1], text=["<image><image>"])
    with pytest.raises(ValueError, match="needs text; for images alone"):
        processor(images=pictures()[:1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda w: w.pop("projector.linear_1.bias"),
            r"weights that are missing: model\.multi_modal_projector\.linear_1\.bias",
        ),
        (lambda w: w.pop("language.lm_head.weight"), r"weights that are missing: lm_head\.weight"),
        (lambda w: w.pop("vision.ln_post.weight"), r"weights that are missing: model\.vision_tower\.ln_post\.weight"),
        (lambda w: w.update({"projector.newline": torch.zeros(32)}), r"llava folder has no place for: projector\.newline"),
        (lambda w: w.update({"head.weight": torch.zeros(3)}), r"has no place for: head\.weight"),
        (lambda w: w.update({"projector.linear_2.bias": torch.zeros(3)}), r"linear_2\.bias is \[3\] and must be \[32\]"),
    ],
)
def test_weights_that_do_not_fit_are_named(change, message, tmp_path):
    tiny = TinyMLLM.of(make_encoder("genlip"))
    weights = tiny.weights()
    change(weights)
    with pytest.raises(ValueError, match=message):
        tiny.write(tmp_path, weights=weights)
    assert not list(tmp_path.iterdir())


def test_settings_that_cannot_be_written_are_refused(tmp_path):
    tiny = TinyMLLM.of(make_encoder("genlip"))
    with pytest.raises(ValueError, match="the tokenizer has no token '<picture>' for images"):
        tiny.write(tmp_path, image_token="<picture>")
    cut = tiny.weights() | {
        name: tiny.weights()[name][:100] for name in ("language.model.embed_tokens.weight", "language.lm_head.weight")
    }
    with pytest.raises(ValueError, match=r"image token '<image>' is number \d+, and the language model has 100 tokens"):
        tiny.write(tmp_path, weights=cut)
    with pytest.raises(ValueError, match="tiles need an encoder with images of a fixed size"):
        TinyMLLM.of(make_encoder("siglip2")).write(tmp_path, model=MLLMConfig(tiles=TILES))
    with pytest.raises(ValueError, match="GPT2LMHeadModel ties its head to an embedding that is not called embed_tokens"):
        TinyMLLM.of(make_encoder("genlip"), language_model("gpt2")).write(tmp_path)
    unknown = TimmEncoder(random_timm("vit_base_patch16_siglip_224", img_size=64), "mine", size=64)
    with pytest.raises(ValueError, match=r"mine: timm\.create_model\('vit_base_patch16_siglip_224'.* makes another model"):
        hub_tower(unknown, ImageConfig())
    grey = genlip_encoder()
    object.__setattr__(grey.model.config, "num_channels", 1)
    with pytest.raises(ValueError, match="a folder needs one that reads RGB"):
        hub_tower(grey, ImageConfig())
    with pytest.raises(ValueError, match="needs an encoder of genlip, Transformers or timm"):
        hub_tower(type("Other", (), {"name": "other"})(), ImageConfig())


def test_folders_of_others_and_damaged_ones_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"it has no genlip\.json"):
        read_folder(tmp_path)
    folder = TinyMLLM.of(make_encoder("genlip")).write(tmp_path)
    stored = json.loads((folder / "genlip.json").read_text())
    for wrong, message in (
        ({"model": {"pixel_shufle": 2}}, "unknown key 'pixel_shufle'"),
        ({"filled": "all"}, "filled is 'all': it must be a list"),
    ):
        (folder / "genlip.json").write_text(json.dumps(stored | wrong))
        with pytest.raises(CheckpointError, match=message):
            read_folder(folder)
    (folder / "genlip.json").write_text(json.dumps(stored))
    (folder / "config.json").write_text(json.dumps({"model_type": "unheard"}))
    with pytest.raises(CheckpointError, match="not a folder of a multimodal LLM"):
        read_folder(folder)


def test_models_that_timm_loaded_from_files_are_created_again(tmp_path):
    import timm
    from safetensors.torch import save_file

    made = timm.create_model("test_vit", num_classes=0, depth=2, img_size=64)
    save_file(made.state_dict(), tmp_path / "model.safetensors")
    settings = {"input_size": [3, 64, 64], "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "crop_pct": 1.0}
    config = {"architecture": "test_vit", "model_args": {"depth": 2, "img_size": 64}, "pretrained_cfg": settings}
    (tmp_path / "config.json").write_text(json.dumps(config))
    from_folder = timm_encoder_of(tmp_path)
    whole = timm.create_model("test_vit", num_classes=0)
    save_file(whole.state_dict(), tmp_path / "whole.safetensors")
    tagged = timm_encoder_of("test_vit.r160_in1k", checkpoint=tmp_path / "whole.safetensors")
    for name, encoder in (("folder", from_folder), ("tagged", tagged)):
        tiny = TinyMLLM.of(encoder)
        assert check_answers(tiny, tiny.write(tmp_path / name)) == OWN
