"""`genlip.model.decoder`: step after step, the rows that the whole sequence gives, for every variant of the block."""

import numpy as np
import pytest
import torch

from genlip.model.config import GenLIPConfig
from genlip.model.decoder import Decoder
from genlip.model.genlip import GenLIP
from genlip.model.pack import Pack, Sample

VARIANTS = [
    {}, {"gated_attention": False}, {"use_swiglu_ffn": False, "hidden_act": "gelu"}, {"hidden_act": "relu"},
    {"ls_init_value": 0.0}, {"text_embed_dim": 20}, {"mrope_interleaved": False, "mrope_section": (2, 1, 1)},
]  # fmt: skip
SHAPES = {"even": [((2, 3), 2)] * 3, "uneven": [((2, 3), 2), ((1, 1), 0), ((4, 2), 5)], "alone": [((3, 1), 0)]}


@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: ",".join(v) or "default")
def test_a_step_gives_the_last_row_of_the_whole_sequence(variant, shapes):
    config = GenLIPConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        vocab_size=50,
        patch_size=4,
        **variant,
    )
    torch.manual_seed(0)
    model = GenLIP(config).double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))  # no bias or scale at its beginning
    rng = np.random.default_rng(0)
    samples = [
        Sample(rng.integers(256, size=(h * w, config.patch_dim), dtype=np.uint8), (h, w)).with_text(rng.integers(50, size=n))
        for (h, w), n in shapes
    ]
    tokens = rng.integers(50, size=(4, len(samples)))

    def whole(taken):
        longer = [s.with_text([*s.token_ids, *tokens[:taken, i]]) for i, s in enumerate(samples)]
        pack = Pack.of(longer)
        return model.trunk(pack)[pack.last_rows]

    with torch.inference_mode():
        decoder = Decoder(model, Pack.of(samples), len(tokens))
        assert torch.allclose(decoder.first, whole(0), rtol=0, atol=1e-12)
        for taken, row in enumerate(tokens, start=1):
            assert torch.allclose(decoder.step(torch.from_numpy(row)), whole(taken), rtol=0, atol=1e-12)
