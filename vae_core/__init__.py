"""Variational autoencoders: data, model, objective, training, runs, checkpoints, evaluation."""
