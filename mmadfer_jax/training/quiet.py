"""Keeps what Orbax and TensorStore print off the terminal.

What matters of it reaches `Checkpoints` as an exception, and a user as one line. Beside that, they
warn of every option, and a damaged checkpoint makes them print a traceback an array: the reads that
were under way report to an event loop that the first failure has closed.
"""

import functools
import logging
import sys
import warnings

_CLOSED = "Event loop is closed"


@functools.cache
def hush_orbax() -> None:
    """Does so from now on, for this process; what is not theirs is printed as before."""
    logging.getLogger("absl").addFilter(lambda record: "orbax" not in record.pathname)
    logging.getLogger("asyncio").addFilter(lambda record: not _is_tensorstores(record))
    never = r"coroutine 'Store\._get_array_metadatas' was never awaited"
    warnings.filterwarnings("ignore", never, RuntimeWarning)
    before = sys.unraisablehook

    def hook(unraisable: "sys.UnraisableHookArgs") -> None:
        if not _is_of_a_failed_read(unraisable):
            before(unraisable)

    sys.unraisablehook = hook


def _is_of_a_failed_read(unraisable: "sys.UnraisableHookArgs") -> bool:
    """Whether it comes from a thread of TensorStore's, or from a coroutine Orbax gave up."""
    if unraisable.object is None:
        return str(unraisable.exc_value) == _CLOSED
    code = getattr(unraisable.object, "cr_code", None)
    return code is not None and "orbax" in code.co_filename


def _is_tensorstores(record: logging.LogRecord) -> bool:
    """Whether it is a failed read that nobody waits for any more."""
    error = record.exc_info[1] if record.exc_info else None
    return isinstance(error, ValueError) and "tensorstore_spec" in str(error)
