"""The flags about Kaon's pods: limits, where users may place them, what they may reach. Pure."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from typing import Any

from kaon.api.quantity import amount
from kaon.resources.base import Object
from kaon.resources.podpolicy import Egress, Placement, PodPolicy

LIMITED = ("stage", "server", "router")
ALLOWED = {
    "service-accounts": "accounts, as NAME or NAMESPACE/NAME, beside kaon-job",
    "priority-classes": "priority classes",
    "runtime-classes": "runtime classes",
    "tolerations": "keys of taints",
}


def add_pod_options(option: Callable[..., None]) -> None:
    """Adds the flags by `option(flag, default, text, **more)`."""
    default, egress = PodPolicy(), Egress()
    for name in LIMITED:
        text = f"limits of a {name}'s pod where its template sets none, as RESOURCE=QUANTITY,…"
        limits = getattr(default, f"{name}_limits")
        option(f"{name}-limits", ",".join(f"{key}={value}" for key, value in limits.items()), text, type=_limits)
    for name, what in ALLOWED.items():
        allowed = getattr(default.placement, name.replace("-", "_"))
        text = f"comma-separated {what} that pod templates may name; *: any"
        option(f"allowed-{name}", ",".join(allowed), text, type=_names)
    option("egress-policies", "true", "make NetworkPolicies of what pods may reach", choices=("true", "false"))
    option("egress-store-ports", _text(egress.store_ports), "ports of stores and sources", type=_ports)
    option("egress-api-server-ports", _text(egress.api_server_ports), "ports of the API server", type=_ports)
    option("egress-extra-rules", "[]", "egress rules of a NetworkPolicy, as JSON, for stages and servers", type=_rules)


def pod_policy(options: argparse.Namespace) -> PodPolicy:
    """What the flags say."""
    egress = Egress(options.egress_store_ports, options.egress_api_server_ports, options.egress_extra_rules)
    return PodPolicy(
        **{f"{name}_limits": getattr(options, f"{name}_limits") for name in LIMITED},
        placement=Placement(**{key: getattr(options, f"allowed_{key}") for key in map(_key, ALLOWED)}),
        egress=egress if options.egress_policies == "true" else None,
    )


def _key(name: str) -> str:
    return name.replace("-", "_")


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _text(ports: tuple[int, ...]) -> str:
    return ",".join(map(str, ports))


def _ports(text: str) -> tuple[int, ...]:
    ports = tuple(int(part) for part in _names(text))
    if not ports or not all(0 < port < 65536 for port in ports):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of ports from 1 to 65535")
    return ports


def _limits(text: str) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for part in _names(text):
        name, _, quantity = part.partition("=")
        if name not in ("cpu", "memory", "ephemeral-storage"):
            raise argparse.ArgumentTypeError(f"{part!r}: a limit is of cpu, memory or ephemeral-storage")
        try:
            amount(quantity)
        except (ValueError, KeyError) as error:
            raise argparse.ArgumentTypeError(f"{part!r}: {quantity!r} is no quantity, such as 8Gi") from error
        found[name] = quantity
    return found


def _rules(text: str) -> tuple[Object, ...]:
    try:
        rules: Any = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no JSON: {error}") from error
    if not isinstance(rules, list) or not all(isinstance(rule, dict) and rule for rule in rules):
        raise argparse.ArgumentTypeError("the rules are a JSON list of objects, none of them empty")
    return tuple(rules)
