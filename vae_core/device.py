"""Which device computes, and how."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from vae_core.errors import UserError

__all__ = ["PRECISIONS", "denormals_flushed", "describe", "has_room", "pick", "rounding", "training_precision"]

PRECISIONS = ("float32", "tf32", "bf16")
"""What matrices and pictures are rounded to before they are multiplied: 24, 11 or 8 significant bits."""

# By default convolutions on a GPU round their inputs to 10 bits (TF32), which moves log p(x|z) by up to 0.01 nats, and
# may add up in another order each time, so that a seed would not give the same weights.
torch.backends.cudnn.allow_tf32 = False
torch.backends.cuda.matmul.allow_tf32 = False  # the default, but for what NVIDIA's containers put in the environment
torch.backends.cudnn.deterministic = True


def pick(name: str | None = None) -> torch.device:
    """The device called `name`, or the machine's accelerator where there is one, else the CPU.

    Raises UserError for a device that this machine does not have.
    """
    if name is None:
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device).item()  # 'meta' has no values
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        offer = pick()
        raise UserError(f"There is no device {name!r} on this machine. Use {offer.type!r}.") from error
    return device


def has_room(device: torch.device, size: int) -> bool:
    """Whether `size` bytes take at most half of the memory that is free on `device`; always on the CPU, where they are.

    A device that does not tell counts as one that has room.
    """
    if device.type == "cpu":
        return True
    try:
        free, _ = torch.accelerator.get_memory_info(device)
    except (RuntimeError, ValueError):
        return True
    return size <= free / 2


def describe(device: torch.device) -> str:
    """A name to show to people: 'CPU, 2 threads' or 'NVIDIA H200'."""
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return f"CPU, {threads} thread{'s' if threads > 1 else ''}"
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return device.type.upper()


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """Let numbers under 1.2e-38 count as zero on the CPU: Adam's means of gradients that stay zero, those of pixels
    that are always black, fade into such numbers, and a step over them takes some CPUs a third longer.

    It holds for this thread and for those that torch starts within, so enter it before torch has computed much.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def training_precision(device: torch.device) -> str:
    """That of PRECISIONS for training on `device`, which costs 0.02 nats of ELBO or less: see bench/README.md."""
    return "tf32" if device.type == "cuda" else "float32"


@contextmanager
def rounding(device: torch.device, precision: str) -> Iterator[None]:
    """Let products on an NVIDIA GPU round what they multiply to TF32, where that is the `precision`. Its GPUs before
    Ampere cannot, and do not.
    """
    if device.type != "cuda":
        yield
        return
    backends = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [backend.allow_tf32 for backend in backends]
    try:
        for backend in backends:
            backend.allow_tf32 = precision == "tf32"
        yield
    finally:
        for backend, allowed in zip(backends, before, strict=True):
            backend.allow_tf32 = allowed
