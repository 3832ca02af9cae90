"""All children of a ModelDeployment, from the roles of its revisions. Pure; each child's own file builds it."""

from __future__ import annotations

from dataclasses import replace

from kaon.api.modeldeployment import ModelDeploymentSpec, Revision
from kaon.api.signature import TEXT_SIGNATURE
from kaon.controllers.base import Child, Key, Object, Observed
from kaon.controllers.serving_rollout import Roles, listed
from kaon.resources import router_deployment
from kaon.resources.monitoring_podmonitor import pod_monitor
from kaon.resources.monitoring_rule import prometheus_rule
from kaon.resources.router_config import Backend
from kaon.resources.router_deployment import router_config_map, router_replicas, router_selector, router_service
from kaon.resources.serving_deployment import COMPONENT, server_deployment, server_selector
from kaon.resources.serving_networkpolicy import router_network_policy, server_network_policy
from kaon.resources.serving_pdb import disruption_budget
from kaon.resources.serving_ports import revision_name, router_name
from kaon.resources.serving_service import server_host, server_service
from kaon.resources.signing import signing_secret


def children_of(observed: Observed, spec: ModelDeploymentSpec, roles: Roles) -> tuple[Child, ...]:
    """Everything that should exist, in the order in which it is made.

    A revision's servers come after the router's configuration that lists them: how long every router has known a
    revision is read from the age of its Deployment, also when the operator died in between. Servers that were there
    before (of the time when there was no router, or on their way out) go first, and are made anew.
    """
    roles = _without_old_servers(observed, roles)
    newest = roles.candidate or roles.stable
    if newest is None:
        return ()
    # Labels of what outlives a revision must not change before the traffic does.
    digest = (roles.stable or newest).artifact_digest
    egress = observed.config.pods.egress
    wanted: list[Object | None] = [server_network_policy(observed.obj, digest, egress)]
    wanted += [server_service(observed.obj, revision) for revision in roles]
    if roles.stable is not None:
        wanted.append(router_network_policy(observed.obj, digest, egress))
        wanted.append(_routes(observed, spec, roles, digest))
    wanted += [_server(observed, spec, revision, roles) for revision in roles]
    if roles.stable is not None:
        wanted += _router(observed, spec, roles.stable, digest)
    if "PodMonitor" in observed.capabilities:
        wanted.append(pod_monitor(observed.obj, digest))
    if "PrometheusRule" in observed.capabilities and roles.stable is not None:
        wanted.append(prometheus_rule(observed.obj, spec, roles.stable, digest))
    namespace = observed.obj["metadata"]["namespace"]
    keys = signing_secret(namespace, observed.config.trust.key(namespace))
    return (keys, *(Child(item) for item in wanted if item is not None))


def _without_old_servers(observed: Observed, roles: Roles) -> Roles:
    """Without a candidate whose servers are there and that no router was told of."""
    if roles.stable is None or roles.candidate is None or roles.candidate.revision in listed(observed.children):
        return roles
    meta = observed.obj["metadata"]
    there = Key("Deployment", meta["namespace"], revision_name(meta["name"], roles.candidate.revision))
    return replace(roles, candidate=None) if there in observed.children else roles


def _server(observed: Observed, spec: ModelDeploymentSpec, revision: Revision, roles: Roles) -> Object:
    # A candidate is proven on at least one pod, whatever the scale.
    replicas = spec.replicas if revision is roles.stable else max(spec.replicas, 1)
    config = observed.config
    return server_deployment(
        observed.obj,
        spec,
        revision,
        replicas=replicas,
        images=config.images,
        version=config.version,
        limits=config.pods.server_limits,
    )


def _routes(observed: Observed, spec: ModelDeploymentSpec, roles: Roles, digest: str) -> Object:
    obj, domain = observed.obj, observed.config.cluster_domain
    backends = [
        Backend(
            revision.revision,
            revision.server,
            server_host(obj, revision, domain),
            revision.weight,
            revision.batching.max_batch_size,
            revision.signature or TEXT_SIGNATURE,
        )
        for revision in roles
    ]
    retiring = roles.retiring.revision if roles.retiring else None
    return router_config_map(obj, spec, backends, retiring, digest, observed.config.pods.router_limits)


def _router(observed: Observed, spec: ModelDeploymentSpec, stable: Revision, digest: str) -> list[Object | None]:
    """The router, and the budgets of what it routes to. It is there as soon as something is to be routed to."""
    obj, name, config = observed.obj, observed.obj["metadata"]["name"], observed.config
    return [
        router_deployment.router_deployment(obj, spec, config.images, digest, config.pods.router_limits),
        router_service(obj, digest),
        disruption_budget(
            obj,
            name=name,
            component=COMPONENT,
            digest=digest,
            selector=server_selector(obj, stable),
            replicas=spec.replicas,
        ),
        disruption_budget(
            obj,
            name=router_name(name),
            component=router_deployment.COMPONENT,
            digest=digest,
            selector=router_selector(obj),
            replicas=router_replicas(spec),
        ),
    ]
