"""Weights in and out: encoders of others, the authors' checkpoints, and files of our own."""
