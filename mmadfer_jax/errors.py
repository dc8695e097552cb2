"""The one exception for what a user can put right, and how commands show it."""

import contextlib
import errno
import functools
import sys
from collections.abc import Callable, Iterator

# What a user can put right about a disk or its rights; all else is a bug and keeps its traceback.
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


class UserError(Exception):
    """Bad input: the message says what was found, what was expected and what to do."""


@contextlib.contextmanager
def out_of_memory_says(advice: str) -> Iterator[None]:
    """Turns an error of a device or machine without memory left into advice.

    Args:
        advice: Which setting to lower.

    Raises:
        UserError: Memory ran out in the block.
    """
    try:
        yield
    except MemoryError as error:
        raise UserError(f"out of memory: {advice}") from error
    except Exception as error:  # jax's error is not imported here
        if type(error).__name__ != "JaxRuntimeError" or "RESOURCE_EXHAUSTED" not in str(error):
            raise
        first = str(error).splitlines()[0]
        raise UserError(f"out of memory: {advice} ({first})") from error


def describe(error: BaseException) -> str | None:
    """What to tell a user of an error: one line; None where it is a bug."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
        name = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{name}"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, SystemExit) and isinstance(error.code, str):
        return error.code.removeprefix("error: ")
    return None


def exit_on_user_error(command: Callable[..., None]) -> Callable[..., None]:
    """Wraps a command so that a `UserError` or a full disk prints one line and exits with 1.

    Any other exception is a bug and keeps its traceback.
    """

    @functools.wraps(command)
    def wrapped(*args, **kwargs):
        try:
            return command(*args, **kwargs)
        except KeyboardInterrupt:
            sys.exit("interrupted")
        except Exception as error:
            if (text := describe(error)) is None:
                raise
            sys.exit(f"error: {text}")

    return wrapped
