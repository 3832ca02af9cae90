"""A base model's folder that costs more than it holds is refused once, within the pod's memory, by its file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bombs.models import BOMBS, MIB

MEMORY = 2560 * MIB
ROOT = Path(__file__).resolve().parents[2]
_CHECK = """
import json, pathlib, re, resource, sys, time
import torch, transformers.models.auto.modeling_auto
from families.checking import checked
from kaon_jobs.errors import StageFailure
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
for folder in sys.argv[2:]:
    began, told = time.monotonic(), {}
    try:
        checked(pathlib.Path(folder))
    except StageFailure as failure:
        told = {"reason": failure.reason, "message": failure.message, "retriable": failure.retriable}
    status = pathlib.Path("/proc/self/status").read_text()
    told["peak"] = int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) * 1024
    told["seconds"] = round(time.monotonic() - began, 1)
    print("\\n" + json.dumps({"folder": folder, **told}), flush=True)
"""


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from families.builders import FAMILIES

    folder = tmp_path_factory.mktemp("bert")
    FAMILIES["bert"](folder)
    return folder


@pytest.fixture(scope="module")
def told(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What is said of each folder, by one process of a bounded memory: its libraries take seconds to import."""
    folders = {}
    for bomb, (change, _, _) in BOMBS.items():
        folders[bomb] = tmp_path_factory.mktemp("bomb")
        for path in bert.iterdir():
            (folders[bomb] / path.name).write_bytes(path.read_bytes())
        change(folders[bomb])
    done = subprocess.run(
        [sys.executable, "-c", _CHECK, str(MEMORY), *map(str, folders.values())],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests"), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"folder"')]
    return {bomb: next(line for line in lines if line["folder"] == str(folder)) for bomb, folder in folders.items()}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_folder_that_costs_more_than_it_holds_is_refused_within_its_memory(
    told: dict[str, dict[str, Any]], bomb: str
) -> None:
    _, reason, said = BOMBS[bomb]
    found = told[bomb]
    print(f"{bomb}: {found['peak'] // MIB} MiB, {found['seconds']} s: {found.get('message')}")
    assert found["reason"].startswith(reason) and not found["retriable"]
    assert said in found["message"] and found["folder"] in found["message"]
    assert found["peak"] < MEMORY / 2


def test_a_folder_of_too_many_bytes_is_not_copied_to_its_end(bert: Path, tmp_path: Path) -> None:
    from kaon.contract.budgets import Budgets
    from kaon.contract.jobspec import TrainWork
    from kaon_jobs.context import Context
    from kaon_jobs.errors import StageFailure
    from kaon_jobs.pretrained.fetch import fetch_base_model
    from kaon_jobs.report.reporter import Reporter

    work = TrainWork.model_validate(
        {
            "task": "text-classification",
            "dataset": {"uri": "file:///mnt/none", "digest": "sha256:none"},
            "model": {"base": f"file:///mnt{bert}"},
            "recipe": {},
            "checkpoint": {},
        }
    )
    with pytest.raises(StageFailure, match="and 1,000 is the limit") as caught:
        fetch_base_model(work, Context(Reporter(None, None), tmp_path, "one", budgets=Budgets(model_bytes=1000)))
    assert caught.value.reason == "ModelTooLarge" and not (tmp_path / "base").exists()
