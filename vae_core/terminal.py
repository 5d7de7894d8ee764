"""How commands speak at a terminal: the form of a result, a progress bar, a line for an ELBO."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from vae_core import data
from vae_core.data import Dataset

__all__ = ["Result", "bar", "elbo_line", "load_dataset"]

Result = tuple[dict[str, Any], str]
"""What a command found: JSON values by name, and the same as text."""


@contextmanager
def bar(text: str) -> Iterator[Callable[..., None]]:
    """A progress bar on a terminal's stderr, moved by calls with (fraction, text=None)."""
    layout = "{desc} {percentage:3.0f}% |{bar}| {elapsed} < {remaining}"
    with tqdm(total=1.0, desc=text, disable=None, leave=False, bar_format=layout) as shown:

        def move(fraction: float, text: str | None = None) -> None:
            if text:
                shown.set_description_str(text, refresh=False)
            shown.update(fraction - shown.n)

        yield move


def elbo_line(name: str, terms: dict[str, float]) -> str:
    """An ELBO and its terms, in nats: `terms` has "elbo", "reconstruction" and "kl"."""
    return (
        f"{name:<10}  ELBO {terms['elbo']:.3f} nats = "
        f"−(reconstruction {terms['reconstruction']:.3f} + KL {terms['kl']:.3f})"
    )


def load_dataset(name: str) -> Dataset:
    """`data.load` behind a progress bar; what is missing is downloaded."""
    with bar(f"Loading {name}") as progress:
        return data.load(name, download=True, progress=progress)
