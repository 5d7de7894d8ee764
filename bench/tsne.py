"""t-SNE of a shipped model's posterior means: ours beside scikit-learn's, at the same perplexity and seed.

    python -m bench.tsne [--points 5000] [--rounds 1]

Up to 5,000 codes are those that the checkpoint keeps; more are encoded from MNIST's test images. Then a new code placed
into the finished map, and on the Latent space page the way from PCA back to a map that is finished: from the click
until the map is drawn.
Both maps' KL divergences are computed by the same code (scikit-learn's affinities are those of openTSNE up to the
neighbour search), so that a faster map cannot be a worse one unnoticed.
"""

import argparse
import os
import tempfile
import time

from bench.report import emit, machine, spread


def _codes(points: int):
    from bench.browser import ROOT
    from vae_core import checkpoint, data
    from vae_core.evaluate import encode

    kept = checkpoint.load(ROOT / "checkpoints" / "mnist-d16.safetensors")
    if points > len(kept.snapshot.mu):
        return encode(kept.model, data.load("mnist").test.images[:points])[0]
    return kept.snapshot.mu[:points]


def _ours(mu) -> dict[str, float]:
    from vae_core.embedding import tsne

    started, first, moving = time.perf_counter(), None, None
    for count, step in enumerate(tsne(mu)):
        divergence = step.kl_divergence
        first = first or time.perf_counter() - started
        if count == 1:
            moving = time.perf_counter() - started
    return {"first": first, "moving": moving, "done": time.perf_counter() - started, "kl": divergence, "map": step.map}


def _placed(map, mu) -> float:
    from vae_core.embedding import place

    started = time.perf_counter()
    place(map, mu, mu[:1] + 0.1)
    return time.perf_counter() - started


def _recalled(rounds: int) -> list[float]:
    from bench.browser import IDLE, app, page

    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["VAE_RUNS"] = folder
        with app() as url, page(f"{url}/latent-space?model=mnist-d16") as opened:
            for _ in range(rounds + 1):  # the first reads the kept map
                opened.get_by_text("t-SNE", exact=True).click()
                started = time.perf_counter()
                opened.get_by_role("application", name="t-SNE map").wait_for()
                seconds.append(time.perf_counter() - started)
                opened.get_by_text("trustworthiness").wait_for(timeout=60_000)
                opened.wait_for_selector(IDLE, state="attached")
                opened.get_by_text("PCA", exact=True).click()
                opened.get_by_role("application", name="PCA map").wait_for()
                opened.wait_for_selector(IDLE, state="attached")
    return seconds[1:]


def _sklearn(mu) -> dict[str, float]:
    from sklearn.manifold import TSNE

    from vae_core.embedding import default_perplexity

    started = time.perf_counter()
    fitted = TSNE(perplexity=default_perplexity(len(mu)), init="pca", random_state=0, n_jobs=2).fit(mu)
    return {"done": time.perf_counter() - started, "kl": float(fitted.kl_divergence_)}


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    mu = _codes(arguments.points)
    rounds = [(_ours(mu), _sklearn(mu)) for _ in range(arguments.rounds)]
    finished = rounds[-1][0]["map"]
    rows = [
        {"what": "first picture (s, goal ≤ 1)"} | spread([ours["first"] for ours, _ in rounds]),
        {"what": "moving (s, goal ≤ 3)"} | spread([ours["moving"] for ours, _ in rounds]),
        {"what": "ours, done (s)"} | spread([ours["done"] for ours, _ in rounds]),
        {"what": "scikit-learn, done (s)"} | spread([other["done"] for _, other in rounds]),
        {"what": f"ours / scikit-learn (goal ≤ {0.5 if len(mu) > 5000 else 0.7})"}
        | spread([o["done"] / s["done"] for o, s in rounds]),
        {"what": "a new code placed (s, goal ≤ 0.5)"} | spread([_placed(finished, mu) for _ in range(7)]),
        {"what": "a finished map recalled on the page (s, goal ≤ 0.3)"} | spread(_recalled(7)),
        {"what": "KL divergence, ours (nats)"} | spread([ours["kl"] for ours, _ in rounds]),
        {"what": "KL divergence, scikit-learn (nats)"} | spread([other["kl"] for _, other in rounds]),
    ]
    emit(f"t-SNE of {len(mu)} points", machine("openTSNE", "scikit-learn"), rows)


if __name__ == "__main__":
    main()
