"""Assistants: answers are those by hand, whatever the batch, the way of asking and the library that wrote the folder."""

import io
import json
import threading

import pytest
import torch
from PIL import Image

import genlip
from genlip.data.dialogues import Dialogue, Message
from genlip.data.dialogues.opening import open_dialogues
from genlip.data.examples import Unusable
from genlip.data.images import ImageError
from genlip.mllm.assistant import Assistant
from genlip.mllm.templates import PLAIN_TEMPLATE, folder_template
from genlip.model.checkpoint import CheckpointError
from genlip.train.mllm_task import MLLMTask

from ..export.helpers import model_folder, stray
from ..train.mllm import made as mllm_data
from ..train.mllm import mllm_run
from .folders import CHATML, TinyMLLM, language_model, make_encoder, make_tokenizer, pictures

transformers = pytest.importorskip("transformers")

QUESTION = "what is shown here?"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(the model by hand, its folder) of native images."""
    tiny = TinyMLLM.of(make_encoder("genlip native"))
    return tiny, tiny.write(tmp_path_factory.mktemp("model") / "native")


@pytest.fixture(scope="module")
def assistant(made):
    return Assistant.load(made[1])


def prompt(tiny, messages, images):
    """Ids and visual tokens of messages in ChatML, each image a mark in a text."""
    visual = [tiny.visual_tokens(image) for image in images]
    text, left = "", iter(visual)
    for role, said in messages:
        pieces = said.split("<image>")
        text += f"<|im_start|>{role}\n{pieces[0]}"
        for piece in pieces[1:]:
            text += "<image>" * len(next(left)) + piece
        text += "<|im_end|>\n"
    return tiny.tokenizer(text + "<|im_start|>assistant\n").input_ids, visual


def by_hand(tiny, messages, images, most=6):
    ids = tiny.answer(*prompt(tiny, messages, images), most)
    ids = ids[:-1] if ids[-1] == tiny.tokenizer.eos_token_id else ids
    return tiny.tokenizer.decode(ids, skip_special_tokens=True).strip()


def dialogue(question, *images, key="q"):
    return Dialogue(key, images, (Message("user", "<image>\n" * len(images) + question),))


def test_answers_are_those_by_hand(made, assistant):
    tiny, _ = made
    answers = set()
    for picture in pictures():
        expected = by_hand(tiny, [("user", f"<image>\n{QUESTION}")], [picture])
        assert assistant.ask(picture, QUESTION, max_tokens=6) == expected
        answers.add(expected)
    assert len(answers) > 1
    two = pictures()[:2]
    expected = by_hand(tiny, [("system", "be brief"), ("user", f"<image>\n<image>\n{QUESTION}")], two)
    assert assistant.ask(two, QUESTION, system="be brief", max_tokens=6) == expected
    placed = "left <image> right <image>: " + QUESTION
    assert assistant.ask(two, placed, max_tokens=6) == by_hand(tiny, [("user", placed)], two)
    assert assistant.ask([], QUESTION, max_tokens=6) == by_hand(tiny, [("user", QUESTION)], [])


def test_batches_keep_order_and_change_no_answer(assistant):
    one, two, three = pictures()
    asked = [
        dialogue("what?", one), dialogue("two blue squares and a small red circle", two, three), dialogue("why?"),
        dialogue("a", three), dialogue("what is the number in the circle?", one, one), dialogue(QUESTION, two),
    ]  # fmt: skip
    single = [assistant.answer([each], max_tokens=8)[0] for each in asked]
    assert len(set(single)) > 3
    for size in (2, 3, 8):
        assert assistant.answer(asked, batch_size=size, max_tokens=8) == single
    assert assistant.answer([assistant.prepare(each) for each in asked], max_tokens=8) == single
    with pytest.raises(ValueError, match="batch_size is 0"):
        assistant.answer(asked, batch_size=0)
    assert assistant.answer([]) == []


def test_a_stream_joins_to_the_answer(assistant):
    for picture in pictures():
        pieces = list(assistant.stream(picture, QUESTION, max_tokens=12))
        assert "".join(pieces).strip() == assistant.ask(picture, QUESTION, max_tokens=12)
        assert len(pieces) > 1


def test_a_stream_that_is_left_ends_its_thread(assistant):
    before = threading.active_count()
    pieces = assistant.stream(pictures()[0], QUESTION, max_tokens=400)
    next(pieces)
    assert threading.active_count() == before + 1
    pieces.close()
    assert threading.active_count() == before


def test_errors_of_the_model_reach_the_reader_of_a_stream(assistant, monkeypatch):
    def fail(**inputs):
        raise RuntimeError("out of luck")

    monkeypatch.setattr(assistant.model, "generate", fail)
    with pytest.raises(RuntimeError, match="out of luck"):
        list(assistant.stream(pictures()[0], QUESTION))


def test_sampling_follows_the_seed_alone(assistant):
    def said(seed, **decoding):
        return assistant.ask(pictures()[0], QUESTION, max_tokens=8, temperature=3.0, seed=seed, **decoding)

    state = torch.random.get_rng_state()
    first = said(1)
    torch.rand(5)
    torch.random.set_rng_state(state)
    assert said(1) == first
    assert torch.equal(torch.random.get_rng_state(), state)
    assert len({said(seed) for seed in range(4)}) > 1
    greedy = assistant.ask(pictures()[0], QUESTION, max_tokens=8)
    assert said(3, top_k=1) == said(3, top_p=1e-6) == greedy
    pieces = assistant.stream(pictures()[0], QUESTION, max_tokens=8, temperature=3.0, seed=1)
    assert "".join(pieces).strip() == first


def test_the_folders_own_sampling_is_not_used(made, tmp_path):
    tiny, _ = made
    folder = tiny.write(tmp_path)
    stored = json.loads((folder / "generation_config.json").read_text())
    wild = stored | {"do_sample": True, "temperature": 5.0, "top_p": 0.9, "top_k": 50, "max_length": 20}
    (folder / "generation_config.json").write_text(json.dumps(wild))
    expected = by_hand(tiny, [("user", f"<image>\n{QUESTION}")], pictures()[:1])
    assert Assistant.load(folder).ask(pictures()[0], QUESTION, max_tokens=6) == expected


def test_a_conversation_remembers(made, assistant):
    tiny, _ = made
    one, two, _ = pictures()
    talk = assistant.conversation(one, system="be brief")
    first = talk.ask("what?", max_tokens=6)
    history = [("system", "be brief"), ("user", "<image>\nwhat?")]
    assert first == by_hand(tiny, history, [one])
    history += [("assistant", first), ("user", "<image>\nand here?")]
    second = "".join(talk.stream("and here?", two, max_tokens=6)).strip()
    assert second == by_hand(tiny, history, [one, two])
    history += [("assistant", second), ("user", "why?")]
    assert talk.ask("why?", max_tokens=6) == by_hand(tiny, history, [one, two])
    assert [message.role for message in talk.messages] == ["system", *["user", "assistant"] * 3]
    pieces = talk.stream("never mind", max_tokens=30)
    next(pieces)
    pieces.close()  # a question whose answer did not end is not remembered
    assert talk.messages[-2].text == "why?"


def test_images_are_decoded_as_everywhere_in_genlip(assistant, tmp_path):
    picture = pictures()[1]
    expected = assistant.ask(picture, QUESTION, max_tokens=6)
    turned = picture.transpose(Image.Transpose.ROTATE_90)
    turned.getexif()[0x0112] = 6  # turn it by a quarter to the right
    data = io.BytesIO()
    turned.save(data, "PNG", exif=turned.getexif())
    (tmp_path / "turned.png").write_bytes(data.getvalue())
    for same in (data.getvalue(), tmp_path / "turned.png", str(tmp_path / "turned.png")):
        assert assistant.ask(same, QUESTION, max_tokens=6) == expected
    with pytest.raises(ImageError, match=r"gone\.png: no such file"):
        assistant.ask(tmp_path / "gone.png", QUESTION)
    with pytest.raises(ImageError, match=r"^q: "):
        assistant.answer([dialogue("what?", b"no image", key="q")])


@pytest.mark.parametrize(
    ("question", "images", "message"),
    [
        ("what<|im_end|>", 1, r"the user's text holds '<\|im_end\|>', a control token of this model: remove it"),
        ("<|im_start|>system", 0, r"holds '<\|im_start\|>', a control token"),
        ("<image> and <image>", 1, "2 of <image> in the texts for 1 images"),
    ],
)
def test_questions_that_would_be_read_otherwise_are_refused(question, images, message, assistant):
    with pytest.raises(Unusable, match=message):
        assistant.ask(pictures()[:images], question)


def test_a_plain_model_reads_no_question_alone(made, tmp_path):
    tiny, _ = made
    folder = tiny.write(tmp_path / "plain", chat_template=folder_template(PLAIN_TEMPLATE, "<image>", ""))
    assistant = Assistant.load(folder)
    assert isinstance(assistant.ask(pictures()[0], "what?", max_tokens=2), str)
    with pytest.raises(Unusable, match=r"writes nothing: after training with chat\.template plain a model reads images"):
        assistant.ask([], "what?", max_tokens=2)


def test_the_last_word_is_the_users(assistant):
    said = Dialogue("d", (), (Message("user", "what?"), Message("assistant", "that")))
    with pytest.raises(ValueError, match="d: the last message must be of the user"):
        assistant.answer([said])


def test_unknown_decoding_is_refused(assistant):
    with pytest.raises(TypeError, match=r"Assistant has no keyword 'max_new_tokens'; did you mean max_tokens\?"):
        assistant.ask(pictures()[0], QUESTION, max_new_tokens=3)
    with pytest.raises(ValueError, match="temperature -1"):
        assistant.stream(pictures()[0], QUESTION, temperature=-1)


def test_an_assistant_says_what_it_is(made, assistant):
    folder = made[1]
    assert assistant.name == str(folder)
    assert assistant.device.type == "cpu"
    assert repr(assistant).startswith(f"Assistant({folder}, GenLIPLlavaForConditionalGeneration of 2.")
    assert repr(assistant).endswith("M, float32 on cpu)")
    half = Assistant.load(folder, dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16
    assert isinstance(half.ask(pictures()[0], QUESTION, max_tokens=3), str)
    assert genlip.Assistant is Assistant


@pytest.mark.parametrize(
    ("name", "model", "settings"),
    [
        ("genlip", {}, {"resize": "fixed", "size": 64}),
        ("genlip", {"tiles": ((1, 2),)}, {"resize": "fixed", "size": 64, "tiles": [[64, 128]]}),
        ("genlip native", {}, {"resize": "native", "patches": [4, 20]}),
        ("siglip", {}, {"resize": "fixed", "size": 64}),
        ("siglip2", {}, {"resize": "native", "patches": [1, 20]}),
        ("dinov2", {}, {"resize": "fixed", "size": 56}),
        ("timm:vit_base_patch16_siglip_224", {}, {"resize": "fixed", "size": 64}),
        ("timm:naflexvit_base_patch16_siglip", {}, {"resize": "native", "patches": [1, 20]}),
    ],
)
def test_results_record_how_images_are_prepared(name, model, settings, tmp_path):
    assert Assistant.load(TinyMLLM.of(make_encoder(name), **model).write(tmp_path)).image_settings() == settings


def test_the_fingerprint_follows_every_weight(made, assistant):
    other = Assistant.load(made[1])
    assert other.fingerprint() == assistant.fingerprint()
    other.model.lm_head.weight.data[3, 3] += 1
    assert other.fingerprint() != assistant.fingerprint()


# -- folders of others


def llava_folder(folder):
    """A LLaVA of CLIP and LLaMA as Transformers itself saves it."""
    made = TinyMLLM.of(make_encoder("clip"))
    (made.write(folder) / "genlip.json").unlink()
    return folder


def qwen_folder(folder):
    """A tiny Qwen2-VL with its own processor and images of variable size."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens(
        {"extra_special_tokens": ["<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<|video_pad|>"]}
    )
    ids = {name: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in ("vision_start", "image_pad", "video_pad")}
    config = transformers.Qwen2VLConfig(
        text_config=language_model("qwen2").config.to_dict() | {
            "vocab_size": 320, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]},
        },
        vision_config={"depth": 1, "embed_dim": 32, "num_heads": 4, "hidden_size": 32, "patch_size": 8},
        vision_start_token_id=ids["vision_start"], image_token_id=ids["image_pad"], video_token_id=ids["video_pad"],
    )  # fmt: skip
    template = CHATML.replace("'<image>\n'", "'<|vision_start|><|image_pad|><|vision_end|>'")
    processor = transformers.Qwen2VLProcessor(
        transformers.Qwen2VLImageProcessor(patch_size=8, min_pixels=16 * 16, max_pixels=64 * 64), tokenizer,
        transformers.Qwen2VLVideoProcessor(patch_size=8), chat_template=template,
    )  # fmt: skip
    transformers.Qwen2VLForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("make", [llava_folder, qwen_folder])
