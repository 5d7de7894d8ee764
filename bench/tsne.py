"""t-SNE of a shipped model's posterior means: ours beside scikit-learn's, at the same perplexity and seed.

    python -m bench.tsne [--points 5000] [--rounds 1]

Both maps' KL divergences are computed by the same code (scikit-learn's affinities are those of openTSNE up to the
neighbour search), so that a faster map cannot be a worse one unnoticed.
"""

import argparse
import time

from bench.report import emit, machine, spread


def _ours(mu) -> dict[str, float]:
    from vae_core.embedding import tsne

    started, first, moving = time.perf_counter(), None, None
    for count, step in enumerate(tsne(mu)):
        divergence = step.kl_divergence
        first = first or time.perf_counter() - started
        if count == 1:
            moving = time.perf_counter() - started
    return {"first": first, "moving": moving, "done": time.perf_counter() - started, "kl": divergence}


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
    from bench.browser import ROOT
    from vae_core import checkpoint

    mu = checkpoint.load(ROOT / "checkpoints" / "mnist-d16.safetensors").snapshot.mu[: arguments.points]
    rounds = [(_ours(mu), _sklearn(mu)) for _ in range(arguments.rounds)]
    rows = [
        {"what": "first picture (s, goal ≤ 1)"} | spread([ours["first"] for ours, _ in rounds]),
        {"what": "moving (s, goal ≤ 3)"} | spread([ours["moving"] for ours, _ in rounds]),
        {"what": "ours, done (s)"} | spread([ours["done"] for ours, _ in rounds]),
        {"what": "scikit-learn, done (s)"} | spread([other["done"] for _, other in rounds]),
        {"what": "ours / scikit-learn (goal ≤ 0.7)"} | spread([o["done"] / s["done"] for o, s in rounds]),
        {"what": "KL divergence, ours (nats)"} | spread([ours["kl"] for ours, _ in rounds]),
        {"what": "KL divergence, scikit-learn (nats)"} | spread([other["kl"] for _, other in rounds]),
    ]
    emit(f"t-SNE of {len(mu)} points", machine("openTSNE", "scikit-learn"), rows)


if __name__ == "__main__":
    main()
