"""The operator as a process beside a simulation, with its default flags, and what its metrics say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from knownkeys import root_key_file

from simulation.programs import Program, fetch, free_port

STORE = "s3://kaon/artifacts"


class KaonOperator:
    """A running operator."""

    def __init__(self, program: Program, metrics_port: int) -> None:
        self.program = program
        self._url = f"http://127.0.0.1:{metrics_port}/metrics"

    @property
    def pid(self) -> int:
        """Its process."""
        return self.program.pid

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that carry these labels; 0 while it does not answer."""
        total = 0.0
        for found, told, value in re.findall(r"^(\w+)(?:\{(.*)\})? (\S+)$", fetch(self._url)[1], re.MULTILINE):
            if found == name and all(f'{key}="{wanted}"' in told for key, wanted in labels.items()):
                total += float(value)
        return total


@contextmanager
def started(kubeconfig: Path, log: Path, *flags: str) -> Iterator[KaonOperator]:
    """An operator from its start on; it may not be ready yet."""
    health, metrics = free_port(), free_port()
    ports = ["--health-port", str(health), "--metrics-port", str(metrics)]
    key = ["--root-key-file", str(root_key_file(log.parent))]
    told = ["--storage-uri", STORE, "--lease-namespace", "default", *key, *ports, *flags]
    with Program.python("kaon.engine.main", *told, log=log, env={"KUBECONFIG": str(kubeconfig)}) as program:
        yield KaonOperator(program, metrics)


@contextmanager
def leading(kubeconfig: Path, log: Path, *flags: str) -> Iterator[KaonOperator]:
    """An operator that is ready and leads."""
    with started(kubeconfig, log, *flags) as operator:
        operator.program.wait_until(lambda: operator.metric("kaon_leader") == 1, "the leader")
        yield operator
