"""Errors a user can act on. Everything else is a bug and keeps its traceback."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every command."""

    OK = 0
    CHECK_FAILED = 1
    USAGE = 2
    JOBS_FAILED = 3
    MISSING_INPUT = 4
    INTERRUPTED = 130


class UserError(Exception):
    """One clear line: what is wrong and where (`message`), and what to do (`hint`)."""

    exit_code: Exit = Exit.USAGE

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class MissingInput(UserError):
    """Data or weights that a recipe needs are not on this machine."""

    exit_code = Exit.MISSING_INPUT


class StorageError(UserError):
    """A record, a shard or a rendered file could not be written or read back."""

    exit_code = Exit.JOBS_FAILED


def nearest(name: object, known: Iterable[object]) -> str:
    """`", did you mean 'x'?"` for the known name closest to `name`, or an empty string."""
    close = get_close_matches(str(name).lower(), [str(k) for k in known], n=1, cutoff=0.5)
    return f", did you mean '{close[0]}'?" if close else ""


def unknown(kind: str, name: object, known: Iterable[object]) -> UserError:
    """The error for a name that is not one of `known`."""
    names = [str(k) for k in known]
    hint = f"known: {', '.join(names)}" if names else ""
    return UserError(f"unknown {kind} '{name}'{nearest(name, names)}", hint)
