"""The table of accelerators: found by name, and this processor measured."""

import dataclasses

import pytest

from genlip.plan.hardware import GPUS, HARDWARE, find_hardware


def test_names_find_their_row():
    assert {name: find_hardware(name).name for name in GPUS} == {name: name for name in GPUS}
    assert HARDWARE == ("a100", "h100", "h200", "b200", "l40s", "rtx4090", "cpu")


def test_bfloat16_is_dense_and_faster_than_float32():
    """Dense rates are half of those that data sheets print in large; none is off by the thousand between units."""
    assert GPUS["h100"].bfloat16 == pytest.approx(1979e12 / 2, rel=0.001)
    for gpu in GPUS.values():
        assert 1.9 < gpu.bfloat16 / gpu.float32 < 40
        assert 20 < gpu.memory / 2**30 < 200
        assert 500e9 < gpu.memory_bandwidth < 10e12
        assert 30e9 < gpu.link < gpu.memory_bandwidth


def test_this_processor_is_measured():
    found = dataclasses.asdict(find_hardware("cpu"))
    assert found.pop("name") == "cpu"
    assert min(found.values()) > 0


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match=r"unknown gpu 'h800': the table holds a100, .*, cpu"):
        find_hardware("h800")
