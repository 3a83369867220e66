"""`genlip.train.ema`: the averaged weights against the recurrence written out."""

import pytest
import torch

from genlip.model.genlip import GenLIP
from genlip.train.ema import EMA
from genlip.train.sample_log import SampleLog
from genlip.train.validation import held_out_set, measure

from ..data.helpers import small_config
from .helpers import small_run


def test_the_average_follows_its_recurrence():
    """Decay min(d, (1 + n) / (10 + n)) after update n, from the first weights on."""
    model = GenLIP(small_config()).double()
    average, rng = EMA(model, 0.4), torch.Generator().manual_seed(0)
    slow = {name: p.detach().clone() for name, p in model.named_parameters()}
    for n in range(1, 12):
        with torch.no_grad():
            for name, p in model.named_parameters():
                p += torch.randn(p.shape, generator=rng, dtype=torch.float64)
                decay = min(0.4, (1 + n) / (10 + n))
                slow[name] = decay * slow[name] + (1 - decay) * p
        average.update(model, n)
    assert all(torch.allclose(average.weights[name], slow[name], rtol=0, atol=1e-12) for name in slow)


def test_a_run_measures_and_exports_its_average(tmp_path):
    from safetensors.torch import load_file

    from genlip.train.loop import train_model

    seen = {}

    def look(state):
        seen.update({name: value.clone() for name, value in state.average.weights.items()})
        seen["state"] = state

    model = train_model(small_run(tmp_path, ema=0.5), on_step=look)
    state = seen.pop("state")
    exported = load_file(model / "model.safetensors")
    assert exported.keys() == seen.keys()
    assert all(torch.equal(exported[name], seen[name]) for name in seen)
    assert not torch.equal(exported["lm_head.weight"], state.model.lm_head.weight)
    found = measure(state, held_out_set(state.loader.reader, state.run))
    with torch.no_grad():
        for name, p in state.model.named_parameters():
            p.copy_(seen[name])
    state.average = None
    assert measure(state, held_out_set(state.loader.reader, state.run)).figures == found.figures


def test_the_sample_log_is_silent_unless_asked(tmp_path):
    with SampleLog(tmp_path, 0, wanted=False) as log:
        log.flush()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ema", ["-0.1", "1.0"])
def test_impossible_decays_are_refused(ema):
    with pytest.raises(ValueError, match="ema"):
        small_run("unused", ema=ema)
