"""How a stage ends badly: with a reason for programs, a message for people, and whether another try can help."""

from __future__ import annotations


class StageFailure(Exception):
    """A failure whose cause is understood.

    `reason` is CamelCase and becomes the resource's condition reason. `message` says the cause and the way out, and
    never holds a secret. `retriable` False means that the input is wrong: the pod exits with 64 and is not run again.
    """

    def __init__(self, reason: str, message: str, *, retriable: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retriable = retriable


class StoreAccessDenied(StageFailure):
    """The store knows us and refuses, or there is nothing to say who we are."""

    def __init__(self, message: str) -> None:
        super().__init__("StoreAccessDenied", message)


class StoreUnreachable(StageFailure):
    """The store does not answer, or answers with an error of its own."""

    def __init__(self, message: str) -> None:
        super().__init__("StoreUnreachable", message, retriable=True)


class ObjectNotFound(StageFailure):
    """Nothing lies under this URI. Callers that know what should lie there raise a better reason from it."""

    def __init__(self, message: str, reason: str = "ObjectNotFound") -> None:
        super().__init__(reason, message)


class ArtifactCorrupted(StageFailure):
    """Bytes in the store are not those that the manifest, or the digest asked for, names."""

    def __init__(self, message: str) -> None:
        super().__init__("ArtifactCorrupted", message)


class Terminated(BaseException):
    """SIGTERM came: whatever could be saved is saved, the process ends with 143.

    Like KeyboardInterrupt it is raised wherever the stage happens to be, and `except Exception` must not take it for a
    failure of what it interrupted.
    """


def is_panic(error: BaseException) -> bool:
    """Whether an error is a panic of a library's Rust code, which is no Exception."""
    return type(error).__name__ == "PanicException"


class TechniqueFailed(Exception):
    """A technique of compression cannot make a sound model of this one, and would fail again. The message says why.

    It ends a trial and not the stage.
    """
