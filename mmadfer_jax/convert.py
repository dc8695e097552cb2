"""Turns a weights file of others into one of ours: `python -m mmadfer_jax.convert FILE --out=...`.

Takes MAE-Face, AudioMAE, AST, ViT (timm, Hugging Face, JAX) and released MMA-DFER checkpoints,
recognised by their keys, and says what the file is. What comes out loads without torch, in
`config.image_weights`, `config.audio_weights`, or, a whole model, in `mmadfer_jax.load_model`.
"""

import argparse
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmadfer_jax.clips.frames import FRAME_ORDERS
from mmadfer_jax.clips.reading import MISSING_SOUND
from mmadfer_jax.errors import UserError, exit_on_user_error
from mmadfer_jax.weights.files import TensorFile, read_tensors, write_safetensors
from mmadfer_jax.weights.initial import encoder_from_file
from mmadfer_jax.weights.mma_dfer import is_mma_dfer
from mmadfer_jax.weights.model_files import check_target, model_from_file, save_model


def convert(
    path: Path,
    out: Path,
    *,
    sha256: str | None = None,
    classes: Sequence[str] | None = None,
    frame_order: str | None = None,
    missing_sound: str | None = None,
) -> dict[str, Any]:
    """Converts a file, whole model or encoder.

    Args:
        path: The file to read, of any known format.
        out: The file to write, which ends in ".safetensors".
        sha256: What the SHA-256 of `path` has to be; any, where None.
        classes: Class names of a whole model, where the file does not hold them.
        frame_order: In which a whole model saw frames, where that is not "time".
        missing_sound: What a clip without sound was to a whole model, where that is not "zeros".

    Returns:
        What the file is, as JSON takes it.

    Raises:
        UserError: For a file that is damaged, unknown, not whole, or a bad target.
    """
    check_target(out, "own")
    card = {
        "classes": classes and tuple(classes),
        "frame_order": frame_order,
        "missing_sound": missing_sound,
    }
    said = {name: value for name, value in card.items() if value is not None}
    file = read_tensors(path, sha256)
    if is_mma_dfer(file):
        return _convert_model(file, out, said)
    if said:
        raise UserError(f"{path} is no whole model; --{next(iter(said))} is for those")
    encoder = encoder_from_file(file)
    source = {"file": path.name, "sha256": file.sha256}
    heads = encoder.heads if encoder.heads_known else 0
    own = {"content": "encoder", "kind": encoder.kind.name, "heads": heads}
    write_safetensors(out, encoder.params, {**own, "source": source})
    side = encoder.kind.side
    return {
        **source,
        **encoder.describe(),
        "use": f"config.{side}_weights",
        "suggested": {f"model.{side}.{name}": x for name, x in encoder.config().items()},
    }


def _convert_model(file: TensorFile, out: Path, said: Mapping[str, Any]) -> dict[str, Any]:
    found = model_from_file(file)
    card = dataclasses.replace(found.card, **said)
    save_model(out, found.params, card, layout="own", leftovers=found.leftovers)
    return {
        "file": file.path.name,
        "sha256": file.sha256,
        "title": found.title,
        "num_classes": card.model.num_classes,
        "classes": card.classes and list(card.classes),
        "frame_order": card.frame_order,
        "missing_sound": card.missing_sound,
        "image_size": card.model.image_size,
        "num_frames": card.model.num_frames,
        "temporal_depth": card.model.temporal_depth,
        "use": f'mmadfer_jax.load_model("{out}")',
        "notes": list(card.notes),
    }


@exit_on_user_error
def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m mmadfer_jax.convert", description=__doc__)
    parser.add_argument("file", type=Path, help="weights of any known format")
    parser.add_argument("--out", required=True, type=Path, help="the .safetensors file to write")
    parser.add_argument("--sha256", help="what the SHA-256 of FILE has to be")
    parser.add_argument("--classes", help="class names of a whole model, in order, by commas")
    of_model = "of a whole model, where its file does not say it"
    parser.add_argument("--frame_order", choices=FRAME_ORDERS, help=of_model)
    parser.add_argument("--missing_sound", choices=MISSING_SOUND, help=of_model)
    arguments = parser.parse_args()
    classes = arguments.classes and [name.strip() for name in arguments.classes.split(",")]
    found = convert(
        arguments.file,
        arguments.out,
        sha256=arguments.sha256,
        classes=classes,
        frame_order=arguments.frame_order,
        missing_sound=arguments.missing_sound,
    )
    width = max(map(len, found))
    for name, value in found.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        print(f"{name:<{width}}  {text}")
    print(f"{'written':<{width}}  {arguments.out}")


if __name__ == "__main__":
    main()
