"""Kaon's compression beside its peers: python benchmarks/compression --help. What is compared and how: README.md."""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
# Read when the OpenMP library is loaded: threads that spin while they wait slow the training on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path[:0] = [str(HERE.parents[1] / "hack")]

import figures  # noqa: E402
import infeasible  # noqa: E402
import kaon_auto  # noqa: E402
from cases import CASES, TextCase  # noqa: E402
from contenders import PEERS, child_environment, run_peer  # noqa: E402
from contract import RESULT_FILE, Case, Result, read_case, read_result  # noqa: E402
from environments import python_of  # noqa: E402
from stages import Stages  # noqa: E402

from kaon.contract.jobspec import InputArtifact  # noqa: E402
from kaon.contract.signing import ROOT_KEY_BYTES, domain_key  # noqa: E402
from kaon_jobs.measure.speed import instruction_sets  # noqa: E402
from kaon_jobs.store.objectstore import CLAIMS_VARIABLE  # noqa: E402
from kaon_jobs.store.trust import TRUST_VARIABLE, write_keys  # noqa: E402

log = logging.getLogger("benchmark")

JUDGE_LOCK = "judge.lock"
DEFAULT_CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "kaon" / "benchmark"


def main() -> None:
    """Case after case; the file of results grows with each, so that a broken run keeps what it had."""
    told = _parser().parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    # Children run in another folder.
    told.cache = told.cache.resolve()
    # Behind file:///mnt stands the whole of this machine, where a pod has its mounted claims.
    os.environ[CLAIMS_VARIABLE] = "/"
    # In a cluster the operator derives a namespace's key; what this benchmark signs nobody else reads.
    os.environ[TRUST_VARIABLE] = str(told.cache / "trust")
    write_keys(told.cache / "trust", domain_key(bytes(ROOT_KEY_BYTES), "benchmark"))
    results: dict[str, Any] = {"machine": _machine(told.threads)}
    for name in told.cases:
        case, trained = prepare(name, told)
        if told.prepare:
            continue
        made = run(case, trained, told)
        judged = judge(case, made, told)
        entries = _entries(made, judged)
        results[name] = {
            "baseline": asdict(judged.found[figures.BASELINE]),
            "reference": asdict(judged.found[figures.REFERENCE]),
            "contenders": {title: asdict(entry) for title, entry in entries.items()},
        }
        if told.out is not None:
            told.out.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"\n## {CASES[name].title}\n\n{figures.markdown(case.budget, judged, entries)}", flush=True)
        if kaon_auto.NAME in told.contenders:
            print(f"\n{figures.standing(case.budget, judged, entries, kaon_auto.TITLE)}", flush=True)
            if told.infeasible:
                print("\n### Budgets that cannot be met\n")
                full, out = made[kaon_auto.NAME].seconds, _runs(case, told) / "infeasible"
                for line in infeasible.lines(case, trained, _limits(told), full, out):
                    print(line, flush=True)


