"""One training in several processes, which torchrun starts: the images in shards, the batches as in one process.

Rank r of N holds every N-th training image and computes those rows of a batch that are its own. All ranks draw the
noise of the whole batch from the same seed, and what they compute is put together row by row, so that every rank sees
the loss of the whole batch and steps as one process would.
"""

import json
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load as from_safetensors
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from vae_core import device as devices
from vae_core.errors import UserError
from vae_core.likelihood import OptimalGaussian
from vae_core.model import VAE

if TYPE_CHECKING:  # not every build of torch has it
    from torch.distributed import Store, TCPStore

__all__ = ["Lost", "Ranks", "joined", "launched", "pick_device", "watched"]

_POLL_SECONDS = 0.05


class Lost(UserError):  # noqa: N818 (an end that training may have)
    """Another process of the training cannot be reached, so that it cannot go on."""


def launched() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def pick_device(name: str | None) -> torch.device:
    """As `device.pick`, but the GPU of this process's own where torchrun started it."""
    if launched() and (name == "cuda" or (name is None and devices.pick() == torch.device("cuda"))):
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    return devices.pick(name)


@contextmanager
def joined(device: torch.device) -> Iterator["Ranks"]:
    """This process as one of those that torchrun started, connected with the others; raises as `watched` does.

    Tensors on the CPU travel by gloo, on GPUs by NCCL.
    """
    import torch.distributed as dist

    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if device.index is not None:
        torch.accelerator.set_device_index(device.index)
    backend = "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl"
    mine = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    with watched():
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        agent = dist.TCPStore(address, port, is_master=mine, wait_for_workers=False)
        store = _met(rank, size, agent)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size)
        yield Ranks(rank, size, agent, store)
        dist.destroy_process_group()


def _met(rank: int, size: int, agent: "Store") -> "TCPStore":
    """A store of these processes, once all of them are there, found by the store of torchrun's agent.

    The agent's own outlives a restart and then leads to processes that are gone (PyTorch's issue 135712). So rank 0
    opens another, and tells where to each process that asks with a token that nobody has used before.
    """
    from torch.distributed import TCPStore

    if rank:
        token = uuid.uuid4().hex
        agent.set(f"vae_core/{rank}", token)
        store = TCPStore(os.environ["MASTER_ADDR"], int(agent.get(f"vae_core/{token}")), is_master=False)
        store.add("present", 1)
        return store
    store = TCPStore(os.environ["MASTER_ADDR"], 0, is_master=True, wait_for_workers=False)
    while store.add("present", 0) < size - 1:
        for other in (f"vae_core/{number}" for number in range(1, size)):
            if agent.check([other]):
                agent.set(f"vae_core/{agent.get(other).decode()}", str(store.port))
        time.sleep(_POLL_SECONDS)
    return store


@contextmanager
def watched() -> Iterator[None]:
    """Raises Lost for the errors that tell that another process cannot be reached."""
    try:
        yield
    except RuntimeError as error:
        import torch.distributed as dist

        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        raise Lost(
            "The connection to another process of this training is lost: it has ended, or the network has failed. "
            "Give the same command again: it goes on from what was saved last."
        ) from error


