"""Probes that run inside a server's container. Standard library only, and one function of
Kaon that has no more, so that a probe costs milliseconds.

`probe golden`: recorded inputs through the running server must give the recorded answers (startup probe). A server that
answers differently is stopped, and the reason left as the container's termination message, where the operator reads it.
`probe torchserve MODEL`: a worker of the model is READY (readiness probe).
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from kaon_jobs.measure.agreement import ranking_difference

GOLDEN_FILE = Path("/models/golden.json")
TERMINATION_LOG = Path("/dev/termination-log")
MANAGEMENT = "http://127.0.0.1:8081"
TIMEOUT_SECONDS = 20


class NotYet(Exception):
    """The server does not answer yet; ask again."""


class Refused(NotYet):
    """The server answers with an error: it is not ready, or cannot take this input."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Mismatch(Exception):
    """The server answers, and wrongly; asking again changes nothing."""


def golden(file: Path) -> int:
    """Compare every recorded answer with the running server's.

    Returns: how many agree.

    Raises:
        Mismatch: an answer differs in its label or, beyond the tolerance, in a number; or the server answers some of
            the inputs and refuses another.
        NotYet: the server does not answer.
    """
    recorded = json.loads(file.read_text(encoding="utf-8"))
    total = len(recorded["examples"])
    refused: list[tuple[str, dict[str, Any], Refused]] = []
    for number, example in enumerate(recorded["examples"], start=1):
        which = f"recorded answer {number} of {total}"
        try:
            _compare(which, example, recorded)
        except Refused as reason:
            refused.append((which, example, reason))
    if len(refused) == total:
        raise refused[0][2]
    # The server is there now: it answered another one.
    for which, example, _ in refused:
        try:
            _compare(which, example, recorded)
        except Refused as reason:
            # What the server says may repeat the input, which is somebody's data.
            print(reason, file=sys.stderr)
            raise Mismatch(
                f"{which}, {_described(example)}, gets status {reason.status} while others are answered. The "
                "server's log says why"
            ) from reason
    return total


def _described(example: dict[str, Any]) -> str:
    if example.get("image") is not None:
        return f"an image of {len(example['image'])} characters in base64"
    text = example.get("text")
    return f"a row of {len(example['row'])} values" if text is None else f"a text of {len(text)} characters"


def _predict(example: dict[str, Any], recorded: dict[str, Any]) -> dict[str, list[Any]]:
    """The outputs of the server, by name."""
    single = example.get("text") if example.get("image") is None else example["image"]
    values = example["row"] if single is None else [single]
    tensors = []
    for item, value in zip(recorded["inputs"], values, strict=True):
        # A missing number is left out; a missing string is an empty one, so that some input is always there.
        if value is None and item["datatype"] != "BYTES":
            continue
        data = (value or [""]) if isinstance(value, list) else ["" if value is None else value]
        tensor = {"name": item["name"], "shape": [1, len(data)], "datatype": item["datatype"], "data": data}
        tensors.append(tensor)
    # By its id the server knows the probe, and does not count the answer.
    body = json.dumps({"id": recorded["id"], "inputs": tensors}).encode()
    request = urllib.request.Request(recorded["url"], body, {"content-type": "application/json"})
    return {item["name"]: item["data"] for item in _fetch(request)["outputs"]}


def _compare(which: str, example: dict[str, Any], recorded: dict[str, Any]) -> None:
    outputs = _predict(example, recorded)
    if example.get("items") is not None:
        _compare_ranking(which, example, outputs, recorded["tolerance"])
        return
    what = "probability" if recorded["labels"] else "prediction"
    answer = outputs["probabilities" if recorded["labels"] else "prediction"]
    expected, tolerance = example["answer"], recorded["tolerance"]
    if len(answer) != len(expected):
        raise Mismatch(f"{which} has {len(expected)} classes, the server answers with {len(answer)}")
    distance = max(abs(ours - theirs) for ours, theirs in zip(answer, expected, strict=True))
    if not distance <= tolerance:
        raise Mismatch(f"{which} differs by {distance:.3g} in a {what}, more than the tolerance of {tolerance}")
    if not recorded["labels"]:
        return
    label = outputs["label"][0]
    if label != example["label"] and not _tied(example, label, recorded):
        raise Mismatch(f"{which} is {example['label']!r}, the server says {label!r}")


def _compare_ranking(which: str, example: dict[str, Any], outputs: dict[str, list[Any]], tolerance: float) -> None:
    answered = (outputs["items"], outputs["scores"])
    distance = ranking_difference(*answered, example["items"], example["answer"], tolerance)
    if distance == math.inf:
        raise Mismatch(f"{which} ranks other items first than the server")
    if not distance <= tolerance:
        raise Mismatch(f"{which} differs by {distance:.3g} in a score, more than the tolerance of {tolerance:.3g}")


def _tied(example: dict[str, Any], label: str, recorded: dict[str, Any]) -> bool:
    # Two classes within the tolerance of each other may change places without anything being wrong.
    if label not in recorded["labels"]:
        return False
    best, other = (example["answer"][recorded["labels"].index(name)] for name in (example["label"], label))
    return bool(best - other <= 2 * recorded["tolerance"])


def torchserve(model: str) -> None:
    """Raises NotYet unless a worker of `model` is READY. TorchServe's own /ping is healthy long before, and after."""
    described = _fetch(urllib.request.Request(f"{MANAGEMENT}/models/{model}"))
    if not any(worker["status"] == "READY" for version in described for worker in version["workers"]):
        raise NotYet(f"no worker of {model} is READY")


def _fetch(request: urllib.request.Request) -> Any:
    # No proxy: the server is this very container's.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=TIMEOUT_SECONDS) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        told = error.read(500).decode(errors="replace")
        raise Refused(f"{request.full_url}: {error} {told}".strip(), error.code) from error
    except (OSError, ValueError) as error:
        raise NotYet(f"{request.full_url}: {error}") from error


def stop_server(message: str) -> None:
    """Leave the reason where the operator reads it, and end the container: process 1 is the server."""
    TERMINATION_LOG.write_text(message, encoding="utf-8")
    os.kill(1, signal.SIGTERM)


def main(arguments: list[str]) -> int:
    """The command: 0 for yes, 1 for not (yet)."""
    try:
        match arguments:
            case ["golden"]:
                print(f"{golden(GOLDEN_FILE)} recorded answers agree")
            case ["torchserve", model]:
                torchserve(model)
            case _:
                print("usage: probe golden | probe torchserve MODEL", file=sys.stderr)
                return 2
    except NotYet as reason:
        print(reason, file=sys.stderr)
        return 1
    except Mismatch as reason:
        message = f"GoldenMismatch: {reason}"
        print(message, file=sys.stderr)
        stop_server(message)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
