"""MMA-DFER in JAX: from a video with sound to one of seven (or eleven) expressions.

How a clip becomes a prediction: `clips` decodes the video, finds the faces, cuts them out and turns
the sound into a log-mel spectrogram; 16 frames are picked; `models` encodes frames and spectrogram
with two Vision Transformers that exchange a bottleneck after every layer, reads the fused frame
features in time with a temporal transformer and gives a logit for each class. `trained` holds a
trained model with its card. The verbs are modules of their own: `train`, `evaluate`, `predict`,
`timeline`, `convert`, `export`, `folds`, `study`, and more

    model = mmadfer_jax.load_model("runs/dfew_fold1")
    print(model.predict("clip.mp4").probabilities)
    model.timeline("interview.mp4").save("timelines/interview")
"""

__version__ = "0.1.0"
__all__ = ["load_model"]


def __getattr__(name: str):
    # `load_model` brings jax with it, which the workers that prepare data must not pay for.
    if name == "load_model":
        from mmadfer_jax.trained import load_model

        return load_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
