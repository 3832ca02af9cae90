"""What a stage's pod is told, read by the pod's own code and token: the whole of it, its own, and never another's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import largest
import pytest
from harness import eventually
from hostile.world import World
from knownkeys import TRUST, signed, told
from security.attempts import Object, Team
from simulation.results import finished

from kaon.api.report import Result
from kaon.contract.jobspec import DatasetWork
from kaon_jobs.errors import StageFailure
from kaon_jobs.report import apiserver
from kaon_jobs.report.apiserver import ApiServer
from kaon_jobs.report.told import Source, load_spec
from kaon_jobs.store.trust import TRUST_VARIABLE, write_keys

MERGE = "application/merge-patch+json"
PodOf = Callable[[Object], ApiServer]
"""(resource) -> the API server as its stage's pod sees it."""


@pytest.fixture
def pod_of(team: Team, chart_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PodOf:
    """With what is mounted into the pod: its token, and the keys of its trust domain."""
    server = urlsplit(chart_world.cluster.server)
    write_keys(tmp_path / "trust", TRUST.key(team.name))
    monkeypatch.setenv(TRUST_VARIABLE, str(tmp_path / "trust"))

    def find(obj: Object) -> ApiServer:
        name = obj["status"]["jobName"]
        account = tmp_path / name
        account.mkdir()
        (account / "namespace").write_text(team.name)
        (account / "token").write_text(team.token_of_a_pod(name))
        (account / "ca.crt").write_bytes((chart_world.cluster.layout.pki / "ca.crt").read_bytes())
        assert server.hostname is not None and server.port is not None
        return ApiServer(server.hostname, server.port, account)

    return find


def source_of(obj: Object) -> Source:
    return Source(report=obj["status"]["jobName"])


@pytest.mark.parametrize("characters", largest.CHARACTERS)
def test_the_largest_dataset_is_told_to_its_pod_byte_for_byte_and_its_status_is_written(
    team: Team, pod_of: PodOf, characters: str
) -> None:
    character = largest.CHARACTERS[characters]
    name = f"largest-{list(largest.CHARACTERS).index(characters)}"
    spec = largest.dataset(character)
    obj = team.made(team.resource("Dataset", name, **spec))
    pod = pod_of(obj)
    found = load_spec("dataset", source_of(obj), pod)
    stored = team.get("Report", obj["status"]["jobName"])
    assert stored is not None and found.job.text.encode() == stored["spec"]["job"].encode()
    assert isinstance(found.job.work, DatasetWork)
    assert found.job.work.columns.label.classes == spec["schema"]["label"]["classes"]

    said = finished(told(stored).wire(), "the-pod")
    names = [character * 256] * 1000
    result = Result.model_validate({**said["result"], "dataset": {**said["result"]["dataset"], "classes": names}})
    said |= signed(told(stored), result.reported().wire())
    pod.merge_patch_report_status(obj["status"]["jobName"], {"status": said})
    status = team.until_status("Dataset", name, "Succeeded")["status"]
    assert status["classCount"] == 1000 and status["classes"] == names[:256]


def test_the_largest_compression_is_told_to_its_pod_byte_for_byte(team: Team, pod_of: PodOf) -> None:
    spec = {**largest.compression("\x01"), "modelRef": {"kind": "TrainingRun", "name": "ready-t"}}
    obj = team.made(team.resource("CompressionJob", "largest-c", **spec))
    found = load_spec("compress", source_of(obj), pod_of(obj))
    stored = team.get("Report", obj["status"]["jobName"])
    assert stored is not None and found.job.text == stored["spec"]["job"]
    assert found.job.work.wire()["steps"][-1] == spec["steps"][-1]


def test_more_class_names_than_there_is_room_for_are_refused_with_the_way_out(team: Team) -> None:
    spec = largest.dataset("a", ["a" * 256] * 256 + ["b"])
    said = team.refusal(team.resource("Dataset", "too-large", **spec))
    assert "may have 65536 characters together" in said and "leave classes out" in said


def test_a_pod_reads_no_others_report(team: Team, pod_of: PodOf) -> None:
    own = team.made(team.resource("Dataset", "reader"))
    other = team.made(team.resource("Dataset", "read"))
    pod = pod_of(own)
    with pytest.raises(StageFailure, match="may write only its own Report") as caught:
        load_spec("dataset", source_of(other), pod)
    assert caught.value.reason == "ReportUnreadable"
    assert load_spec("dataset", source_of(own), pod).job.provenance.name == "reader"


def test_a_report_that_is_missing_is_told_as_that(team: Team, pod_of: PodOf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apiserver, "MISSING_PATIENCE_SECONDS", 0.0)
    pod = pod_of(team.made(team.resource("Dataset", "without")))
    with pytest.raises(StageFailure, match="there is no Report without-dset-0123456789") as caught:
        load_spec("dataset", Source(report="without-dset-0123456789"), pod)
    assert caught.value.reason == "ReportMissing" and caught.value.retriable


def test_a_pod_changes_nothing_of_what_it_is_told(team: Team, pod_of: PodOf) -> None:
    obj = team.made(team.resource("Dataset", "fixed"))
    pod, name = pod_of(obj), obj["status"]["jobName"]
    before = eventually(lambda: team.get("Report", name), f"Report {name}")["spec"]
    # By the subresource, which is its one right, a spec is not changed.
    answer = pod.merge_patch_report_status(name, {"spec": {"job": "{}"}, "status": {"pod": "mine"}})
    assert answer["spec"] == before and answer["status"]["pod"] == "mine"
    # Of the Report itself a token like its own changes nothing.
    account = f"system:serviceaccount:{team.name}:kaon-job"
    said = team.server.acting_as(account).send("PATCH", team.path("Report", name), {"spec": {"job": "{}"}}, MERGE)
    assert said["reason"] == "Forbidden"
    now = team.get("Report", name)
    assert now is not None and now["spec"] == before


def swapped(team: Team, name: str, **spec: str) -> Object:
    """Somebody deletes a Report and makes another of its name, faster than the operator. Returns the new one."""
    report: Object = eventually(lambda: team.get("Report", name), f"Report {name}")
    metadata = {part: report["metadata"][part] for part in ("name", "labels", "ownerReferences")}
    forged = {**{part: report[part] for part in ("apiVersion", "kind")}, "metadata": metadata}
    forged["spec"] = {**report["spec"], **spec}

    def forge() -> Object | None:
        team.delete("Report", name)
        made = team.create(forged)
        return made if "uid" in made["metadata"] else None

    found: Object = eventually(forge, "a forged Report")
    return found


def test_a_report_that_somebody_has_made_before_the_job_is_not_what_its_pod_is_told(team: Team, pod_of: PodOf) -> None:
    """Its name can be foretold, and whoever may make Reports can give it to the resource."""
    first = team.made(team.resource("Dataset", "forestalled", suspend=True))
    name = first["status"]["jobName"]
    forged = swapped(team, name, job="{}")
    team.patch("Dataset", "forestalled", {"spec": {"suspend": False}})
    obj = team.until_status("Dataset", "forestalled", "Pending")
    pod = pod_of(obj)
    assert load_spec("dataset", source_of(obj), pod).job.provenance.uid == first["metadata"]["uid"]
    now = team.get("Report", name)
    assert now is not None and now["metadata"]["uid"] != forged["metadata"]["uid"]


def test_a_report_that_is_replaced_under_a_job_is_not_believed(team: Team, pod_of: PodOf) -> None:
    obj = team.made(team.resource("Dataset", "swapped"))
    name, pod = obj["status"]["jobName"], pod_of(obj)
    other = told(eventually(lambda: team.get("Report", name), f"Report {name}"))
    swapped(team, name, job=other.model_copy(update={"declaration": "sha256:" + "0" * 64, "content": None}).text)
    with pytest.raises(StageFailure, match="not signed with a key of this trust domain"):
        load_spec("dataset", source_of(obj), pod)
