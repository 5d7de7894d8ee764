"""Work on an NVIDIA GPU that is captured once, in a CUDA graph, and replayed: one launch instead of some hundred."""

import gc
import itertools
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["Captured"]

_UNCAPTURED = 3  # calls in which libraries choose their ways, and an optimiser makes its tensors
_AHEAD = 16  # replays that may be under way: enough to keep a GPU busy, few enough to be heard soon


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
        if self._calls == 1:
            self._prepare()
        if self._calls <= _UNCAPTURED:
            self._run_apart(given)
            return
        if self._graph is None:
            self._given, self._graph = self._capture(given)
        self._replay(given)

    def _prepare(self) -> None:
        self._device = self._generator.device
        self._stream = torch.cuda.Stream(self._device)
        self._done = itertools.cycle([torch.cuda.Event(blocking=True) for _ in range(_AHEAD)])

    def _run_apart(self, given: Tensor) -> None:
        current = torch.cuda.current_stream(self._device)
        given = given.to(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            self._act(given)
        current.wait_stream(self._stream)

    def _capture(self, given: Tensor) -> tuple[Tensor, torch.cuda.CUDAGraph]:
        with torch.cuda.device(self._device), _nothing_collected():
            current = torch.cuda.current_stream()
            graph, given = torch.cuda.CUDAGraph(), given.to(self._device, copy=True)
            if hasattr(graph, "register_generator_state"):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # newer versions of torch find the generator, and say so
                    graph.register_generator_state(self._generator)
            try:
                with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                    self._act(given)
            finally:
                torch.cuda.set_stream(current)  # which a capture that fails does not put back
            current.wait_stream(self._stream)
        return given, graph

    def _replay(self, given: Tensor) -> None:
        if given.device.type == "cpu":
            given = given.pin_memory()  # so that the copy waits in the stream, not here
        done = next(self._done)
        done.synchronize()
        self._given.copy_(given, non_blocking=True)
        self._graph.replay()
        done.record(torch.cuda.current_stream(self._device))


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Without a garbage collection within: an old graph that is destroyed during a capture spoils it."""
    gc.collect()
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
