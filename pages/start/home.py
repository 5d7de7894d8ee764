"""Home: what this is, the selected model as a living diagram, and ways into every page."""

import numpy as np
import streamlit as st

from ui import layout, state
from ui.components.diagram import diagram
from ui.components.picture_grid import picture_grid, picture_grid_index
from ui.reconstruction import SAMPLES, say_if_a_loss
from ui.ways import TRAIN, WAYS
from vae_core.evaluate import rank
from vae_core.latent import rank_by_kl
from vae_core.posterior import posterior
from vae_core.words import percent

CHOICES, DRAWS, CLOUD = 12, 32, 1200
CARDS = 3  # in a row
WORDS = """
- **Code z**: the few numbers, d of them, from which a picture is drawn. The **prior** p(z) = N(0, I) is how codes are
  spread before any picture is seen.
- **Encoder** q(z|x): for a picture x a Gaussian over codes, with a mean μ and a standard deviation σ in each dimension.
  It stands in for the **posterior** p(z|x): which codes the model itself holds responsible for x.
- **Decoder** p(x|z), the **likelihood**: how probable every picture is, given a code. What pages draw is its mean.
- **Evidence** p(x): how probable the model finds a picture, over all codes. The **ELBO** is a lower bound on log p(x).
- The ELBO’s two terms: **reconstruction**, −log p(x|z), what drawing again loses; and the **KL**, how far q(z|x) lies
  from the prior, which is how much the code says. **β** is the weight of the KL in training.
- **Nat**: the unit of natural logarithms, 1.44 bits. One nat more of log p(x) is e = 2.7 times the probability.
- **Active** is a dimension whose mean μ varies from picture to picture (a variance over 0.01), **silent** any other. If
  all fall silent, the posterior has **collapsed**. A **hole** is where the prior draws codes and the encoder puts none.
"""


def followed(count):
    """The picture that the address names, or else the one that was followed before."""
    asked = st.query_params.get("picture")
    return int(asked) if asked in map(str, range(count)) else picture_grid_index("home_picture") or 0


layout.head(
    "A laboratory for variational autoencoders",
    "A VAE learns to draw pictures from a few hidden numbers z: an encoder guesses which z a picture x came from, "
    "and a decoder draws x again from z. Training pulls two ways, towards faithful reconstruction and towards "
    "simple codes, and the balance of the two is the evidence lower bound, the ELBO. "
    "Watch that tug of war here, turn its weight β, and touch everything that it leaves behind.",
)

entry, checkpoint = state.selected()
snapshot = checkpoint.snapshot
images, real = state.pictures(checkpoint, np.arange(min(CHOICES, len(snapshot))))

scale = layout.whole_scale(images.shape[-1], 56)
chosen = (
    picture_grid(
        images,
        key="home_picture",
        label="A picture to follow",
        selected=min(followed(CHOICES), len(images) - 1),
        scale=scale,
    )
    or 0
)
if chosen:
    st.query_params["picture"] = str(chosen)
else:
    st.query_params.pop("picture", None)
if not real:
    st.caption(
        "The data set is not at hand: these pictures are decoded from stored posterior means, "
        "and all numbers below are those of the decoded picture."
    )

seen = posterior(checkpoint.model, images[chosen], SAMPLES)
diagram(
    images[chosen],
    seen.decoded[:DRAWS],
    key="home_diagram",
    caption=state.picture_name(checkpoint, chosen),
    z=seen.z[:DRAWS],
    reconstruction=seen.reconstruction[:DRAWS],
    mu=seen.mu,
    sigma=seen.sigma,
    cloud=snapshot.mu[:CLOUD],
    labels=None if snapshot.labels is None else snapshot.labels[:CLOUD],
    order=rank_by_kl(seen.kl)[: layout.MOST_DIMENSIONS],
)
layout.say_left_out(len(seen.mu))

elbo, reconstruction, kl, place = st.columns(4)
elbo.metric("ELBO", layout.nats(seen.elbo), help="−(reconstruction + KL), a lower bound on log p(x). Higher is better.")
reconstruction.metric(
    "Reconstruction",
    layout.nats(seen.reconstruction.mean()),
    help="−log p(x|z), averaged over z ~ q(z|x): what drawing the picture again loses.",
)
kl.metric("KL", layout.nats(seen.kl.sum(), 2), help="KL(q(z|x) ‖ p(z)): how much the code says, beyond the prior.")
place.metric(
    "Stranger than",
    percent(rank(seen.elbo, state.snapshot_elbo(snapshot))),
    help="The share of the test images whose ELBO is higher than this one's.",
)

say_if_a_loss(checkpoint, images[chosen])
with st.expander("The words", icon=":material/menu_book:"):
    st.markdown(WORDS)

st.subheader("Where to go", anchor=False)
ways = (TRAIN, *WAYS)
for first in range(0, len(ways), CARDS):
    for column, way in zip(st.columns(CARDS), ways[first : first + CARDS], strict=False):
        with column.container(border=True, height="stretch"):
            st.page_link(way.path, label=f"**{way.label}**", icon=way.icon, query_params=state.shared())
            st.caption(way.about)
