"""Trust domains: whose artifacts may be used by whom. A namespace is one of its own, unless it shares one. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kaon.contract.signing import SigningKey, domain_key

SHARED_SUFFIX = ".shared"
"""Ends the name of a shared domain. No namespace has a dot in its name, so none gets into such a domain by its name."""


@dataclass(frozen=True, slots=True)
class TrustDomains:
    """The trust domains of an installation and their keys."""

    root: bytes = field(repr=False)
    """The root key, of which all keys are derived."""
    shared: Mapping[str, str] = field(default_factory=dict)
    """Namespace -> name of the domain that it shares with others."""

    def domain(self, namespace: str) -> str:
        """The domain of a namespace."""
        name = self.shared.get(namespace)
        return namespace if name is None else f"{name}{SHARED_SUFFIX}"

    def key(self, namespace: str) -> SigningKey:
        """The key that signs in a namespace."""
        return domain_key(self.root, self.domain(namespace))
