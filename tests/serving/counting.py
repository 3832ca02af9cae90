"""What a server says of how many answers had which class, beside the answers that came through its router."""

from __future__ import annotations

import json
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families
from serving.bodies import Request
from serving.run import Client, Expected, Target

from kaon.contract.answers import COUNTER, series_labels

ROUNDS = 5
SECONDS = 0.5
"""In which a counter that does not stand still changes."""
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def counted(host: str, port: int) -> dict[tuple[str, str], int]:
    """(model, label) -> answers, of every series that a server tells at its port for metrics."""
    with _DIRECT.open(f"http://{host}:{port}/metrics", timeout=10) as response:
        told = response.read().decode()
    return {
        (sample.labels["model"], sample.labels["label"]): int(sample.value)
        for family in text_string_to_metric_families(told)
        for sample in family.samples
        if sample.name == COUNTER
    }


def settled(host: str, port: int) -> dict[tuple[str, str], int]:
    """The same once it stands still: TorchServe's own process reads what the handler counts a moment later."""
    before = counted(host, port)
    while True:
        time.sleep(SECONDS)
        found = counted(host, port)
        if found == before:
            return found
        before = found


def unlike(target: Target, port: int, classes: list[str], expected: Expected) -> Iterator[str]:
    """In what the counter of a server on this machine is not the number of its answers: sends good requests."""
    before, client, seen = settled(target.host, port), Client(target), Counter[str]()
    labels = dict(zip(classes, series_labels(classes, []), strict=True))
    if before.keys() != {(target.model, label) for label in labels.values()}:
        yield f"series {sorted(before)} before, of the classes {classes}"
    for request in [*expected.good] * ROUNDS:
        answer = client.send(Request("counted", json.dumps(request).encode()))
        for output in answer.content["outputs"]:
            seen.update(output["data"] if output["name"] == "label" else [])
    client.close()
    sums = Counter({(target.model, labels[name]): seen[name] for name in classes})
    wanted = {key: count + sums[key] for key, count in before.items()}
    found = settled(target.host, port)
    if found != wanted:
        yield f"{found} are counted, {wanted} were answered"
    if len(classes) > 1 and len(seen) < 2:
        yield f"every answer is {set(seen)}: this shows nothing"
