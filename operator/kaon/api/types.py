"""The simple values of the API: names, references, digests, URIs, quantities, numbers, each with its bounds.

A pattern means the same to the API server (RE2) and to pydantic: no class of characters that one of them reads as
Unicode and the other as ASCII.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Annotated, Any

from pydantic import Field

from kaon.api.base import ApiModel, Rule

DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
DNS_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
LABEL_KEY = (
    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
    r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
)
"""Without a backslash, so that it can stand in a CEL string."""
LABEL_VALUE = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"
SHA256 = r"^sha256:[0-9a-f]{64}$"
# No white space and no control character. A file is one of a mounted claim: nothing else of a pod is data.
_PATH = r"[^\x00-\x20\x7f-\xa0]+"
STORE_URI = rf"^((s3|gs|az)://{_PATH}|file:///mnt/{_PATH})$"
SOURCE_URI = rf"^((s3|gs|az|https)://{_PATH}|file:///mnt/{_PATH})$"
BUILTIN = "builtin:"
"""What the name of a model begins with that Kaon trains from nothing."""
MODEL_URI = rf"^((s3|gs|az)://{_PATH}|file:///mnt/{_PATH}|{BUILTIN}[a-z0-9-]+)$"
QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi)?$"

LARGEST = 2**53 - 1
"""The largest whole number that every reader of JSON keeps exactly."""

Name = Annotated[str, Field(min_length=1, max_length=63, pattern=DNS_LABEL)]
ObjectName = Annotated[str, Field(max_length=253, pattern=DNS_SUBDOMAIN)]
LabelKey = Annotated[str, Field(max_length=253, pattern=LABEL_KEY)]
LabelValue = Annotated[str, Field(max_length=63, pattern=LABEL_VALUE)]
Digest = Annotated[str, Field(max_length=71, pattern=SHA256)]
Quantity = Annotated[
    Annotated[str, Field(max_length=32, pattern=QUANTITY)] | Annotated[int, Field(ge=0, le=LARGEST)],
    Field(
        json_schema_extra={
            "x-kubernetes-int-or-string": True,
            "pattern": QUANTITY,
            "maxLength": 32,
            "minimum": 0,
            "maximum": LARGEST,
        }
    ),
]
REASON_LENGTH = 128
MESSAGE_LENGTH = 4096
Reason = Annotated[str, Field(max_length=REASON_LENGTH)]
"""A cause for programs: the same bound in a Report, a condition and a history, since it goes from one to the next."""
Message = Annotated[str, Field(max_length=MESSAGE_LENGTH)]
"""A sentence for people, likewise. `kaon.api.text` cuts a longer one."""
Ratio = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[int, Field(ge=1, le=31_536_000)]
Count = Annotated[int, Field(ge=0, le=LARGEST)]
Figure = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
"""Any number that is measured. JSON has larger ones, and not every reader of it has."""


class LocalReference(ApiModel):
    """An object of the same namespace, by name."""

    name: Name = Field(description="Name of an object in the same namespace.")


_USER_INFO = "^[A-Za-z0-9+.-]+://[^/]*@"


def bare_uri(field: str, value: Callable[[Any], str]) -> tuple[Rule, Callable[[Any], bool]]:
    """A rule: the URI `field` names a place, and nobody who may open it. `value` gets the same of a parsed model."""
    rule = Rule(
        f"!self.{field}.matches('{_USER_INFO}')",
        f"{field} must hold no user name and no password before '@': put them into the Secret that secretRef names",
    )
    return rule, lambda self: re.search(_USER_INFO, value(self)) is None


def keys_rule(field: str) -> str:
    """CEL: every key of the map `field` is the name of a label."""
    return f"!has({field}) || {field}.all(key, key.size() <= 253 && key.matches('{LABEL_KEY}'))"


def label_keys(keys: Iterable[str]) -> bool:
    """The same in Python: a schema has no bounds for a map's keys, so that a rule must."""
    return all(len(key) <= 253 and re.fullmatch(LABEL_KEY, key) for key in keys)
