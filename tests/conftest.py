"""What holds for all tests: one thread each, and tokenizers that are learned from few captions."""

import os
from collections.abc import Iterator

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, and for the processes that tests start

import torch

from .train.helpers import ALL_CAPTIONS


@pytest.fixture(scope="session", autouse=True)
def single_thread() -> Iterator[None]:
    """On tensors this small, threads wait for one another longer than they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def all_captions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokenizers are learned from as many captions as they are outside of tests."""
    monkeypatch.setattr("genlip.train.state._TOKENIZER_CORPUS", ALL_CAPTIONS)
