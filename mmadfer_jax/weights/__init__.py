"""Weights in and out: encoders of others, the authors' checkpoints, and files of our own."""

from mmadfer_jax.weights.initial import fit_config, initial_params, load_encoders
from mmadfer_jax.weights.model_files import load_checkpoint_file, save_model

__all__ = ["fit_config", "initial_params", "load_checkpoint_file", "load_encoders", "save_model"]
