"""What pods may reach, asked of the policies as a network plugin would read them."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from kaon.resources import labels
from kaon.resources.base import Object
from kaon.resources.egress import STAGES, stage_network_policy
from kaon.resources.podpolicy import Egress
from kaon.resources.serving_networkpolicy import router_network_policy, server_network_policy

OWNER: Object = {"kind": "ModelDeployment", "metadata": {"name": "m", "namespace": "ml", "uid": "u-1"}}
METADATA = (
    *("169.254.169.254", "169.254.170.2", "169.254.170.23", "169.254.169.253", "168.63.129.16", "100.100.100.200"),
    *("fe80::1", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254"),
)
OUTSIDE = ("52.216.1.1", "10.0.0.7", "192.168.1.2", "2a05:d07a::1", "fd12::7")
POD = {"app": "store"}
DEFAULT = Egress()


def reaches(policy: Object, port: int, *, address: str = "", pod: Object | None = None, same: bool = False) -> bool:
    """Whether TCP to a port is let out: to an address, or to a pod with these labels in the `same` or another space."""
    return any(
        any(item["port"] == port and item["protocol"] == "TCP" for item in rule["ports"])
        and ("to" not in rule or any(_is_peer(peer, address, pod, same) for peer in rule["to"]))
        for rule in policy["spec"]["egress"]
        if rule
    )


def _is_peer(peer: Object, address: str, pod: Object | None, same: bool) -> bool:
    if "ipBlock" in peer:
        block = peer["ipBlock"]
        inside = bool(address) and ip_address(address) in ip_network(block["cidr"])
        return inside and not any(ip_address(address) in ip_network(left_out) for left_out in block["except"])
    if pod is None or not (same or "namespaceSelector" in peer):
        return False
    return bool(peer.get("podSelector", {}).get("matchLabels", {}).items() <= pod.items())


def stages(egress: Egress = DEFAULT) -> Object:
    (child,) = stage_network_policy("ml", egress)
    assert not child.owned
    return child.manifest


def servers(egress: Egress | None = DEFAULT) -> Object:
    return server_network_policy(OWNER, "sha256:" + "a" * 64, egress)


def router() -> Object:
    found = router_network_policy(OWNER, "sha256:" + "a" * 64, Egress())
    assert found is not None
    return found


@pytest.mark.parametrize("address", METADATA)
@pytest.mark.parametrize("port", [80, 8080, 9000, 7070, 988, 32526])
def test_no_pod_reaches_a_clouds_metadata_service(address: str, port: int) -> None:
    for policy in (stages(), servers(), router()):
        assert not reaches(policy, port, address=address)


@pytest.mark.parametrize("address", OUTSIDE)
def test_stages_and_servers_reach_stores_and_sources_outside_the_cluster(address: str) -> None:
    for policy in (stages(), servers()):
        assert reaches(policy, 443, address=address) and reaches(policy, 80, address=address)
        assert not reaches(policy, 22, address=address) and not reaches(policy, 10250, address=address)


@pytest.mark.parametrize("port", [7070, 9000, 443])
def test_stages_and_servers_reach_a_store_in_any_namespace_of_the_cluster(port: int) -> None:
    for policy in (stages(), servers()):
        assert reaches(policy, port, pod=POD)
        assert not reaches(policy, 5432, pod=POD)


def test_stages_reach_the_api_server_wherever_it_is_and_servers_do_not() -> None:
    assert reaches(stages(), 6443, address="10.0.0.1")
    assert not reaches(servers(), 6443, address="10.0.0.1")


def test_a_router_reaches_its_own_servers_and_names_and_nothing_else() -> None:
    own = {labels.OWNER_UID: "u-1", labels.COMPONENT: "server"}
    for port in (8000, 8080):
        assert reaches(router(), port, pod=own, same=True)
        assert not reaches(router(), port, pod={**own, labels.OWNER_UID: "u-2"}, same=True)
        assert not reaches(router(), port, pod=own)
        assert not any(reaches(router(), port, address=address) for address in OUTSIDE)
    assert reaches(router(), 53, pod=POD)
    assert not reaches(router(), 443, address="52.216.1.1")


def test_every_pod_may_look_up_names_also_at_a_cache_on_its_node() -> None:
    for policy in (stages(), servers(), router()):
        assert reaches(policy, 53, address="169.254.20.10") and reaches(policy, 53, pod=POD)


def test_an_administrator_opens_another_port_or_the_identity_service_of_the_cloud() -> None:
    rule = {
        "to": [{"ipBlock": {"cidr": "169.254.170.23/32", "except": []}}],
        "ports": [{"port": 80, "protocol": "TCP"}],
    }
    opened = Egress(store_ports=(443, 3900), extra_rules=(rule,))
    for policy in (stages(opened), servers(opened)):
        assert reaches(policy, 3900, pod=POD) and not reaches(policy, 80, pod=POD)
        assert reaches(policy, 80, address="169.254.170.23") and not reaches(policy, 80, address="169.254.169.254")


def test_the_policy_of_stages_selects_every_stage_and_no_server() -> None:
    selector = stages()["spec"]["podSelector"]
    (expression,) = selector["matchExpressions"]
    assert selector["matchLabels"] == {labels.MANAGED_BY: labels.MANAGER}
    assert expression["key"] == labels.COMPONENT and expression["values"] == STAGES
    assert {"dataset", "train", "compress"} <= set(STAGES) and not {"server", "router"} & set(STAGES)


def test_switched_off_it_is_as_if_there_were_no_policy_of_egress() -> None:
    assert servers(None)["spec"]["policyTypes"] == ["Ingress"] and "egress" not in servers(None)["spec"]
    assert router_network_policy(OWNER, "sha256:" + "a" * 64, None) is None
    assert stage_network_policy("ml", None) == ()
