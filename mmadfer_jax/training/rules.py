"""Rules over parameter paths, of which the first that matches decides: freezing and sharding."""

import re
from collections.abc import Iterable, Sequence
from typing import TypeVar

from mmadfer_jax.errors import UserError

T = TypeVar("T")


def first_match(paths: Iterable[str], rules: Sequence[tuple[str, T]], name: str) -> dict[str, T]:
    """What the first rule whose pattern fully matches says of each path.

    Args:
        paths: Parameter paths.
        rules: (regular expression, what it says).
        name: Of the rules, in errors, such as "config.freeze".

    Raises:
        UserError: A pattern is no regular expression, a path matches no rule, or a rule other than
            a closing ".*" decides nothing.
    """
    compiled = []
    for pattern, value in rules:
        try:
            compiled.append((re.compile(pattern), value))
        except re.error as error:
            raise UserError(f"{name}: {pattern!r} is not a regular expression: {error}") from None
    decided, used = {}, set()
    for path in paths:
        match = next(
            (i for i, (pattern, _) in enumerate(compiled) if pattern.fullmatch(path)), None
        )
        if match is None:
            raise UserError(
                f"no rule of {name} speaks of parameter {path}; end the rules with '.*'"
            )
        decided[path] = compiled[match][1]
        used.add(match)
    idle = [p for i, (p, _) in enumerate(rules) if i not in used and p != ".*"]
    if idle:
        raise UserError(f"rules of {name} decide no parameter: {idle}; mend or delete them")
    return decided
