"""The blocks of language models: on what such a model can read, the states are those of Transformers."""

import dataclasses
from functools import partial

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from genlip.baselines.arm_task import load_encoder
from genlip.baselines.language_task import LanguageTask
from genlip.baselines.language_trunk import LanguageSizes, LanguageTrunk, trunk_config
from genlip.data.captions import train_tokenizer
from genlip.data.sources import open_source
from genlip.model.attention import prefix_mask
from genlip.train.loop import train_model

from ..model.helpers import EXACT, random_pack, small_config
from ..train.helpers import small_run
from .helpers import SHAPES, built, pack_of, task_of
from .test_flops import _prefix_row_by_row

transformers = pytest.importorskip("transformers")

SIZES = {
    "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    "vocab_size": 50, "tie_word_embeddings": True, "max_position_embeddings": 128,
}  # fmt: skip
KINDS = {
    "llama": ("LlamaConfig", {}),
    "mistral": ("MistralConfig", {"head_dim": 8, "sliding_window": None}),
    "qwen2": ("Qwen2Config", {}),
    "qwen3": ("Qwen3Config", {"head_dim": 10}),
}


class Exact(torch.nn.Module):
    """The rotation of Transformers in float64; theirs is in float32."""

    def __init__(self, config):
        super().__init__()
        self.head = LanguageSizes.read(config, False).head_dim
        self.theta = config.rope_parameters["rope_theta"]

    def forward(self, x, position_ids):
        frequency = (1 / self.theta ** (torch.arange(0, self.head, 2, dtype=torch.float32) / self.head)).double()
        angle = position_ids[..., None].double() * frequency
        return torch.cat([angle.cos()] * 2, -1), torch.cat([angle.sin()] * 2, -1)


def exact_norm(norm, x):
    return norm.weight * x * (x.square().mean(-1, keepdim=True) + norm.variance_epsilon).rsqrt()


def pair(kind, gated=False):
    """A language model with random weights, and the trunk that starts from it, in float64."""
    name, more = KINDS[kind]
    torch.manual_seed(0)
    language = transformers.AutoModelForCausalLM.from_config(getattr(transformers, name)(**SIZES, **more)).double().eval()
    with torch.no_grad():
        for parameter in language.parameters():
            parameter.normal_(std=0.3)
    language.model.rotary_emb = Exact(language.config)
    for norm in (part for part in language.modules() if type(part).__name__.endswith("RMSNorm")):  # theirs are in float32
        norm.forward = partial(exact_norm, norm)
    sizes = LanguageSizes.read(language.config, gated)
    config = trunk_config(dataclasses.replace(small_config(), vocab_size=50), language.config)
    trunk = LanguageTrunk(config, sizes).double().eval()
    trunk.start_from(language, words=True)
    return language, trunk


@pytest.mark.parametrize("kind", KINDS)
def test_after_a_single_patch_the_states_are_those_of_transformers(kind):
    language, trunk = pair(kind)
    pack = random_pack(trunk.config, [(1, 1, 7)])
    with torch.no_grad():
        own = trunk.ln_post(trunk.trunk(pack))
        places = torch.arange(8)[None]
        theirs = language.base_model(inputs_embeds=trunk.embed(pack)[None], position_ids=places).last_hidden_state[0]
        logits = language.lm_head(theirs[:-1])
    torch.testing.assert_close(own, theirs, **EXACT)
    torch.testing.assert_close(trunk.logits(pack), logits, **EXACT)


def test_patches_see_their_whole_image_as_in_genlip():
    language, trunk = pair("qwen3")
    pack = random_pack(trunk.config, [(2, 2, 3)])
    mask = prefix_mask(pack)[None, None]
    places = torch.tensor([[0, 1, 2, 3, 2, 3, 4]])  # rows and columns are left out below: all three axes are alike
    flat = dataclasses.replace(pack, positions=places.expand(3, 7))
    with torch.no_grad():
        theirs = language.base_model(inputs_embeds=trunk.embed(flat)[None], position_ids=places, attention_mask=mask)
        torch.testing.assert_close(trunk.ln_post(trunk.trunk(flat)), theirs.last_hidden_state[0], **EXACT)
        assert (trunk.trunk(pack) - trunk.trunk(flat)).abs().max() > 1e-6


