"""The flags `--config=FILE` and `--config.NAME=VALUE`, beside whatever else a command takes."""

import re
from collections.abc import Sequence

from absl import flags
from ml_collections import ConfigDict, config_flags

from mmadfer_jax.errors import UserError

# What `ml_collections` raises for a file or a setting that is wrong.
ERRORS = (flags.Error, AttributeError, KeyError, OSError, SyntaxError, TypeError, ValueError)


def read_config(arguments: Sequence[str], default: str | None = None) -> ConfigDict:
    """Reads the config that a command line asks for.

    Args:
        arguments: Those that begin with `--config`, with values of their own; nothing else.
        default: The config's file where there is no `--config=FILE`.

    Raises:
        UserError: No file is named, it cannot be loaded, an override names no setting or has a
            value of another type, or there is some other argument.
    """
    arguments = list(arguments)
    if not any(re.match(r"--?config(=|$)", argument) for argument in arguments):
        if default is None:
            raise UserError("no config is given; give --config=FILE, such as configs/dfew.py")
        arguments.insert(0, f"--config={default}")
    values, argv = flags.FlagValues(), ["command", *arguments]
    holder = config_flags.DEFINE_config_file(
        "config", None, "Settings.", flag_values=values, sys_argv=argv
    )
    try:
        rest = values(argv)
        holder.value.seed  # noqa: B018  a file that could not be loaded complains when it is read
    except ERRORS as error:
        raise UserError(complaint(error)) from error
    if len(rest) > 1:
        raise UserError(f"unexpected arguments {rest[1:]}; --help lists what there is")
    return holder.value


def complaint(error: Exception) -> str:
    """What one of `ERRORS` means, in one line: raised by the flags, or by the config when read."""
    if isinstance(error, AttributeError | KeyError):
        name = str(error.args[0]).strip("\"'")
        return f"--config has no setting {name}; configs/default.py lists all"
    lines = str(error).strip().splitlines()
    if isinstance(error, OSError):
        return f"--config: {lines[-1].strip()}"
    return lines[0] if len(lines) == 1 else f"{lines[0]} {lines[-1].strip()}"
