"""Work on an NVIDIA GPU that is captured once, in a CUDA graph, and replayed: one launch instead of some hundred."""

import functools
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["Captured"]

_UNCAPTURED = 3  # calls in which libraries choose their ways, and an optimiser makes its tensors


class Captured:
    """`act`, a function of one tensor, always of the same shape and type, that returns nothing.

    The first calls run it as it is, on a stream of their own. Then what it starts on the GPU is captured, and from then
    on a call copies its argument to where the captured work reads it, and replays that. So `act` may neither wait for
    the GPU nor decide by what changes: all that differs between two calls has to lie in tensors that stay where they
    are. Random numbers come from `generator`, and replays draw those that the calls would have drawn.
    """

    def __init__(self, act: Callable[[Tensor], None], generator: torch.Generator) -> None:
        self._act, self._generator = act, generator
        self._calls = 0
        self._given: Tensor | None = None
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, given: Tensor) -> None:
        """`act(given)`, for a tensor on the CPU or the GPU."""
        self._calls += 1
        given = given.to(self._generator.device, non_blocking=True)
        if self._calls <= _UNCAPTURED:
            self._run_apart(given)
            return
        if self._graph is None:
            self._capture(given)
        self._given.copy_(given)
        self._graph.replay()

    @functools.cached_property
    def _stream(self) -> torch.cuda.Stream:
        return torch.cuda.Stream(self._generator.device)

    def _run_apart(self, given: Tensor) -> None:
        current = torch.cuda.current_stream(self._generator.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            self._act(given)
        current.wait_stream(self._stream)

    def _capture(self, given: Tensor) -> None:
        self._given, self._graph = given.clone(), torch.cuda.CUDAGraph()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # newer versions of torch find the generator, and say so
            self._graph.register_generator_state(self._generator)
        with torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"):
            self._act(self._given)
