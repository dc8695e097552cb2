"""The one exception for what a user can put right, and how commands show it."""

import functools
import sys
from collections.abc import Callable


class UserError(Exception):
    """Bad input: the message says what was found, what was expected and what to do."""


def exit_on_user_error(command: Callable[..., None]) -> Callable[..., None]:
    """Wraps a command so that a `UserError` or a full disk prints one line and exits with 1.

    Any other exception is a bug and keeps its traceback.
    """

    @functools.wraps(command)
    def wrapped(*args, **kwargs):
        try:
            return command(*args, **kwargs)
        except UserError as error:
            sys.exit(f"error: {error}")
        except OSError as error:
            if error.errno is None:
                raise
            name = f": {error.filename}" if error.filename else ""
            sys.exit(f"error: {error.strerror}{name}")
        except KeyboardInterrupt:
            sys.exit("interrupted")

    return wrapped
