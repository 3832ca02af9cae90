"""The base of every API model: camelCase on the wire, frozen in Python, CEL rules beside the fields they guard.

Pure data. A model says three things about itself that `schema.py` turns into the CRD: its fields, the CEL rules in
`cel_rules`, and Kubernetes extensions in a field's `json_schema_extra`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic.alias_generators import to_camel

GROUP = "kaon.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"


class Rule(NamedTuple):
    """One `x-kubernetes-validations` entry: CEL over `self`, and the sentence a person reads when it fails."""

    rule: str
    message: str


Rules = Mapping[Rule, Callable[[Any], bool]]
"""Each rule for the API server, and the same of a parsed model in Python: an object may be older than the rule."""


class ApiModel(BaseModel):
    """A part of a custom resource. Unknown fields are ignored, so that an older operator reads newer objects."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)

    cel_rules: ClassVar[Rules] = {}

    @model_validator(mode="after")
    def _keeps_its_rules(self) -> Self:
        for rule, holds in self.cel_rules.items():
            if not holds(self):
                raise ValueError(rule.message)
        return self

    def wire(self) -> dict[str, Any]:
        """The JSON form that the API server sees: camelCase, absent instead of null."""
        return self.model_dump(by_alias=True, exclude_none=True, mode="json")

    def declared(self) -> dict[str, Any]:
        """Only what differs from the defaults: what a user declared. The form that digests are made of.

        A default written out and a default left out are the same declaration, and a field that a later version adds
        with a default changes nobody's digest.
        """
        return self.model_dump(by_alias=True, exclude_none=True, exclude_defaults=True, mode="json")