@dataclass(frozen=True)
class Ranks:
    """The processes that train together, as seen from the one of this `rank`; by default it is the only one."""

    rank: int = 0
    size: int = 1
    agent: "Store | None" = None
    store: "Store | None" = None

    def remember(self, run: str) -> None:
        """Keep the name of the run for processes that torchrun starts in place of these."""
        self.agent.set("vae_core/run", run)

    def remembered(self) -> str | None:
        """What an earlier process of this torchrun kept; None in the first ones."""
        return self.agent.get("vae_core/run").decode() if self.agent.check(["vae_core/run"]) else None

    def shard(self, images: Any) -> Any:
        """This rank's part of an array or tensor with a row an image: every `size`-th."""
        return images[self.rank :: self.size]

    def take(self, shard: Tensor, index: Tensor) -> Tensor:
        """The images of a batch, of which only this rank's own are there; the others are 0.

        Shapes: shard (n, C, H, W), index (B,), counted over all ranks' images → (B, C, H, W).
        """
        if self.size == 1:
            return shard.index_select(0, index)
        own = self.own(index)
        batch = shard.new_zeros((len(index), *shard.shape[1:]))
        batch[own] = shard[(index[own] // self.size).to(shard.device)]
        return batch

    def own(self, index: Tensor) -> Tensor:
        """The places in a batch of those images, `index` (B,), that are in this rank's shard."""
        return (index % self.size == self.rank).nonzero()[:, 0]

    def spread(self, model: VAE, index: Tensor | None = None) -> "VAE | _Spread":
        """`model` for whole batches, whose rows it leaves to their ranks: those of `take(…, index)`, or, where every
        rank has all rows and there is no `index`, every `size`-th."""
        if self.size == 1:
            return model
        return _Spread(model, self, None if index is None else self.own(index))

    def parallel(self, model: VAE, objective: Callable[..., Any]) -> Callable[..., Any]:
        """`objective`, whose result depends on the parameters of `model`; `backward` then gives them its gradient."""
        if self.size == 1:
            return objective
        if isinstance(model.likelihood, OptimalGaussian):
            model.likelihood.batch_mean = _mean_over_ranks
        return nn.parallel.DistributedDataParallel(_Objective(model, objective))

    def backward(self, loss: Tensor) -> None:
        """Gradients of a loss that all ranks have, each through its own rows: their sum, where DDP takes the mean."""
        (loss if self.size == 1 else loss * self.size).backward()

    def begin(self, value: Any = None) -> Any:
        """`broadcast`, however long rank 0 takes to come to it."""
        if self.rank:
            self._wait_for("begun", 1)
        elif self.size > 1:
            self.store.add("begun", 1)
        return self.broadcast(value)

    def broadcast(self, value: Any = None) -> Any:
        """Rank 0's `value`, as JSON has it, on every rank."""
        return value if self.size == 1 else json.loads(self._send(json.dumps(value).encode()))

    def broadcast_tensors(self, tensors: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Rank 0's tensors by name, on the CPU of every rank."""
        return tensors if self.size == 1 else from_safetensors(self._send(to_safetensors(tensors or {})))

    def _send(self, data: bytes) -> bytes:
        import torch.distributed as dist

        length = torch.tensor(len(data))
        dist.broadcast(length, 0)
        content = torch.zeros(int(length), dtype=torch.uint8)
        if self.rank == 0:
            content = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        dist.broadcast(content, 0)
        return content.numpy().tobytes()

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """One process a machine goes first, however long it takes, and leaves on the disk what the others need."""
        first = self.size == 1 or os.environ["LOCAL_RANK"] == "0"
        if not first:
            self._wait_for("loaded", int(os.environ["GROUP_WORLD_SIZE"]))
        try:
            yield
        finally:
            if first and self.size > 1:
                self.store.add("loaded", 1)

    def _wait_for(self, key: str, count: int) -> None:
        """Until so many ranks have added to `key`: without the limits of time that gloo and NCCL have."""
        while self.store.add(key, 0) < count:
            time.sleep(_POLL_SECONDS)


class _Objective(nn.Module):
    """What DistributedDataParallel watches: the parameters of a model, and a function that uses them."""

    def __init__(self, model: VAE, objective: Callable[..., Any]) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, *arguments: Any) -> Any:
        return self.objective(*arguments)


class _Spread:
    """A model that takes whole batches, computes the rows of its own rank, and returns whole batches again.

    Only what lies between `decode` and `log_prob`, the parameters of p(x|z), is of the own rows alone. All else is as
    the model has it.
    """

    def __init__(self, model: VAE, ranks: Ranks, own: Tensor | None) -> None:
        self._model, self._ranks, self._given = model, ranks, own

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    @property
    def likelihood(self) -> "_Spread":
        """Itself: it knows whose rows the parameters are."""
        return self

    def encode(self, x: Tensor, beta: float | Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As `VAE.encode`."""
        self._batch = len(x)
        self._own = self._given
        if self._own is None:
            self._own = torch.arange(self._ranks.rank, len(x), self._ranks.size)
        self._computed = self._own if len(self._own) else torch.tensor([0])  # no rank may stand aside
        codes = torch.cat(self._model.encode(x[self._computed], self._part(beta)), dim=1)
        return _Gather.apply(codes[: len(self._own)], self._own, self._batch).chunk(2, dim=1)

    def decode(self, z: Tensor, beta: float | Tensor | None = None) -> Tensor:
        """As `VAE.decode`, but of the own rows only; z may be several batches one after the other, (K·B, d)."""
        part = z.unflatten(0, (-1, self._batch))[:, self._computed].flatten(0, 1)
        return self._model.decode(part, self._part(beta))

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        """As the likelihood's: params (..., own rows, C, H, W) → (..., B)."""
        fit = self._model.likelihood.log_prob(x[self._own], params.narrow(-4, 0, len(self._own)))
        return _Gather.apply(fit.movedim(-1, 0), self._own, self._batch).movedim(0, -1)

    def _part(self, beta: float | Tensor | None) -> float | Tensor | None:
        return beta[self._computed] if isinstance(beta, Tensor) and beta.ndim else beta


class _Gather(torch.autograd.Function):
    """The rows of all ranks in their places. Gradients go back to the own rows."""

    @staticmethod
    def forward(context: Any, part: Tensor, own: Tensor, batch: int) -> Tensor:
        import torch.distributed as dist

        context.own = own
        whole = part.new_zeros((batch, *part.shape[1:]))
        whole[own] = part
        dist.all_reduce(whole)
        return whole

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient[context.own], None, None


class _Sum(torch.autograd.Function):
    """The sum over all ranks, whose gradient is the sum of theirs."""

    @staticmethod
    def forward(_: Any, part: Tensor) -> Tensor:
        import torch.distributed as dist

        whole = part.clone()
        dist.all_reduce(whole)
        return whole

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return _Sum.apply(gradient)


def _mean_over_ranks(values: Tensor) -> Tensor:
    total, count = _Sum.apply(torch.stack([values.sum(), values.new_tensor(values.numel())]))
    return total / count
