"""The audit log says what service accounts ask for, and is read in the order in which it was written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from localcluster import components, paths
from localcluster.audit import audit_events, audit_policy
from localcluster.record import Record, load

QUIET = Record("demo", None, False, dict.fromkeys(components.CONTROL_PLANE_PORTS, 21000))
AUDITED = Record("demo", None, False, QUIET.ports, audit=True)


@pytest.fixture
def layout(tmp_path: Path) -> paths.Layout:
    return paths.Layout("demo", tmp_path / "state", tmp_path / "store")


def test_an_api_server_keeps_an_audit_log_only_where_one_is_wanted(layout: paths.Layout) -> None:
    def audited(record: Record) -> list[str]:
        return [flag for flag in components.kube_apiserver(layout, record) if flag.startswith("--audit")]

    assert audited(QUIET) == []
    assert f"--audit-log-path={layout.audit}" in audited(AUDITED)


def test_kubernetes_own_controllers_are_left_out_before_any_account_is_taken_in() -> None:
    rules = json.loads(audit_policy())["rules"]
    assert [(rule["level"], rule.get("userGroups")) for rule in rules] == [
        ("None", ["system:serviceaccounts:kube-system"]),
        ("Metadata", ["system:serviceaccounts"]),
        ("None", None),
    ]


def test_events_come_in_their_order_from_all_parts_and_half_a_line_is_left_for_later(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    (tmp_path / "audit-2026-01-01T00-00-01.000.log").write_text('{"n": 1}\n')
    (tmp_path / "audit-2026-01-01T00-00-02.000.log").write_text('{"n": 2}\n{"n": 3}\n')
    log.write_text('{"n": 4}\n{"n": ')
    assert [event["n"] for event in audit_events(log)] == [1, 2, 3, 4]


def test_a_cluster_of_before_there_was_an_audit_log_has_none(tmp_path: Path) -> None:
    file = tmp_path / "cluster.json"
    AUDITED.save(file)
    assert load(file) == AUDITED
    told = json.loads(file.read_text())
    del told["audit"]
    file.write_text(json.dumps(told))
    assert load(file) == QUIET
