"""`genlip.train.precision`: which precision is chosen, and that autocast changes products alone."""

import pytest
import torch

from genlip.train import precision
from genlip.train.precision import autocast, matrix_rate, resolve_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize("wanted", ["float32", "bfloat16"])
def test_what_is_named_is_taken_on_every_device(wanted):
    assert resolve_precision(wanted, CPU) == wanted == resolve_precision(wanted, torch.device("cuda"))


@pytest.mark.parametrize(("seconds", "chosen"), [(0.79, "bfloat16"), (0.81, "float32"), (4.0, "float32")])
def test_a_processor_takes_bfloat16_where_it_is_a_fifth_faster(seconds, chosen, monkeypatch):
    monkeypatch.setattr(precision, "_product_time", {torch.bfloat16: seconds, torch.float32: 1.0}.__getitem__)
    assert resolve_precision("auto", CPU) == chosen


@pytest.mark.parametrize(("supported", "chosen"), [(True, "bfloat16"), (False, "float32")])
def test_a_gpu_takes_bfloat16_where_it_has_it(supported, chosen, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported or including_emulation)
    assert resolve_precision("auto", torch.device("cuda")) == chosen


def test_autocast_rounds_the_operands_of_products():
    x = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    with autocast("bfloat16", CPU):
        product = x @ x.T
    assert product.dtype == torch.bfloat16
    torch.testing.assert_close(product.float(), (x.bfloat16() @ x.bfloat16().T).float())
    with autocast("float32", CPU):
        assert torch.equal(x @ x.T, torch.mm(x, x.T))


def test_the_matrix_rate_is_work_by_the_fastest_time(monkeypatch):
    times = iter([0.0, 9.0, 9.0, 10.0, 10.0, 14.0, 14.0, 16.0, 16.0, 19.0, 19.0, 24.0])  # six products, the best in 1 s
    monkeypatch.setattr(precision.time, "perf_counter", lambda: next(times))
    assert matrix_rate(CPU, "float32", size=8) == 2 * 8**3