def test_folders_of_others_answer_as_transformers_does(make, tmp_path):
    folder = make(tmp_path)
    model = transformers.AutoModelForImageTextToText.from_pretrained(folder).eval()
    processor = transformers.AutoProcessor.from_pretrained(folder)
    assistant = Assistant.load(folder)
    for picture in pictures():
        content = [{"type": "image", "image": picture}, {"type": "text", "text": QUESTION}]
        inputs = processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=True, return_dict=True,
            return_tensors="pt",
        )  # fmt: skip
        rows = model.generate(**inputs, max_new_tokens=6, do_sample=False)
        expected = processor.decode(rows[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()
        assert assistant.ask(picture, QUESTION, max_tokens=6) == expected
        assert "".join(assistant.stream(picture, QUESTION, max_tokens=6)).strip() == expected
    assert (
        assistant.image_settings()
        == {llava_folder: {"resize": "fixed", "size": 64}, qwen_folder: {"resize": "native"}}[make]
    )
    several = [dialogue(QUESTION, *pictures()), dialogue("what?", pictures()[0]), dialogue("why?")]
    assert assistant.answer(several, max_tokens=6) == [assistant.answer([one], max_tokens=6)[0] for one in several]


# -- what is refused


def refusal(folder):
    with pytest.raises(CheckpointError) as error:
        Assistant.load(folder)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(str(folder))
    return message


def test_models_that_answer_nothing_are_refused(made, tmp_path):
    assert "no such folder; need a folder, or a Hub id owner/name" in refusal(tmp_path / "gone")
    assert "it has no config.json" in refusal(tmp_path)
    assert "a GenLIP, which captions images" in refusal(hub_of_genlip(tmp_path / "caption"))
    language_model("llama").save_pretrained(tmp_path / "language")
    assert "holds a llama: need a model that reads images and texts" in refusal(tmp_path / "language")
    tiny, _ = made
    (tiny.write(tmp_path / "near") / "config.json").rename(tmp_path / "near/other.json")
    assert "it has no config.json" in refusal(tmp_path / "near")


def hub_of_genlip(folder):
    from genlip.export.transformers import export_transformers

    return export_transformers(model_folder(folder / "model"), folder / "hf")


def test_pickles_and_missing_weights_are_refused(made, tmp_path):
    tiny, _ = made
    folder = tiny.write(tmp_path)
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights.pop("model.multi_modal_projector.linear_2.bias")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert "1 weights are missing, such as model.multi_modal_projector.linear_2.bias" in refusal(folder)
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert "no .safetensors file; other formats are not read" in refusal(folder)


def test_code_of_a_folder_is_never_run(made, tmp_path):
    tiny, _ = made
    folder = tiny.write(tmp_path / "model")
    for file in folder.glob("*.py"):
        file.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    Assistant.load(folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "unheard", "auto_map": {"AutoConfig": "configuration_genlip_llava.GenLIPLlavaConfig"}}
    (folder / "config.json").write_text(json.dumps(config))
    assert "neither Transformers nor genlip has its classes, and its own code is not run" in refusal(folder)
    assert not (tmp_path / "ran").exists()


# -- the model of a run


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return mllm_data(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model__pixel_shuffle": 3},
        {"images__resize": "native", "images__min_patches": 4, "images__max_patches": 16},
        {"model__tiles": "[[1,2],[2,1],[2,2]]"},
    ],
)
def test_a_run_and_its_folder_say_the_same_token_for_token(changes, data, tmp_path):
    run = mllm_run(data, tmp_path / "run", **changes)
    task = MLLMTask(run, MLLMTask.find_processor(run, open_dialogues(str(data / "data.json")), None))
    model = task.build("sdpa").eval()
    task.load_initial(model)
    torch.manual_seed(0)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    (tmp_path / "model").mkdir()
    task.export(tmp_path / "model", {name: value.detach() for name, value in model.named_parameters()})
    assistant, reader, seen = Assistant.load(tmp_path / "model", dtype=torch.float32), task.reader(None), set()
    for picture in (*pictures(), pictures()[2].resize((30, 9))):
        asked = dialogue("what is it", picture)
        pack = reader.pack([reader.prompt(asked)])
        inputs = assistant._inputs([assistant.prepare(asked)])
        assert inputs["input_ids"][0].tolist() == pack.token_ids.tolist()
        visual = model.embed(pack)[pack.visual_rows]
        pixels = {name: value for name, value in inputs.items() if name not in ("input_ids", "attention_mask")}
        assert stray(torch.cat(list(assistant.model.get_image_features(**pixels).pooler_output)), visual) < 1e-5
        seen.add(round(visual.sum().item(), 3))
        (expected,) = model.answers([pack], 8, task.chat.end_ids)
        said = assistant.model.generate(**inputs, max_new_tokens=8)[0, len(pack.token_ids) :].tolist()
        assert [token for token in said if token not in task.chat.end_ids] == expected
    assert len(seen) == 4
