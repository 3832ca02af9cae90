"""A base model's folder that costs more than it holds is refused once, within the pod's memory, by its file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bombs.models import BOMBS, MIB

MEMORY = 2560 * MIB
ROOT = Path(__file__).resolve().parents[2]
_CHECK = """
import json, pathlib, re, resource, sys
import torch, transformers.models.auto.modeling_auto
from families.checking import checked
from kaon_jobs.errors import StageFailure
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
told = {}
try:
    checked(pathlib.Path(sys.argv[1]))
except StageFailure as failure:
    told = {"reason": failure.reason, "message": failure.message, "retriable": failure.retriable}
told["peak"] = int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]) * 1024
print("\\n" + json.dumps(told))
"""


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from families.builders import FAMILIES

    folder = tmp_path_factory.mktemp("bert")
    FAMILIES["bert"](folder)
    return folder


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_folder_that_costs_more_than_it_holds_is_refused_within_its_memory(
    bert: Path, tmp_path: Path, bomb: str
) -> None:
    change, reason, said = BOMBS[bomb]
    for path in bert.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    change(tmp_path)
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", _CHECK, str(tmp_path), str(MEMORY)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests"), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"{bomb}: {told['peak'] // MIB} MiB, {time.monotonic() - began:.1f} s: {told.get('message')}")
    assert told["reason"].startswith(reason) and not told["retriable"]
    assert said in told["message"] and f"{tmp_path}" in told["message"]
    assert told["peak"] < MEMORY / 2


def test_a_folder_of_too_many_bytes_is_not_copied_to_its_end(bert: Path, tmp_path: Path) -> None:
    from kaon.contract.budgets import Budgets
    from kaon.contract.jobspec import TrainWork
    from kaon_jobs.context import Context
    from kaon_jobs.errors import StageFailure
    from kaon_jobs.report import Reporter
    from kaon_jobs.train.fetch import fetch_base_model

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
