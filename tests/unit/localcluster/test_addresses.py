"""No two clusters share an address or a port."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv4Network, collapse_addresses

import pytest

from localcluster.addresses import PORTS, SLOTS, Slot, choose_slot, free_ports
from localcluster.errors import LocalClusterError


def networks(slot: Slot) -> list[IPv4Network]:
    link = IPv4Network(f"{slot.node_ip}/24", strict=False)
    return [link, IPv4Network(slot.pod_cidr), IPv4Network(slot.service_cidr)]


def test_no_two_slots_overlap_and_all_stay_in_the_benchmark_range() -> None:
    every = [network for number in range(SLOTS) for network in networks(Slot(number))]
    total = sum(network.num_addresses for network in collapse_addresses(every))
    assert total == sum(network.num_addresses for network in every)
    assert all(network.subnet_of(IPv4Network("198.18.0.0/15")) for network in every)


def test_the_fixed_addresses_of_a_slot_lie_in_its_networks() -> None:
    slot = Slot(3)
    link, _, services = networks(slot)
    assert IPv4Address(slot.host_ip) in link
    assert IPv4Address(slot.node_ip) in link
    assert IPv4Address(slot.api_service_ip) == next(services.hosts())


def test_interface_names_fit_the_kernel() -> None:
    assert all(len(Slot(number).link) <= 15 for number in range(SLOTS))


def test_a_new_cluster_gets_the_lowest_slot_that_is_free() -> None:
    assert choose_slot([]) == Slot(0)
    assert choose_slot([0, 1, 3]) == Slot(2)


def test_when_all_slots_are_taken_the_message_says_what_to_do() -> None:
    with pytest.raises(LocalClusterError, match="run `down`"):
        choose_slot(range(SLOTS))


def test_ports_are_distinct_in_range_and_not_those_of_another_cluster() -> None:
    taken = set(PORTS) - set(range(21500, 21600))
    ports = free_ports(5, taken)
    assert len(set(ports)) == 5
    assert not taken & set(ports)


def test_a_port_somebody_listens_on_is_not_chosen() -> None:
    occupied = free_ports(1, [])[0]
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", occupied))
        listener.listen()
        with pytest.raises(LocalClusterError, match="free ports"):
            free_ports(1, set(PORTS) - {occupied})
