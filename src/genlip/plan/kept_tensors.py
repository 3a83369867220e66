"""Kept tensors: the memory that a model of another library keeps between its forward and its backward pass.

In: a model on the meta device. Out: bytes per row of a language model, and per token of an encoder.
The language model runs on tensors that have shapes and no storage (PyTorch's FakeTensorMode), under autocast of a processor,
which rounds the same products as that of a GPU. Autograd's hooks say what it keeps. Attention is fused, so all of it grows
in proportion to the rows: two lengths tell that from the bfloat16 copies of weights, which do not depend on them.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from genlip.encoders.tower import Tower
from genlip.mllm.language import language_states, recompute_blocks
from genlip.mllm.vision import VisionTower

__all__ = ["KeptBytes", "LivingBytes", "of_language", "of_tower", "without_storage"]

_ROWS = 8192  # of each of two samples
T = TypeVar("T", bound=nn.Module)


class KeptBytes(NamedTuple):
    """Bytes per row.

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
    with without_storage(language, product_bytes) as model:
        decoder = _Decoder(model.train(), product_bytes)
        whole = decoder.kept()
        recompute_blocks(model)
        return KeptBytes(whole, decoder.kept(), decoder.again())


class _Decoder:
    """A language model without storage. Equal layers keep equally much, so that two of them tell for all."""

    def __init__(self, model: Any, product_bytes: int) -> None:
        self.model, self.product_bytes = model, product_bytes
        self.layers = model.get_decoder().layers

    def kept(self) -> float:
        """Bytes that all layers and what lies outside of them keep for each row."""
        number = len(self.layers)
        if len({_shapes(layer) for layer in self.layers}) > 1:
            return self._kept_by(number)
        one, two = self._kept_by(1), self._kept_by(2)
        return one + (number - 1) * (two - one)

    def again(self) -> float:
        """Bytes per row that are added while the last layer is computed again: it is the first, when most is kept."""
        self._keep(1)
        return _growth(lambda samples: _added(lambda: self._states(samples), self.product_bytes)) / _ROWS

    def _kept_by(self, layers: int) -> float:
        self._keep(layers)
        return _growth(lambda samples: _kept(self.model, self.product_bytes, lambda: self._states(samples))) / _ROWS

    def _keep(self, layers: int) -> None:
        """Leave the other layers out."""
        self.model.get_decoder().layers = self.layers[:layers]
        self.model.config.num_hidden_layers = layers

    def _states(self, samples: int) -> Tensor:
        like = self.model.get_input_embeddings().weight
        inputs = torch.empty(samples * _ROWS, like.shape[1], dtype=like.dtype).requires_grad_()
        return language_states(self.model, inputs, torch.arange(_ROWS).repeat(samples), (_ROWS,) * samples)


def _shapes(layer: nn.Module) -> tuple[Any, ...]:
    return tuple((name, parameter.shape, parameter.requires_grad) for name, parameter in layer.named_parameters())


def of_tower(tower: VisionTower, product_bytes: int) -> KeptBytes:
    """Bytes that a trained encoder of timm or Transformers keeps for each patch or other token, estimated as of a ViT.

    A block keeps, for each token, the two inputs of norms in float32. In the precision of products it keeps the inputs of
    the four maps of attention and of the feed-forward, queries, keys and values, and the hidden layer of the feed-forward
    before and after its activation: 7 times the width, and as many numbers as the feed-forward has weights, divided by it.
    """
    assert isinstance(tower.encoder, Tower)
    width, blocks = tower.width, tower.blocks()
    matrices = sum(p.numel() for block in blocks for p in block.parameters() if p.dim() == 2)
    whole = len(blocks) * (2 * 4 + 3 * product_bytes) * width + product_bytes * matrices / width
    ends = 3 * tower.patch_size**2 * product_bytes + 4 * width  # pixels, and the input of the last norm
    return KeptBytes(whole + ends, 4 * width * len(blocks) + ends)


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
def without_storage(module: T, product_bytes: int) -> Iterator[T]:
    """A copy of a module on a processor's tensors without storage.

    Parameters that are not trained have the dtype of products, as training stores them.
    """
    module = copy.deepcopy(module)
    made: dict[int, Any] = {}
    with FakeTensorMode(allow_non_fake_inputs=True):
        for part in module.modules():
            for place in (part._parameters, part._buffers):
                for name, value in place.items():
                    if value is not None:
                        place[name] = made.setdefault(id(value), _like(value, product_bytes))  # tied weights stay tied
        yield module


def _like(value: Tensor, product_bytes: int) -> Tensor:
    """A tensor of the same shape without storage."""
    if not isinstance(value, nn.Parameter):
        return torch.empty(value.shape, dtype=value.dtype)
    dtype = value.dtype if value.requires_grad or product_bytes == 4 else torch.bfloat16
    return nn.Parameter(torch.empty(value.shape, dtype=dtype), value.requires_grad)
