"""Turns whatever a library raises over a user's files into a refusal with a cause. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kaon_jobs.errors import StageFailure, is_panic


@contextmanager
def refusing(refusal: Callable[[str], StageFailure]) -> Iterator[None]:
    """Within it every error becomes `refusal(cause)`.

    The libraries raise what their many formats and architectures do: OSError, KeyError, RuntimeError, errors of Rust …
    Only a lack of memory and an end of the process stay what they are.
    """
    try:
        yield
    except (StageFailure, MemoryError):
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        raise refusal(first_line(error)) from error


def first_line(error: BaseException, limit: int = 400) -> str:
    """The first line of what an error says, without the stop at its end; its class where that says nothing.

    A panic of Rust code repeats the text in which it happened, which is somebody's data: nothing of it is told.
    """
    if is_panic(error):
        return "the library's own code fails (a panic)"
    text = " ".join(str(error).strip().split("\n", 1)[0].split())[:limit].rstrip(" .:")
    named = type(error).__name__
    return text if len(text) > 12 else f"{named} {text}".strip()
