"""The language model: packed attention, files, vocabulary, and what is refused."""

import json

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GptOssConfig,
    Lfm2Config,
    LlamaConfig,
    OPTConfig,
    T5Config,
)  # fmt: skip

from genlip.mllm.language import (
    build_language_model,
    check_head,
    check_packing,
    decoder_blocks,
    language_config,
    language_states,
    language_tokenizer,
    load_language_weights,
    recompute_blocks,
    with_image_token,
)
from genlip.mllm.tiny_language import TINY
from genlip.model.checkpoint import CheckpointError

from .helpers import SIZES, language_folder, llama, starcoder, tokenizer

LENGTHS = (5, 5, 1, 9, 2)


@pytest.fixture
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def opened(folder, vocab_size=0):
    model = build_language_model(language_config(str(folder)), vocab_size)
    load_language_weights(model, str(folder))
    return model.eval()


def rows(lengths):
    return torch.cat([torch.arange(length) for length in lengths])


def test_packed_samples_do_not_see_each_other(tmp_path, float64):
    """Losses and gradients of packed rows equal those of the same samples one by one, through Transformers' own forward."""
    folder = language_folder(tmp_path / "lm", starcoder)
    model = opened(folder)
    plain = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="sdpa", dtype=torch.float64)
    embeddings = torch.randn(sum(LENGTHS), 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
    states = language_states(model, embeddings, rows(LENGTHS), LENGTHS)
    (states**2).sum().backward()
    found = embeddings.grad.clone()
    embeddings.grad = None
    alone = [
        plain.model(inputs_embeds=part[None], use_cache=False).last_hidden_state[0] for part in embeddings.split(LENGTHS)
    ]
    (torch.cat(alone) ** 2).sum().backward()
    assert torch.allclose(states, torch.cat(alone), atol=1e-12)
    assert torch.allclose(found, embeddings.grad, atol=1e-11)
    own, other = dict(model.named_parameters()), dict(plain.named_parameters())
    for name in ("model.layers.0.self_attn.q_proj.weight", "model.layers.1.mlp.c_fc.weight"):
        assert own[name].grad.abs().sum() > 0
        assert torch.allclose(own[name].grad, other[name].grad, atol=1e-11), name


def test_a_change_in_one_sample_changes_no_other(tmp_path):
    model = opened(language_folder(tmp_path / "lm"))
    embeddings = torch.randn(sum(LENGTHS), 32)
    before = language_states(model, embeddings, rows(LENGTHS), LENGTHS)
    embeddings[7] += 1  # in the second sample
    after = language_states(model, embeddings, rows(LENGTHS), LENGTHS)
    changed = (before != after).any(dim=1).nonzero().flatten().tolist()
    assert changed == [7, 8, 9]


def test_in_training_mode_and_with_checkpointing_too(tmp_path):
    model = opened(language_folder(tmp_path / "lm")).train()
    embeddings = torch.randn(sum(LENGTHS), 32, requires_grad=True)
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            recompute_blocks(model)
        embeddings.grad = None
        (language_states(model, embeddings, rows(LENGTHS), LENGTHS) ** 2).sum().backward()
        gradients.append(embeddings.grad)
    assert torch.allclose(*gradients, atol=1e-6)


def test_generation_equals_that_of_transformers(tmp_path):
    folder = language_folder(tmp_path / "lm")
    model, plain = opened(folder), AutoModelForCausalLM.from_pretrained(folder)
    embedded = torch.randn(1, 6, 32)
    options = {"inputs_embeds": embedded, "max_new_tokens": 9, "do_sample": False, "eos_token_id": -1, "pad_token_id": 0}
    assert torch.equal(model.generate(**options, use_cache=True), plain.generate(**options))


def test_two_padded_rows_are_refused(tmp_path):
    model = opened(language_folder(tmp_path / "lm"))
    with pytest.raises(ValueError, match="one row of samples"):
        model(torch.zeros(2, 3, dtype=torch.long))


def test_a_vocabulary_grows_by_the_mean(tmp_path):
    folder = language_folder(tmp_path / "lm")
    plain = AutoModelForCausalLM.from_pretrained(folder)
    size = len(tokenizer())
    model = opened(folder, size + 3)
    for found, stored in ((model.model.embed_tokens, plain.model.embed_tokens), (model.lm_head, plain.lm_head)):
        assert torch.equal(found.weight[:size], stored.weight)
        assert torch.allclose(found.weight[size:], stored.weight.mean(dim=0).expand(3, 32))
    assert model.config.vocab_size == size + 3


def test_an_image_token_is_found_or_added():
    words = tokenizer()
    assert with_image_token(words) == "<image>"
    assert len(words) == len(tokenizer())
    bare = tokenizer(bare=True)
    size = len(bare)
    assert with_image_token(bare) == "<image>"
    assert bare.convert_tokens_to_ids("<image>") == size
    bare = tokenizer(bare=True)
    bare.add_special_tokens({"additional_special_tokens": ["<|image_pad|>"]})
    assert with_image_token(bare) == "<|image_pad|>"


def test_tied_weights_stay_one(tmp_path):
    model = opened(language_folder(tmp_path / "lm", starcoder))
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_blocks_are_the_decoder_layers(tmp_path):
    model = opened(language_folder(tmp_path / "lm"))
    assert decoder_blocks(model) == list(model.model.layers)


@pytest.mark.parametrize(
    ("name", "count"), [("Qwen/Qwen2.5-1.5B-Instruct", 1_543_714_304), ("Qwen/Qwen2.5-7B-Instruct", 7_615_616_512)]
)
def test_sizes_of_known_models_are_the_published_ones(name, count):
    with torch.device("meta"):
        model = build_language_model(language_config(name, sizes_only=True), 0)
    assert sum(p.numel() for p in model.parameters()) == count


def test_the_tiny_model_needs_no_files():
    weights = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        model = build_language_model(language_config(TINY), 300)
        load_language_weights(model, TINY)
        check_head(model)
        weights.append(model.model.embed_tokens.weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert 0.015 < weights[0].std() < 0.025


def test_a_scaled_head_is_refused(tmp_path):
    model = opened(language_folder(tmp_path / "lm"))
    check_head(model)
    model.lm_head.register_forward_hook(lambda module, arguments, found: found / 8)
    with torch.no_grad():
        model.lm_head.weight.mul_(20)
    with pytest.raises(ValueError, match="scales, shifts or caps its logits"):
        check_head(model)


def drawn(config, larger=5.0):
    """A model with random weights of any kind, in the mode of training."""
    torch.manual_seed(0)
    model = build_language_model(config, 0)
    model.init_weights()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(larger if parameter.dim() > 1 else 1)
    return model


SMALL = {name: size for name, size in SIZES.items() if name != "max_position_embeddings"} | {"vocab_size": 64}


@pytest.mark.parametrize(
    "config",
    [
        Lfm2Config(**SMALL, layer_types=["conv", "full_attention"], block_auto_adjust_ff_dim=False),
        GptOssConfig(**SMALL, head_dim=8, num_local_experts=2, num_experts_per_tok=1),
    ],
    ids=["a convolution reaches into the sample before", "attention sinks"],
)
def test_models_that_do_more_than_attend_are_refused(config):
    model = drawn(config)
    check_head(model)
    with pytest.raises(ValueError, match="computes packed samples otherwise than each by itself"):
        check_packing(model)


@pytest.mark.parametrize(
    "config",
    [
        LlamaConfig(**SMALL),
        GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0),
        OPTConfig(vocab_size=64, hidden_size=32, ffn_dim=64, num_hidden_layers=2, num_attention_heads=4),
    ],
    ids=["llama", "gpt2", "opt"],
)
def test_checks_pass_models_with_dropout_too_and_change_nothing(config):
    model = drawn(config)
    check_head(model)
    check_packing(model)
    assert model.training
    assert model.config._attn_implementation == "genlip_packed"


def test_code_of_a_folder_is_never_run_nor_asked_about(tmp_path, monkeypatch):
    folder = language_folder(tmp_path / "lm")
    (folder / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    code = {"auto_map": {"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Model"}, "model_type": "unheard"}
    stored = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(stored | code))
    stored = json.loads((folder / "tokenizer_config.json").read_text())
    own = {"auto_map": {"AutoTokenizer": [None, "mine.Words"]}, "tokenizer_class": "Words"}
    (folder / "tokenizer_config.json").write_text(json.dumps(stored | own))
    monkeypatch.setattr("builtins.input", lambda question="": pytest.fail(f"asked: {question}"))
    for read in (language_config, language_tokenizer):
        with pytest.raises(ValueError, match=str(folder)):
            read(str(folder))
    assert not (tmp_path / "ran").exists()


def test_what_is_no_language_model_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such language model; need a folder"):
        language_config(str(tmp_path / "absent"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no config\.json"):
        language_config(str(tmp_path / "empty"))
    with pytest.raises(FileNotFoundError, match="no such file"):
        language_config(str(tmp_path / "absent.gguf"))
    T5Config(d_model=16).save_pretrained(tmp_path / "t5")
    with pytest.raises(ValueError, match="holds a t5"):
        language_config(str(tmp_path / "t5"))
    folder = language_folder(tmp_path / "lm")
    stored = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(stored | {"quantization_config": {"quant_method": "gptq", "bits": 4}}))
    with pytest.raises(ValueError, match="is quantised"):
        language_config(str(folder))


def test_weights_that_are_not_safetensors_are_refused(tmp_path):
    folder = language_folder(tmp_path / "lm")
    model = build_language_model(language_config(str(folder)), 0)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="they can run code"):
        load_language_weights(model, str(folder))


def test_missing_weights_are_named(tmp_path):
    folder = language_folder(tmp_path / "lm")
    deeper = llama(len(tokenizer()), num_hidden_layers=3)
    deeper.config.save_pretrained(folder)
    with pytest.raises(CheckpointError, match=r"weights are missing, such as model\.layers\.2"):
        opened(folder)


def test_a_tokenizer_must_be_there(tmp_path):
    llama(50).save_pretrained(tmp_path / "lm")
    with pytest.raises(ValueError, match="no tokenizer"):
        language_tokenizer(str(tmp_path / "lm"))


def test_samples_beyond_a_sliding_window_are_refused(tmp_path):
    folder = language_folder(tmp_path / "lm", starcoder, sliding_window=8)
    model = opened(folder)
    short = language_states(model, torch.randn(8, 32), rows((8,)), (8,))
    assert short.shape == (8, 32)
    with pytest.raises(ValueError, match="longer than the sliding window"):
        language_states(model, torch.randn(9, 32), rows((9,)), (9,))


def test_a_model_with_an_attention_of_its_own_is_refused(monkeypatch):
    monkeypatch.setattr(GPT2LMHeadModel, "_supports_attention_backend", False)
    config = GPT2Config(vocab_size=30, n_embd=SIZES["hidden_size"], n_layer=1, n_head=2)
    with pytest.raises(ValueError, match="samples would mix"):
        build_language_model(config, 0)
