"""The process of one run: `main.py`, which ends when the process that started it does.

    python -m mmadfer_jax.studies.child MAIN_PY --config=... --workdir=...

Its standard input is a pipe that the parent keeps open. A parent that is killed closes it; then the
run saves its state, as on SIGTERM, so that whoever takes the run over goes on from there, and no
run is trained by two processes.
"""

import os
import runpy
import signal
import sys
import threading
import time

_FAREWELL = 30.0  # seconds to save; well below those after which a run is taken over


def _end_with_parent() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_FAREWELL)
    os._exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.argv = sys.argv[1:]
    sys.path[0] = os.path.dirname(sys.argv[0])  # noqa: PTH120
    runpy.run_path(sys.argv[0], run_name="__main__")
