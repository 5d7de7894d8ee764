"""Variational autoencoders: data, model, objective, training, runs, checkpoints, evaluation."""

import os

# Read when torch is loaded: how long a thread waits for the others by spinning. The library's own choice is quickest
# on an idle machine and stalls a busy one; no spinning at all halves the speed of small models (bench/README.md).
os.environ.setdefault("GOMP_SPINCOUNT", "5000")
