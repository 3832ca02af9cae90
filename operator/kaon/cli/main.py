"""The `kaon` command line: arguments in, exit code out. Everything else is in the modules it calls.

Exit codes: 0 ready or done, 1 something is stuck, 2 not ready in time (or wrong usage), 3 an error on the way.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from kaon import __version__
from kaon.cli import ask as asking
from kaon.cli import compare as comparing
from kaon.cli import watch as watching
from kaon.cli.cluster import Cluster, connect
from kaon.cli.errors import EXIT_ERROR, CliError

app = typer.Typer(
    help="Looks at Kaon pipelines from outside. Needs a kubeconfig and read access, changes nothing.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

UNBOUNDED = 10_000
"""Columns of an output that is no terminal."""

Namespace = Annotated[str | None, typer.Option("-n", "--namespace", help="Default: the kubeconfig's namespace.")]
Kubeconfig = Annotated[str | None, typer.Option(help="Default: $KUBECONFIG, else ~/.kube/config.")]
Context = Annotated[str | None, typer.Option(help="A context of the kubeconfig. Default: the current one.")]


@app.command()
def watch(
    namespace: Namespace = None,
    once: Annotated[bool, typer.Option("--once", help="Print the table once and end.")] = False,
    until_ready: Annotated[
        bool, typer.Option("--until-ready", help="End when all are ready (0) or one is stuck (1).")
    ] = False,
    timeout: Annotated[str | None, typer.Option(help="End with 2 after this: 90s, 30m, 2h.")] = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Show a pipeline live: phase, progress, time left, main figure, and why something waits."""
    seconds = None if timeout is None else parse_duration(timeout)
    cluster, chosen = _open(kubeconfig, context, namespace)
    raise typer.Exit(watching.watch(cluster, chosen, Console(), once=once, until_ready=until_ready, timeout=seconds))


@app.command()
def compare(
    trainingrun: Annotated[str, typer.Argument(help="Name of the TrainingRun.")],
    compressionjob: Annotated[str, typer.Argument(help="Name of the CompressionJob that compresses it.")],
    namespace: Namespace = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Show a trained model beside its compressed form: quality, size, latency, speed-up, verdict."""
    cluster, chosen = _open(kubeconfig, context, namespace)
    run = {**cluster.get("TrainingRun", chosen, trainingrun), "kind": "TrainingRun"}
    job = {**cluster.get("CompressionJob", chosen, compressionjob), "kind": "CompressionJob"}
    show_comparison(Console(), comparing.compare(run, job))


@app.command()
def ask(
    modeldeployment: Annotated[str, typer.Argument(help="Name of the ModelDeployment.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TEXT | COLUMN=VALUE…",
            help="A raw sentence, the columns of a row that are known, or history=A,B,C and user=NAME.",
        ),
    ] = None,
    row: Annotated[
        str | None, typer.Option(help="""A row as JSON, such as {"age": 41}; - reads it from standard input.""")
    ] = None,
    image: Annotated[
        Path | None, typer.Option(help="A JPEG or PNG file.", exists=True, dir_okay=False, readable=True)
    ] = None,
    namespace: Namespace = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Ask a served model about a sentence, a row, an image or a history, through its router. A column that is left out
    is missing."""
    cluster, chosen = _open(kubeconfig, context, namespace)
    given = sys.stdin.read() if row == "-" else row
    data = image.read_bytes() if image is not None else None
    prediction = asking.ask(cluster, chosen, modeldeployment, words or [], given, data)
    if as_json:
        answer: dict[str, Any] = {"prediction": prediction.number}
        if prediction.items is not None:
            answer = {"items": [{"item": item, "score": score} for item, score in prediction.items]}
        elif prediction.label is not None:
            answer = {"label": prediction.label, "probabilities": dict(prediction.probabilities)}
        times = {"roundTripMs": round(prediction.round_trip_ms, 2), "serverMs": prediction.server_ms}
        print(json.dumps({**answer, **times}))
        return
    show_prediction(Console(), prediction)


@app.command()
def version() -> None:
    """Print the version."""
    print(f"kaon {__version__}")


def show_comparison(console: Console, comparison: comparing.Comparison) -> None:
    """The comparison with its verdict, as `kaon compare` prints it."""
    if not console.is_terminal:
        # A pipe or a file has no width: nothing is cut or folded there.
        console = Console(file=console.file, width=UNBOUNDED)
    console.print(comparing.table(comparison))
    style = {"Accepted": "green", "Inconclusive": "yellow"}.get(comparison.verdict, "red")
    console.print(Text(f"\n{comparison.verdict}", style=style).append(f"  {comparison.message}", style="default"))
    for remark in comparison.remarks:
        console.print(Text(remark, style="dim"), soft_wrap=True)


def show_prediction(console: Console, prediction: asking.Prediction) -> None:
    """The number, the ranked items, or the class with the five likeliest ones, as `kaon ask` prints it."""
    if prediction.items is not None:
        for item, score in prediction.items:
            console.print(Text(f"  {score:10.4g}  {item}"), soft_wrap=True)
    elif prediction.number is not None:
        said = " ".join(filter(None, (prediction.target, f"{prediction.number:.7g}")))
        console.print(Text(said, style="bold green"), soft_wrap=True)
    else:
        console.print(Text(prediction.label or "", style="bold green"))
    for label, probability in prediction.probabilities[:5]:
        console.print(Text(f"  {probability:7.2%}  {label}"))
    server = "" if prediction.server_ms is None else f"{prediction.server_ms:.0f} ms in the cluster, "
    console.print(Text(f"{server}{prediction.round_trip_ms:.0f} ms there and back", style="dim"))


def parse_duration(text: str) -> float:
    """Seconds of 90, 90s, 30m, 2h, 1h30m."""
    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?", text)
    if not match or not any(match.groups()):
        raise CliError(f"{text!r} is not a duration", "Write 90s, 30m, 2h or 1h30m.")
    hours, minutes, seconds = (int(group or 0) for group in match.groups())
    return hours * 3600.0 + minutes * 60 + seconds


def _open(kubeconfig: str | None, context: str | None, namespace: str | None) -> tuple[Cluster, str]:
    cluster = connect(kubeconfig, context)
    return cluster, namespace or cluster.namespace


def main() -> None:
    """The entry point: errors meant for a person are printed, not raised."""
    try:
        app()
    except CliError as error:
        console = Console(stderr=True)
        console.print(Text(f"kaon: {error.message}", style="red"), soft_wrap=True)
        if error.hint:
            console.print(Text(error.hint), soft_wrap=True)
        sys.exit(EXIT_ERROR)
