"""What the store's init step decides: users, rights and certificate."""

from __future__ import annotations

import errno
import json
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kaon.storeinit import __main__ as init
from kaon.storeinit import certificate, tenants
from kaon.storeinit.tenants import TenantError

NOW = datetime(2026, 11, 27, tzinfo=UTC)
HOSTS = ("kaon-store.kaon-system.svc.cluster.local", *init.LOOPBACK)


def test_each_namespace_has_a_key_of_its_own_that_another_generation_and_another_root_change() -> None:
    keys = {tenants.secret_key(root, generation, name) for root in "ab" for generation in (1, 2) for name in "xy"}
    assert len(keys) == 8
    assert tenants.secret_key("a", 1, "x") == tenants.secret_key("a", 1, "x")
    assert min(map(len, keys)) >= 43


def test_the_servers_users_may_make_no_buckets_and_no_users() -> None:
    users = json.loads(tenants.accounts([tenants.parse("team-a"), tenants.parse("team-b")], "root", 1))
    assert {user["role"] for user in users["accessAccounts"].values()} == {"user"}
    assert "root" not in json.dumps(users)


@pytest.mark.parametrize(
    "text", ["", "*", "team*", "team-a=*", "team/a", "../team", "Team", "a" * 64, "team-a=x/y", "team-a=", "-a", "a\n"]
)
def test_a_name_that_a_policy_would_read_as_a_pattern_is_refused(text: str) -> None:
    with pytest.raises(TenantError, match=r"letters, digits and '-'"):
        tenants.parse(text)


def test_the_folder_of_a_shared_domain_is_no_namespaces() -> None:
    assert tenants.parse("team-a=team-b").folders == ("team-a", "team-b.shared")
    assert tenants.parse("team-b").folders == ("team-b",)
    with pytest.raises(TenantError):
        tenants.parse("team-b.shared")


def test_a_certificate_serves_its_names_until_a_year_before_its_end() -> None:
    made = certificate.make(HOSTS, NOW)
    assert certificate.serves(made.certificate, HOSTS, NOW)
    assert certificate.serves(made.certificate, ["127.0.0.1"], NOW + timedelta(days=3000))
    assert not certificate.serves(made.certificate, HOSTS, NOW + timedelta(days=3300))
    assert not certificate.serves(made.certificate, [*HOSTS, "kaon-store.other.svc.cluster.local"], NOW)
    assert not certificate.serves("", HOSTS, NOW)


def test_the_servers_files_are_for_its_own_user(tmp_path: Path) -> None:
    init.write_private(tmp_path / "users", "users.json", "{}")
    assert stat.S_IMODE((tmp_path / "users" / "users.json").stat().st_mode) == 0o600


def test_rights_that_the_volume_cannot_hold_end_with_the_figure_and_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: object, name: str, value: bytes) -> None:
        if len(value) > 4096:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "setxattr", full)
    init.make_bucket(tmp_path / "kaon", "root", [tenants.parse(f"team-{number}") for number in range(9)])
    with pytest.raises(TenantError, match=r"rights of 40 namespaces need 1\d{4} bytes .* store.namespaces"):
        init.make_bucket(tmp_path / "kaon", "root", [tenants.parse(f"team-{number}") for number in range(40)])


class Stored:
    """One Secret, in the place of the API server."""

    def __init__(self, values: dict[str, str] | None = None) -> None:
        self.values = values

    def read(self, namespace: str) -> dict[str, str] | None:
        return self.values

    def create(self, namespace: str, values: dict[str, str]) -> bool:
        self.values = dict(values)
        return True

    def ensure(self, namespace: str, values: dict[str, str]) -> None:
        self.values = dict(values)


def test_the_root_key_stays_when_the_certificate_is_renewed() -> None:
    stored: Any = Stored()
    first = init.root_values(stored, "kaon-system", HOSTS, NOW)
    assert init.root_values(stored, "kaon-system", HOSTS, NOW) == first
    later = init.root_values(stored, "kaon-system", HOSTS, NOW + timedelta(days=3600))
    assert later["ROOT_SECRET_KEY"] == first["ROOT_SECRET_KEY"] and later["tls.crt"] != first["tls.crt"]
    assert stored.values == later


def test_a_root_secret_without_its_keys_is_refused_by_name() -> None:
    stored: Any = Stored({"ROOT_ACCESS_KEY": "mine"})
    with pytest.raises(TenantError, match="lacks ROOT_SECRET_KEY"):
        init.root_values(stored, "kaon-system", HOSTS, NOW)
