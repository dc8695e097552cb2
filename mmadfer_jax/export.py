"""Takes a trained model out: `python -m mmadfer_jax.export --checkpoint=WORKDIR --out=model.pth`.

By default with the tensor names of the authors' released checkpoints, so that their program loads
it strictly; `--layout=own` writes our own, which every model has. The model's card lies beside the
tensors in either, so that the file answers as the run does.
"""

import argparse
from pathlib import Path

from mmadfer_jax.errors import exit_on_user_error
from mmadfer_jax.trained import load_model
from mmadfer_jax.weights.model_files import check_target, save_model


def export(checkpoint: str | Path, out: str | Path, layout: str = "authors") -> None:
    """Writes the newest checkpoint of a run, or a model file, to another file.

    Args:
        checkpoint: The work directory of a training run, a released checkpoint, or a file of ours.
        out: Ends in ".pth" or ".safetensors"; the latter alone in our own layout.
        layout: "authors" or "own".

    Raises:
        UserError: For a bad target, no model, or one that the authors' program cannot compute.
    """
    check_target(out, layout)
    model = load_model(checkpoint)
    save_model(out, model.params, model.card, layout=layout, leftovers=model.leftovers or None)


@exit_on_user_error
def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m mmadfer_jax.export", description=__doc__)
    parser.add_argument(
        "--checkpoint", required=True, type=Path, help="a run's --workdir, or a model file"
    )
    parser.add_argument("--out", required=True, type=Path, help=".pth or .safetensors")
    parser.add_argument(
        "--layout", default="authors", choices=("authors", "own"), help="names of the tensors"
    )
    arguments = parser.parse_args()
    export(arguments.checkpoint, arguments.out, arguments.layout)
    print(f"written {arguments.out} ({arguments.layout} layout)")


if __name__ == "__main__":
    main()