def test_new_gates_are_almost_open():
    _, plain = pair("llama")
    _, gated = pair("llama", gated=True)
    pack = random_pack(plain.config, SHAPES)
    gated.load_state_dict(plain.state_dict(), strict=False)
    with torch.no_grad():
        for block in gated.blocks:
            assert (block.self_attn.gate(torch.randn(5, 24).double()).sigmoid() > 0.98).all()
            block.self_attn.gate.bias.fill_(100.0)
        torch.testing.assert_close(gated.trunk(pack), plain.trunk(pack), **EXACT)


@pytest.mark.parametrize("gated", [False, True])
def test_work_is_what_pytorch_counts(gated, tmp_path, monkeypatch):
    monkeypatch.setattr("genlip.model.genlip.PackAttention", _prefix_row_by_row)
    task = task_of(tmp_path, "genlip_from_language", language__gated=gated, language__weights=False)
    model, pack = built(task).train(), pack_of(task)
    told = {torch.ops.aten.addmm_: lambda total, a, b, **_: 2 * a[0] * a[1] * b[1]}
    with FlopCounterMode(display=False, custom_mapping=told) as counter, sdpa_kernel(SDPBackend.MATH):
        task.loss(model, pack)[0].backward()
    assert task.flops(pack) == counter.get_total_flops()


def test_a_run_starts_from_weights_resumes_and_is_read_again(tmp_path, monkeypatch):
    language, _ = pair("llama")
    language.float().save_pretrained(tmp_path / "lm")
    run = small_run(
        tmp_path / "run", task="genlip_from_language", language__model=str(tmp_path / "lm"), steps=2, save_every=1
    )
    states = []
    folder = train_model(run, on_step=states.append)
    before = (folder / "arm/model.safetensors").read_bytes()
    for file in sorted((tmp_path / "run/checkpoints/step-00000002").rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    (tmp_path / "run/checkpoints/step-00000002").rmdir()
    assert (train_model(run) / "arm/model.safetensors").read_bytes() == before
    (tmp_path / "lm").rename(tmp_path / "elsewhere")
    encoder = load_encoder(folder)
    (found,) = encoder.encode([open_source("scenes:0")[0].image])
    assert found.patches.shape[1] == 24
    model = states[1].model.eval()
    assert torch.equal(encoder.model.ln_post.weight, model.ln_post.weight)


def test_weights_are_those_of_the_language_model(tmp_path):
    language, _ = pair("qwen2")
    language.float().save_pretrained(tmp_path / "lm")
    task = task_of(tmp_path, "genlip_from_language", language__model=str(tmp_path / "lm"))
    model = task.build("sdpa")
    task.load_initial(model)
    theirs = language.state_dict()
    assert torch.equal(model.blocks[1].self_attn.k_proj.bias, theirs["model.layers.1.self_attn.k_proj.bias"])
    assert not torch.equal(model.embeddings.weight[:50], theirs["model.embed_tokens.weight"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"init_from": "x"}, "have no DropPath"), ({"model__drop_path_rate": 0.1}, "have no DropPath")],
)
def test_what_it_has_not_is_refused(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        task_of(tmp_path, "genlip_from_language", **changes)


def test_language_models_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="of LLaMA's shape"):
        LanguageSizes.read(transformers.GPT2Config(), False)
    scaled = transformers.LlamaConfig(**SIZES, rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4})
    with pytest.raises(ValueError, match="default rotation"):
        LanguageSizes.read(scaled, False)


def test_another_vocabulary_is_refused_where_words_are_taken(tmp_path):
    language, _ = pair("llama")
    language.float().save_pretrained(tmp_path / "lm")
    run = small_run(
        tmp_path, task="genlip_from_language", language__model=str(tmp_path / "lm"), tokenizer=str(tmp_path / "lm")
    )

    task = LanguageTask(run, train_tokenizer(["a b c"], 280).to_str())
    with pytest.raises(ValueError, match=r"--model\.vocab_size 50"):
        task.load_initial(task.build("sdpa"))
