"""The part of a Kubernetes affinity that may be said about Kaon's pods, with the bounds that the API server has for it.

Typed, because what no pod may have must be refused when the resource is applied, and not when its pod is made.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from kaon.api.base import ApiModel, Rule, Rules
from kaon.api.types import LabelKey, LabelValue, Name, keys_rule, label_keys

Weight = Annotated[int, Field(ge=1, le=100)]


class LabelRequirement(ApiModel):
    """What a label's value must be."""

    cel_rules: ClassVar[Rules] = {
        Rule(
            "(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
            "operator In and NotIn need values, Exists and DoesNotExist take none",
        ): lambda self: (self.operator in ("In", "NotIn")) == bool(self.values)
    }

    key: LabelKey
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: list[LabelValue] = Field(default_factory=list, max_length=64)


class LabelSelector(ApiModel):
    """Which objects, by their labels: those that meet all of it."""

    cel_rules: ClassVar[Rules] = {
        Rule(
            keys_rule("self.matchLabels"),
            "a key of matchLabels is the name of a label, such as app or example.com/team",
        ): lambda self: label_keys(self.match_labels)
    }

    match_labels: dict[str, LabelValue] = Field(default_factory=dict, max_length=16)
    match_expressions: list[LabelRequirement] = Field(default_factory=list, max_length=16)


class NodeRequirement(ApiModel):
    """What a node's label must be."""

    cel_rules: ClassVar[Rules] = {
        Rule(
            "(self.operator in ['Exists', 'DoesNotExist']) != (has(self.values) && size(self.values) > 0)",
            "operator Exists and DoesNotExist take no values, every other needs some",
        ): lambda self: (self.operator in ("Exists", "DoesNotExist")) != bool(self.values),
        Rule(
            "!(self.operator in ['Gt', 'Lt']) || !has(self.values) || size(self.values) <= 1",
            "operator Gt and Lt take one value",
        ): lambda self: self.operator not in ("Gt", "Lt") or len(self.values) <= 1,
    }

    key: LabelKey
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    values: list[LabelValue] = Field(default_factory=list, max_length=64)


class NodeTerm(ApiModel):
    """Which nodes: those that meet all of it."""

    match_expressions: list[NodeRequirement] = Field(default_factory=list, max_length=16)


class NodeSelector(ApiModel):
    """Which nodes: those that meet one of the terms."""

    node_selector_terms: list[NodeTerm] = Field(min_length=1, max_length=16)


class PreferredNodes(ApiModel):
    """Nodes that are better than others."""

    weight: Weight
    preference: NodeTerm


class NodeAffinity(ApiModel):
    """Which nodes the pod may run on, and which it should."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = None
    preferred_during_scheduling_ignored_during_execution: list[PreferredNodes] = Field(
        default_factory=list, max_length=16
    )


class PodTerm(ApiModel):
    """Other pods, and how near to them."""

    label_selector: LabelSelector | None = None
    namespaces: list[Name] = Field(default_factory=list, max_length=16, description="Default: the pod's own namespace.")
    topology_key: LabelKey = Field(description="Label of nodes; near is: on nodes with the same value of it.")


class PreferredPods(ApiModel):
    """Nearness to other pods that is better than none."""

    weight: Weight
    pod_affinity_term: PodTerm


class PodAffinity(ApiModel):
    """Which other pods the pod must be near to, or far from, and which it should."""

    required_during_scheduling_ignored_during_execution: list[PodTerm] = Field(default_factory=list, max_length=16)
    preferred_during_scheduling_ignored_during_execution: list[PreferredPods] = Field(
        default_factory=list, max_length=16
    )


class Affinity(ApiModel):
    """Where a pod may and should run, by the labels of nodes and of other pods; as in a Kubernetes pod."""

    node_affinity: NodeAffinity | None = None
    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAffinity | None = None
