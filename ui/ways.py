"""The pages, in their sections: the navigation and whatever leads to a page name them alike."""

from pathlib import PurePosixPath
from typing import NamedTuple

__all__ = ["BY_ADDRESS", "HOME", "SECTIONS", "TRAIN", "WAYS", "Way"]


class Way(NamedTuple):
    """A page: its script, what to call it, its icon, and what one does there."""

    path: str
    label: str
    icon: str
    about: str

    @property
    def address(self) -> str:
        """Where the page is found: the last part of its URL."""
        return PurePosixPath(self.path).stem.replace("_", "-")


HOME = Way("pages/start/home.py", "Home", ":material/home:", "The model as a diagram.")
TRAIN = Way("pages/train/train.py", "Train", ":material/model_training:", "Watch the loss split in two.")
_EXPLORE = (
    Way("pages/explore/beta.py", "β and rate–distortion", ":material/balance:", "Turn β and see what it buys."),
    Way("pages/explore/latent_space.py", "Latent space", ":material/scatter_plot:", "Walk the map of codes."),
    Way("pages/explore/interpolate.py", "Interpolate", ":material/linear_scale:", "Drag from one picture to another."),
    Way("pages/explore/generate.py", "Generate", ":material/casino:", "Draw new pictures from the prior."),
    Way("pages/explore/reconstruct.py", "Reconstruct", ":material/image_search:", "Give it a picture of your own."),
)
_UNDERSTAND = (
    Way("pages/understand/elbo_lab.py", "ELBO lab", ":material/science:", "See the gap that the ELBO leaves."),
    Way("pages/understand/derivation.py", "Derivation", ":material/function:", "From log p(x) to the loss."),
    Way("pages/understand/bounds.py", "Bounds", ":material/stacked_line_chart:", "Close in on log p(x)."),
    Way(
        "pages/understand/reparameterisation.py",
        "Reparameterisation",
        ":material/swap_calls:",
        "Drag μ and σ, keep ε.",
    ),
    Way(
        "pages/understand/amortised_and_classical.py",
        "Amortised and classical",
        ":material/speed:",
        "Race the encoder.",
    ),
    Way(
        "pages/understand/posterior_collapse_and_holes.py",
        "Posterior collapse and holes",
        ":material/blur_on:",
        "Make it fail on purpose.",
    ),
)

SECTIONS = {"": (HOME, TRAIN), "Explore": _EXPLORE, "Understand": _UNDERSTAND}
"""All pages, by the heading over them in the navigation."""

WAYS = (*_EXPLORE, *_UNDERSTAND)
"""The pages that show the selected model."""

BY_ADDRESS = {way.address: way for ways in SECTIONS.values() for way in ways}
