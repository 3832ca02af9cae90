"""What the operator can be told: flags, each also as an environment variable KAON_<FLAG>. Pure."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kaon import __version__
from kaon.api.types import DNS_LABEL
from kaon.contract.budgets import Budgets
from kaon.contract.trust import TrustDomains
from kaon.controllers.base import Images, OperatorConfig
from kaon.engine.podoptions import add_pod_options, pod_policy
from kaon.engine.policies import POLICIES

NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> argparse.Namespace:
    """The options; exits with argparse's sentence when they make no sense."""
    parser = argparse.ArgumentParser("kaon-operator", description="Reconciles Kaon's resources.")

    def option(flag: str, default: Any, text: str, **more: Any) -> None:
        variable = "KAON_" + flag.upper().replace("-", "_")
        value = environment.get(variable) or default
        # argparse converts a default only when it is a string: what an environment variable is.
        parser.add_argument(f"--{flag}", default=value, help=f"{text} [{variable}; default: {default!s}]", **more)

    for name in ("jobs", "triton", "torchserve", "router"):
        option(f"image-{name}", f"kaon/{name}:{__version__}", f"image of {name} pods")
    option("image-pull-policy", "IfNotPresent", "of all pods", choices=("Always", "IfNotPresent", "Never"))
    option("image-pull-secrets", "", "comma-separated Secret names", type=_csv)
    option("storage-uri", "", "the artifact store's folder, where a resource names none")
    option("storage-secret", "", "Secret, in the resource's namespace, with the store's options")
    option("trust-domains", "", "namespaces that share artifacts: NAME=NAMESPACE+NAMESPACE,…", type=_domains)
    option("root-key-secret", "kaon-root-key", "Secret, in the Lease's namespace, with the root key; made when absent")
    option("root-key-file", "", "file with the root key (64 hex digits), instead of the Secret")
    option(
        "budgets",
        "{}",
        "JSON: how much stages read of what users give; what it leaves out is Kaon's own",
        type=_budgets,
    )
    option("cluster-domain", "cluster.local", "domain of the cluster's Services")
    option("retire-after-seconds", "90", "how long a replaced revision keeps running", type=float)
    add_pod_options(option)
    option("namespaces", "", "comma-separated: only these, by a Role in each; empty: all, by a ClusterRole", type=_csv)
    option("require-policies", "", "admission policies that must be in force: reports, operator", type=_policies)
    option("lease-namespace", "", "namespace of the leader's Lease; default: the operator's own")
    option("lease-name", "kaon-operator", "name of the leader's Lease")
    option("metrics-port", "8080", "port of /metrics; 0: none", type=int)
    option("health-port", "8081", "port of /healthz and /readyz; 0: none", type=int)
    option("workers", "32", "resources reconciled at the same time", type=int)
    option("namespace-cache-mib", "32", "MiB of each namespace's objects that are kept in memory", type=float)
    option("resync-seconds", "600", "how often everything is listed again", type=float)
    option("log-format", "json", "form of the log", choices=("json", "text"))
    option("log-level", "info", "lowest level that is logged", choices=("debug", "info", "warning", "error"))
    parser.add_argument(
        "--leader-elect",
        action=argparse.BooleanOptionalAction,
        default=environment.get("KAON_LEADER_ELECT", "true").lower() not in ("false", "0", "no"),
        help="lead only while holding the Lease [KAON_LEADER_ELECT; default: true]",
    )
    return parser.parse_args(arguments)


def operator_config(options: argparse.Namespace, root_key: bytes) -> OperatorConfig:
    """The part that controllers see."""
    return OperatorConfig(
        trust=TrustDomains(root_key, options.trust_domains),
        images=Images(
            jobs=options.image_jobs,
            triton=options.image_triton,
            torchserve=options.image_torchserve,
            router=options.image_router,
            pull_policy=options.image_pull_policy,
            pull_secrets=options.image_pull_secrets,
        ),
        version=__version__,
        storage_uri=options.storage_uri or None,
        storage_secret=options.storage_secret or None,
        cluster_domain=options.cluster_domain,
        budgets=options.budgets,
        retire_after_seconds=options.retire_after_seconds,
        pods=pod_policy(options),
    )


def lease_namespace(options: argparse.Namespace) -> str:
    """Where the Lease lies: as told, else the pod's own namespace, else the first that is served."""
    if options.lease_namespace:
        return str(options.lease_namespace)
    if NAMESPACE_FILE.is_file():
        return NAMESPACE_FILE.read_text().strip()
    return options.namespaces[0] if options.namespaces else "default"


def _domains(text: str) -> dict[str, str]:
    """Namespace -> shared domain.

    Raises:
        argparse.ArgumentTypeError: a name is none, or a namespace is in two domains.
    """
    found: dict[str, str] = {}
    for part in _csv(text):
        name, _, namespaces = part.partition("=")
        for namespace in namespaces.split("+"):
            if not re.fullmatch(DNS_LABEL, name) or not re.fullmatch(DNS_LABEL, namespace):
                raise argparse.ArgumentTypeError(f"{part!r} is not NAME=NAMESPACE+NAMESPACE")
            if found.setdefault(namespace, name) != name:
                raise argparse.ArgumentTypeError(f"{namespace} is in the domains {found[namespace]} and {name}")
    return found


def _policies(text: str) -> tuple[str, ...]:
    names = _csv(text)
    unknown = sorted(set(names) - POLICIES.keys())
    if unknown:
        raise argparse.ArgumentTypeError(f"no such policy: {', '.join(unknown)}; there are {', '.join(POLICIES)}")
    return names


def _budgets(text: str) -> Budgets | None:
    try:
        given = json.loads(text)
        if not isinstance(given, dict):
            raise ValueError("it is none")
        unknown = sorted(set(given) - {field.alias for field in Budgets.model_fields.values()})
        if unknown:
            raise argparse.ArgumentTypeError(f"no budget is called {', '.join(unknown)}")
        return Budgets.model_validate(given) if given else None
    except (ValueError, TypeError) as error:
        raise argparse.ArgumentTypeError(f"not a JSON object of whole numbers above 0: {error}") from error


def _csv(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
