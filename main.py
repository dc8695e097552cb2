"""Trains or evaluates: `python main.py --config=FILE --workdir=DIR [--mode=evaluate]`."""

import sys

from absl import app, flags
from ml_collections import config_flags

from mmadfer_jax import config_flag
from mmadfer_jax.errors import UserError, exit_on_user_error

_CONFIG = config_flags.DEFINE_config_file("config", None, "Settings: a file of configs/.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Where checkpoints, events and the report go.")
_MODE = flags.DEFINE_enum("mode", "train", ("train", "evaluate"), "What to do.")
_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "HOST:PORT of process 0, where several processes train together."
)
_PROCESSES = flags.DEFINE_integer("processes", None, "How many processes there are.")
_PROCESS = flags.DEFINE_integer("process", None, "Which process this is, from 0.")
_TIMEOUT = flags.DEFINE_float(
    "timeout", 1800, "Seconds without progress after which several processes give up.", 1
)
flags.mark_flags_as_required(("config", "workdir"))


@exit_on_user_error
def main(argv: list[str]) -> None:
    """Runs the mode; the imports that take seconds come after the flags have been checked."""
    if len(argv) > 1:
        known = "--config, --workdir, --mode, --coordinator, --processes, --process, --timeout"
        raise UserError(f"unexpected arguments {argv[1:]}; flags are {known}")
    from mmadfer_jax.training import host_memory

    if not host_memory.may_compute_elsewhere():
        host_memory.keep_freed()
    import jax
    from absl import logging

    from mmadfer_jax.training import processes

    logging.set_verbosity(logging.WARNING)  # Orbax tells every file it touches
    if cache := _CONFIG.value.get("compilation_cache"):
        jax.config.update("jax_compilation_cache_dir", cache)  # before anything is compiled
    where = (_COORDINATOR.value, _PROCESSES.value, _PROCESS.value)
    with processes.joined(*where, patience=_TIMEOUT.value):
        preempted = _run()
    if preempted:
        sys.exit(processes.PREEMPTED)


def _run() -> bool:
    """Trains or evaluates; whether it had to stop before the end."""
    from mmadfer_jax.evaluation.report import summary
    from mmadfer_jax.training import processes

    if _MODE.value == "train":
        from mmadfer_jax.train import train as run
    else:
        from mmadfer_jax.evaluate import evaluate_run as run
    try:
        results = run(_CONFIG.value, _WORKDIR.value)
    except processes.PreemptedError as preempted:
        print(f"stopped: {preempted}", file=sys.stderr)
        return True
    if processes.is_primary():
        print(summary(results))
        print(f"report: {_WORKDIR.value}/report")
    return False


def _parse(argv: list[str]) -> list[str]:
    """Parses the flags; whatever is wrong with them is one line, not a traceback."""
    try:
        rest = flags.FLAGS(argv)
        _CONFIG.value.seed  # noqa: B018  a file that could not be loaded complains when it is read
    except config_flag.ERRORS as error:
        sys.exit(f"error: {config_flag.complaint(error)}")
    return rest


if __name__ == "__main__":
    app.run(main, flags_parser=_parse)