def prepare(name: str, told: argparse.Namespace) -> tuple[Case, kaon_auto.Trained]:
    """The case's folder, and where its artifacts lie. Both are made once for a cache."""
    declared, folder = CASES[name], told.cache / "cases" / name
    given = {case: digests for case, *digests in told.artifacts}
    log.info("%s: data and model", name)
    if isinstance(declared, TextCase):
        import texts

        if name in given:
            uris = given[name]
            trained = (InputArtifact(uri=uris[0], digest=uris[1]), InputArtifact(uri=uris[2], digest=uris[3]))
            folder = folder.with_name(f"{name}-{trained[0].digest.removeprefix('sha256:')[:12]}")
        else:
            trained = texts.train(declared, Stages(told.cache / "store", told.cache / "stages.log"), told.cache)
        if not (folder / "case.json").exists():
            shutil.rmtree(folder, ignore_errors=True)
            texts.write(name, *trained, folder, told.threads)
        return read_case(folder), trained
    import trained as networks

    if not (folder / "case.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        networks.write(name, declared, told.cache, folder, told.threads)
    case = read_case(folder)
    return case, networks.publish(case, told.cache / "store")


def run(case: Case, trained: kaon_auto.Trained, told: argparse.Namespace) -> dict[str, Result]:
    """Every contender one after the other; each leaves a folder below runs/."""
    results = {}
    for contender in told.contenders:
        out = _runs(case, told) / contender
        if told.keep and (out / RESULT_FILE).exists():
            results[contender] = read_result(out)
            continue
        log.info("%s: %s", case.name, contender)
        if contender == kaon_auto.NAME:
            results[contender] = kaon_auto.run(case, trained, _limits(told), out)
        else:
            results[contender] = run_peer(PEERS[contender], case, out, told.cache)
        log.info("%s: %s in %.0f s", case.name, results[contender].failure or "made", results[contender].seconds)
    return results


def judge(case: Case, results: Mapping[str, Result], told: argparse.Namespace) -> figures.Judgement:
    """The common judge over all that made something, in a process and an environment of its own."""
    runs = _runs(case, told)
    out = runs / "judged.json"
    command = [str(python_of(JUDGE_LOCK, told.cache)), "-m", "judge", str(case.folder), str(out), str(told.rounds)]
    command += [f"{contender}={runs / contender}" for contender, result in results.items() if result.made is not None]
    log.info("%s: judging", case.name)
    with (runs / "judge.log").open("wb") as said:
        subprocess.run(command, cwd=HERE, env=child_environment(case.threads), stdout=said, stderr=said, check=True)
    return figures.read_judgement(json.loads(out.read_text(encoding="utf-8")))


def _limits(told: argparse.Namespace) -> dict[str, int]:
    return {"seed": told.seed, "maxDurationSeconds": told.search_seconds}


def _runs(case: Case, told: argparse.Namespace) -> Path:
    """By the case's folder: models made of one trained model are never judged beside another."""
    return Path(told.cache) / "runs" / case.folder.name


def _entries(results: Mapping[str, Result], judged: figures.Judgement) -> dict[str, figures.Entry]:
    return {
        _title(contender): figures.Entry(
            result.seconds,
            result.software,
            did=result.made.did if result.made else None,
            failure=result.failure or judged.failed.get(contender),
            found=judged.found.get(contender),
        )
        for contender, result in results.items()
    }


def _title(contender: str) -> str:
    return kaon_auto.TITLE if contender == kaon_auto.NAME else PEERS[contender].title


def _machine(threads: int) -> dict[str, Any]:
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "processors": os.cpu_count(),
        "instructionSets": instruction_sets(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "threads": threads,
    }


def _parser() -> argparse.ArgumentParser:
    everybody = [kaon_auto.NAME, *PEERS]
    parser = argparse.ArgumentParser("benchmarks/compression", description="Kaon's compression beside its peers.")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES), help="default: all")
    parser.add_argument("--contenders", nargs="+", choices=everybody, default=everybody, help="default: all")
    parser.add_argument("--rounds", type=int, default=300, help="of timing; in each, every model is asked once")
    parser.add_argument("--threads", type=int, default=2, help="of every search and of every model")
    parser.add_argument("--seed", type=int, default=0, help="of Kaon's search")
    parser.add_argument("--search-seconds", type=int, default=2400, help="as long as Kaon's search may look")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="data, models, environments, what was made")
    parser.add_argument("--prepare", action="store_true", help="data and models only")
    parser.add_argument("--infeasible", action="store_true", help="then give Kaon budgets that cannot be met")
    parser.add_argument("--keep", action="store_true", help="take what contenders made in an earlier run; judge anew")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="where the figures go")
    parser.add_argument(
        "--artifacts",
        nargs=5,
        action="append",
        default=[],
        metavar=("CASE", "MODEL", "DIGEST", "DATASET", "DIGEST"),
        help="take a text case's trained model and dataset from a store instead of training one (file:///mnt is /)",
    )
    return parser


if __name__ == "__main__":
    main()
