"""What holds for all tests: one thread each, and tokenizers that are learned from few captions."""

import os
import signal
from collections.abc import Iterator

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, and for the processes that tests start

import torch

from .train.helpers import ALL_CAPTIONS

# A job in the background ignores both; tests and the programs that they start must not.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def single_thread() -> Iterator[None]:
    """On tensors this small, threads wait for one another longer than they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def float32_is_as_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands choose bfloat16 by measured speed: no test depends on the machine."""
    monkeypatch.setattr("genlip.train.precision._product_time", lambda dtype: 1.0)


@pytest.fixture
def all_captions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokenizers are learned from as many captions as they are outside of tests."""
    monkeypatch.setattr("genlip.train.captioned_task._TOKENIZER_CORPUS", ALL_CAPTIONS)
