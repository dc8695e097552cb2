"""Takes a trained model out: `python -m mmadfer_jax.export --checkpoint=WORKDIR --out=model.pth`.

By default with the tensor names of the authors' released checkpoints, so that their program loads
it strictly; `--layout=own` writes our own, which every model has.
"""

import argparse
from pathlib import Path

import jax

from mmadfer_jax.errors import UserError, exit_on_user_error
from mmadfer_jax.training.checkpoints import Checkpoints
from mmadfer_jax.training.provenance import Provenance
from mmadfer_jax.training.setup import ModelSetup
from mmadfer_jax.weights.model_files import check_target, load_checkpoint_file, save_model


def export(checkpoint: Path, out: Path, layout: str = "authors") -> None:
    """Writes the newest checkpoint of a run, or a model file, to another file.

    Args:
      checkpoint: the work directory of a training run, a released checkpoint, or a file of ours.
      out: ends in ".pth" or ".safetensors"; the latter alone in our own layout.
      layout: "authors" or "own".

    Raises:
      UserError: for a bad target, no checkpoint, or a model that the authors' program cannot
        compute.
    """
    check_target(out, layout)
    if checkpoint.is_dir():
        _export_run(checkpoint, out, layout)
        return
    if not checkpoint.is_file():
        raise UserError(f"no such file or directory: {checkpoint}")
    params, config, info = load_checkpoint_file(checkpoint)
    save_model(
        out,
        params,
        config,
        layout=layout,
        classes=info.classes,
        preparation=info.preparation,
        sources=info.sources,
        leftovers=info.leftovers or None,
    )


def _export_run(workdir: Path, out: Path, layout: str) -> None:
    checkpoints = Checkpoints(workdir)
    try:
        provenance = Provenance.from_dict(checkpoints.metadata())
        # Frozen weights are kept in the compute type; exported they are what they were.
        config = provenance.config
        config = {**config, "model": {**config["model"], "dtype": "float32"}}
        setup = ModelSetup(config, devices=jax.local_devices()[:1])
        check_target(out, layout, setup.model)
        params = setup.restore(checkpoints, provenance)
    finally:
        checkpoints.close()
    save_model(
        out,
        params,
        setup.model,
        layout=layout,
        classes=provenance.classes,
        preparation=provenance.preparation,
        sources=provenance.sources,
    )


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
