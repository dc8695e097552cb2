"""What a trained model sees in clips: `python -m mmadfer_jax.predict CLIP --checkpoint=MODEL`."""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from mmadfer_jax.errors import UserError, exit_on_user_error
from mmadfer_jax.models.config import DTYPES
from mmadfer_jax.prediction import Prediction
from mmadfer_jax.trained import batch_size, load_model


def describe(prediction: Prediction) -> str:
    """A prediction in a few lines for the terminal."""
    width = max(map(len, prediction.probabilities))
    lines = [f"{prediction.clip}: {prediction.label}"]
    lines += [
        f"  {name:<{width}} {p:6.1%} {'#' * round(40 * p)}"
        for name, p in prediction.probabilities.items()
    ]
    return "\n".join(lines + [f"  note: {problem}" for problem in prediction.problems])


def to_json(prediction: Prediction) -> str:
    """A prediction as one line of JSON."""
    fields = {"label": prediction.label, **dataclasses.asdict(prediction)}
    return json.dumps(fields, ensure_ascii=False, allow_nan=False)


@exit_on_user_error
def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m mmadfer_jax.predict", description=__doc__)
    parser.add_argument("clip", nargs="+", type=Path, help="videos, or folders of face crops")
    parser.add_argument(
        "--checkpoint", required=True, type=Path, help="a run's --workdir, or a file"
    )
    parser.add_argument("--json", action="store_true", help="one line of JSON a clip")
    parser.add_argument("--batch", type=int, help="clips asked at once (1 on a CPU, else 16)")
    parser.add_argument(
        "--dtype", choices=DTYPES, help="in which the model multiplies (as it was trained)"
    )
    parser.add_argument("--face_model", metavar="ONNX", help="YuNet's file, if prepared with it")
    arguments = parser.parse_args()
    if not any(clip.exists() for clip in arguments.clip):
        raise UserError(f"no such file: {', '.join(map(str, arguments.clip))}")
    at_once = batch_size(arguments.batch)
    model = load_model(arguments.checkpoint, arguments.face_model, dtype=arguments.dtype)
    for note in model.notes + model.card.notes:
        print(f"note: {note}", file=sys.stderr)
    failed = 0
    for start in range(0, len(arguments.clip), at_once):
        clips = arguments.clip[start : start + at_once]
        for clip, found in zip(clips, model.predict(clips, batch=at_once), strict=True):
            if isinstance(found, UserError):  # the others are answered
                failed += 1
                if arguments.json:
                    error_line = {"clip": str(clip), "error": str(found)}
                    print(json.dumps(error_line, ensure_ascii=False), flush=True)
                print(f"error: {found}", file=sys.stderr)
            else:
                print(to_json(found) if arguments.json else describe(found), flush=True)
    if failed:
        sys.exit(f"{failed} of {len(arguments.clip)} clips could not be answered")


if __name__ == "__main__":
    main()
