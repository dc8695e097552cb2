"""A page to try a model on one's own clips: `python -m mmadfer_jax.serve --checkpoint=MODEL`."""

import argparse
import importlib.util
import ipaddress
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path

from mmadfer_jax import files
from mmadfer_jax.errors import UserError, exit_on_user_error
from mmadfer_jax.models.config import DTYPES
from mmadfer_jax.serving.limits import Limits
from mmadfer_jax.serving.results import Results
from mmadfer_jax.trained import TrainedModel, load_model

_LOCAL_NAMES = ["localhost", "127.0.0.1"]


@exit_on_user_error
def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m mmadfer_jax.serve", description=__doc__)
    add = parser.add_argument
    add("--checkpoint", required=True, type=files.as_path, help="a run's --workdir, or a file")
    add("--host", default="127.0.0.1", help="address that is listened on (127.0.0.1, this machine)")
    add("--port", type=int, default=7860, help="0 takes a free one (7860)")
    add("--max_megabytes", type=float, default=500, help="of a clip (500)")
    add("--max_seconds", type=float, default=600, help="of a clip (600)")
    add("--keep_minutes", type=float, default=60, help="answers are kept so long (60)")
    add("--dtype", choices=DTYPES, help="in which the model multiplies (as it was trained)")
    add("--face_model", metavar="ONNX", help="YuNet's file, if prepared with it")
    flags = parser.parse_args()
    if importlib.util.find_spec("gradio") is None:
        raise UserError(
            "the page needs Gradio, which is not installed; `pip install -r requirements-app.txt`"
        )
    if min(flags.max_megabytes, flags.max_seconds, flags.keep_minutes) <= 0:
        raise UserError("--max_megabytes, --max_seconds and --keep_minutes must be above 0")
    with _listening(flags.host, flags.port) as listener:
        model = load_model(flags.checkpoint, flags.face_model, dtype=flags.dtype)
        _ = model.classes, model.preparation  # what is lacking is told now
        for note in model.notes + model.card.notes:
            print(f"note: {note}", file=sys.stderr)
        with tempfile.TemporaryDirectory(prefix="mmadfer_page_") as folder:
            _serve(model, flags, listener, Path(folder))


def _serve(
    model: TrainedModel, flags: argparse.Namespace, listener: socket.socket, folder: Path
) -> None:
    # Gradio reads them when it is imported: no reports to its makers, uploads into our folder.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploads")
    import uvicorn

    from mmadfer_jax.serving.app import make_app

    kept = folder / "results"
    kept.mkdir()
    local = _is_local(flags.host)
    app = make_app(
        model,
        Results(kept, 60 * flags.keep_minutes),
        Limits(megabytes=flags.max_megabytes, seconds=flags.max_seconds),
        _LOCAL_NAMES if local else None,
    )
    if not local:
        print("note: whoever reaches this address can use the page", file=sys.stderr)
    port = listener.getsockname()[1]
    print(f"open http://{flags.host}:{port} (Ctrl-C ends it)", flush=True)
    # The server ends well and then sends the signal again; so the folder is deleted.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2)
    uvicorn.Server(config).run(sockets=[listener])


def _listening(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise UserError(f"--port={port}; expected 0 to 65535")
    try:
        return socket.create_server((host, port))
    except OSError as error:
        raise UserError(f"cannot listen on {host}, port {port}: {error}; take another") from error


def _is_local(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


if __name__ == "__main__":
    main()
