"""`make demo`: real news, a real model, a real cluster. Steps with times; a failing one says why and where to look.

.venv-demo/bin/python hack/demo [--cluster NAME] [--namespace NAME] [--timeout MINUTES]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "hack"), str(ROOT / "hack" / "localcluster")]

from images import ImageError  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.text import Text  # noqa: E402

from demo import data, steps  # noqa: E402
from kaon.cli import ask, compare  # noqa: E402
from kaon.cli.cluster import connect  # noqa: E402
from kaon.cli.errors import EXIT_READY, CliError  # noqa: E402
from kaon.cli.figures import duration  # noqa: E402
from kaon.cli.main import show_comparison, show_prediction  # noqa: E402
from localcluster import Cluster, LocalClusterError, paths  # noqa: E402

T = TypeVar("T")
DEFAULT_CLUSTER = "kaon"
EXAMPLE = ROOT / "examples" / "r8"
SENTENCE = "the company said its board declared a quarterly dividend of 25 cents per share payable in july"


class Demo:
    """Runs steps one after the other and says how long each took."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.began = time.monotonic()

    def step(self, title: str, work: Callable[[], T]) -> T:
        """One step, with its time; an error of it is left to `main`."""
        began = time.monotonic()
        self.console.print(Text(f"\n==> {title}", style="bold"))
        try:
            result = work()
        except BaseException:
            self.console.print(Text(f"    failed after {duration(time.monotonic() - began)}", style="red"))
            raise
        self.console.print(Text(f"    done in {duration(time.monotonic() - began)}", style="dim"))
        return result

    def say(self, text: str) -> None:
        """A line below the title of a step."""
        self.console.print(Text(f"    {text}"), soft_wrap=True)


def run(demo: Demo, cluster_name: str, namespace: str, timeout: float) -> int:
    """The whole demo; its exit code."""
    real = demo.step("Real data: Reuters R8 and MiniLM-L6, by hash", lambda: data.fetch(paths.cache_root()))
    demo.say(f"{data.R8_ROWS['train']:,} news to train on, {data.R8_ROWS['test']:,} to test on, in {real.folder}")
    cluster = demo.step("A Kubernetes node", lambda: steps.bring_up(cluster_name, demo.say))
    found = demo.step("Images", lambda: steps.build_images(cluster, demo.say))
    demo.step("Kaon, by its Helm chart", lambda: steps.install(cluster, found, [namespace]))
    new, there = demo.step("Data and weights into the store", lambda: steps.upload(cluster, namespace, real.uploads()))
    demo.say(f"{new} files uploaded, {there} were there")
    applied = demo.step("kubectl apply -f examples/r8", lambda: steps.apply(cluster, namespace, EXAMPLE))
    demo.say(", ".join(applied))
    code = demo.step("The pipeline", lambda: steps.watch(cluster, namespace, len(applied), timeout, demo.console))
    if code != EXIT_READY:
        demo.console.print(Text(f"The pipeline did not get ready (exit code {code}); see above.", style="red"))
        how_to_look(demo.console, cluster, namespace, None)
        return code
    demo.step("What came out", lambda: show(demo, cluster, namespace))
    demo.console.print(Text(f"\nThe demo took {duration(time.monotonic() - demo.began)}.", style="bold green"))
    return 0


def show(demo: Demo, cluster: Cluster, namespace: str) -> None:
    """Trained beside compressed, an answer to a raw sentence, and where to look further."""
    connection = connect(str(cluster.kubeconfig))
    for job in connection.list("CompressionJob", namespace)[0]:
        run = connection.get("TrainingRun", namespace, job["spec"]["modelRef"]["name"])
        show_comparison(demo.console, compare.compare({**run, "kind": "TrainingRun"}, job))
    deployments = [item["metadata"]["name"] for item in connection.list("ModelDeployment", namespace)[0]]
    for name in deployments:
        demo.console.print(Text(f"\n{name}, what is this about: {json.dumps(SENTENCE)}"), soft_wrap=True)
        show_prediction(demo.console, ask.ask(connection, namespace, name, SENTENCE))
    how_to_look(demo.console, cluster, namespace, deployments[0] if deployments else None)


def how_to_look(console: Console, cluster: Cluster, namespace: str, deployment: str | None) -> None:
    """The commands to go on with."""
    tools = [cluster.tool("kubectl").parent, cluster.tool("helm").parent, ROOT / ".venv-demo" / "bin"]
    lines = [
        f"export KUBECONFIG={cluster.kubeconfig}",
        f"export PATH={':'.join(str(folder) for folder in tools)}:$PATH",
        f"kubectl -n {namespace} get kaon",
        f"kaon watch -n {namespace}",
        f"kubectl -n {namespace} get pods,jobs,reports",
        f"kubectl -n {steps.SYSTEM_NAMESPACE} logs deploy/{steps.OPERATOR}",
    ]
    if deployment:
        lines.append(f'kaon ask -n {namespace} {deployment} "oil prices rose after opec cut its output"')
    lines.append("make demo-down" if cluster.name == DEFAULT_CLUSTER else f"make demo-down CLUSTER={cluster.name}")
    console.print(Text("\nLook further:", style="bold"))
    for line in lines:
        console.print(Text(f"  {line}"), soft_wrap=True)


def main() -> int:
    """The command; a failing step ends it with the cause."""
    parser = argparse.ArgumentParser(description="From a fresh clone to a served, compressed model.")
    parser.add_argument("--cluster", default=DEFAULT_CLUSTER, help="name of the local cluster (default: kaon)")
    parser.add_argument("--namespace", default="kaon-demo", help="where the pipeline runs (default: kaon-demo)")
    parser.add_argument("--timeout", type=float, default=60, help="minutes the pipeline may take (default: 60)")
    options = parser.parse_args()
    console = Console(highlight=False)
    try:
        return run(Demo(console), options.cluster, options.namespace, options.timeout * 60)
    except (LocalClusterError, ImageError, data.DataError, steps.StepError, CliError) as error:
        console.print(Text(f"\n{error}", style="red"), soft_wrap=True)
        look = [error.hint] if isinstance(error, CliError) and error.hint else []
        look += error.look if isinstance(error, steps.StepError) else []
        logs = paths.layout(options.cluster).logs
        look += [f"the cluster's logs: {logs}"] if logs.exists() else []
        look.append("docs/troubleshooting.md. What is done stays: make demo goes on from here.")
        for line in look:
            console.print(Text(f"  {line}"), soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("\nInterrupted. What is done stays: make demo goes on from here, make demo-down removes it.")
        return 130


if __name__ == "__main__":
    sys.exit(main())
