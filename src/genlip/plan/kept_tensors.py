"""Kept tensors: the memory that a model keeps between its forward and its backward pass, whatever its architecture.

In: a model on the meta device. Out: bytes per row of a language model, and per image of an encoder.
The model runs on tensors that have shapes and no storage (PyTorch's FakeTensorMode), under autocast of a processor, which
rounds the same products as that of a GPU. Autograd's hooks say what it keeps. Attention is fused, so all of it grows in
proportion to the rows: two lengths tell that from the bfloat16 copies of weights, which do not depend on them.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from genlip.encoders.tower import Tower
from genlip.mllm.language import language_states, recompute_blocks
from genlip.mllm.vision import VisionTower

__all__ = ["KeptBytes", "LivingBytes", "of_language", "of_tower", "without_storage"]

_ROWS = 8192  # of each of two samples
T = TypeVar("T")

# Bytes that a block of a ViT keeps for each number of its input, with products of 2 or 4 bytes: two inputs of norms, always
# in float32; inputs of q, k, v and of the feed-forward; q, k, v; what attention returns, and a copy; and twice the 4 times
# wider hidden layer of the feed-forward.
_VIT = {size: 2 * 4 + (2 + 3 + 2 + 2 * 4) * size for size in (2, 4)}


class KeptBytes(NamedTuple):
    """Bytes per row or image.

    Attributes:
        whole: without activation checkpointing.
        recomputed: with it: inputs of blocks, and what lies outside the blocks.
        again: the most that is added to that while a block is computed again, and then its gradients.
    """

    whole: float
    recomputed: float
    again: float = 0.0


def of_language(language: nn.Module, product_bytes: int) -> KeptBytes:
    """Bytes that a causal language model keeps for each row, up to the inputs of its head.

    language  on the meta device; parameters with `requires_grad` are trained, and the others stored as training stores them
    """

    def states(samples: int) -> Tensor:
        like = model.get_input_embeddings().weight
        inputs = torch.empty(samples * _ROWS, like.shape[1], dtype=like.dtype).requires_grad_()
        return language_states(model, inputs, torch.arange(_ROWS).repeat(samples), (_ROWS,) * samples)

    with without_storage(language, product_bytes) as owner:
        model: Any = owner.train()
        kept = partial(_kept, model, product_bytes)
        whole = _growth(lambda samples: kept(lambda: states(samples)))
        recompute_blocks(model)
        recomputed = _growth(lambda samples: kept(lambda: states(samples)))
        del model.get_decoder().layers[1:]  # the last block is the first to be computed again, when most is kept
        model.config.num_hidden_layers = 1
        again = _growth(lambda samples: _added(lambda: states(samples), product_bytes))
    return KeptBytes(whole / _ROWS, recomputed / _ROWS, again / _ROWS)


def of_tower(tower: VisionTower, side: int, product_bytes: int) -> KeptBytes:
    """Bytes that a trained encoder of timm or Transformers keeps for each image, of `side` x `side` patches if it is native.

    tower  on the meta device
    """
    assert isinstance(tower.encoder, Tower)
    image, layers = tower.encoder.empty_image(side), tower.encoder.layers
    batches = {number: tower.collate([image] * number) for number in (1, 2)}

    def kept(again: bool) -> float:
        with without_storage(tower, product_bytes) as model:
            model.module.train()
            model.set_activation_checkpointing(again)
            return _growth(lambda number: _kept(model.module, product_bytes, lambda: model(batches[number])))

    try:
        return KeptBytes(kept(again=False), kept(again=True))
    except DataDependentOutputException:  # its forward pass reads numbers, such as the positions of native patches
        numbers = (batches[1].num_patches + tower.encoder.prefix_tokens) * tower.width
        return KeptBytes(_VIT[product_bytes] * numbers * layers, 4 * numbers * (layers + 1))


def _growth(measure: Callable[[int], float]) -> float:
    """How much more is measured of two samples than of one."""
    return measure(2) - measure(1)


def _kept(module: nn.Module, product_bytes: int, run: Callable[[], Tensor]) -> float:
    """Bytes that autograd keeps of a forward pass, each storage once, without parameters."""
    found: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        found[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), _autocast(product_bytes):
        output = run()
    assert output.requires_grad  # and its graph still holds all that was found
    ours = {value.untyped_storage()._cdata for value in (*module.parameters(), *module.buffers())}
    return sum(size for place, size in found.items() if place not in ours)


def _added(run: Callable[[], Tensor], product_bytes: int) -> float:
    """The most bytes that live during a backward pass, above those after the forward pass."""
    with LivingBytes() as living:
        with _autocast(product_bytes):
            output = run()
        gradient = torch.empty_like(output)
        before = living.most = living.now
        output.backward(gradient)
    return living.most - before


def _autocast(product_bytes: int) -> AbstractContextManager[object]:
    return torch.autocast("cpu", torch.bfloat16, enabled=product_bytes == 2)


class LivingBytes(TorchDispatchMode):
    """Counts the bytes of all tensors that are made and still live. `MemTracker` of PyTorch refuses frozen parameters.

    Attributes:
        now: bytes.
        most: the largest value of `now`.
    """

    def __init__(self, given: Sequence[Tensor] = ()) -> None:
        """`given` are tensors that are counted from the start."""
        super().__init__()
        self.now = self.most = 0
        self._known: WeakIdKeyDictionary = WeakIdKeyDictionary()
        for tensor in given:
            self._add(tensor)

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage in self._known:
            return
        size = self._known[storage] = storage.nbytes()
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._drop, size)

    def _drop(self, size: int) -> None:
        self.now -= size

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operator, and count what it returns."""
        found = func(*args, **(kwargs or {}))
        for one in tree_leaves(found):
            if isinstance(one, Tensor):
                self._add(one)
        return found


@contextmanager
def without_storage(owner: T, product_bytes: int) -> Iterator[T]:
    """A copy of a module, or of a tower with its module, on a processor's tensors without storage.

    Parameters that are not trained have the dtype of products, as training stores them.
    """
    owner = copy.deepcopy(owner)
    module: nn.Module = owner if isinstance(owner, nn.Module) else owner.module  # type: ignore[attr-defined]
    made: dict[int, Any] = {}
    with FakeTensorMode(allow_non_fake_inputs=True):
        for part in module.modules():
            for place in (part._parameters, part._buffers):
                for name, value in place.items():
                    if value is not None:
                        place[name] = made.setdefault(id(value), _like(value, product_bytes))
        yield owner


def _like(value: Tensor, product_bytes: int) -> Tensor:
    """A tensor of the same shape without storage."""
    if not isinstance(value, nn.Parameter):
        return torch.empty(value.shape, dtype=value.dtype)
    dtype = value.dtype if value.requires_grad or product_bytes == 4 else torch.bfloat16
    return nn.Parameter(torch.empty(value.shape, dtype=dtype), value.requires_grad)
