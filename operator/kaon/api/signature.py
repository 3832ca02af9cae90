"""What a request to a model and its answer hold: tensors of the V2 protocol, as cards, Reports and routes have them."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from kaon.api.base import ApiModel
from kaon.api.types import LARGEST

MOST_INPUTS = 256
"""A column of a table is an input."""
MOST_OUTPUTS = 16


class TensorSpec(ApiModel):
    """One input or output of a model, as a client sees it."""

    name: str = Field(max_length=256)
    datatype: str = Field(max_length=16, description="As the V2 protocol has it: BYTES, FP64 …")
    shape: list[Annotated[int, Field(ge=-1, le=LARGEST)]] = Field(
        max_length=8,
        description="-1: as many as the request has rows; in the second place as many values as it has in a row.",
    )
    optional: bool | None = Field(
        default=None, description="true: an input that may be left out; its values are missing then."
    )
    content: Literal["datetime", "image"] | None = Field(
        default=None,
        description="Of strings. datetime: points in time, in ISO 8601. image: JPEG or PNG files, in base64.",
    )

    @property
    def varies(self) -> bool:
        """Whether a row has any number of values; short ones are filled up with empty strings."""
        return self.shape[1:] == [-1]

    @property
    def kind(self) -> str:
        """What a value must be: the content where there is one, else the datatype."""
        return self.content or self.datatype


class Signature(ApiModel):
    """What goes in and what comes out."""

    inputs: list[TensorSpec] = Field(max_length=MOST_INPUTS, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    outputs: list[TensorSpec] = Field(max_length=MOST_OUTPUTS, json_schema_extra={"x-kubernetes-list-type": "atomic"})

    @property
    def is_history(self) -> bool:
        """Whether a row is what a user has taken in."""
        return any(tensor.varies for tensor in self.inputs)

    @property
    def is_table(self) -> bool:
        """Whether it reads rows of a table, of which any value may be missing."""
        return bool(self.inputs) and all(tensor.optional for tensor in self.inputs)

    @property
    def noun(self) -> str:
        """What one example is called: a row, an image or a text."""
        if self.is_table:
            return "row"
        return "image" if self.inputs and self.inputs[0].content == "image" else "text"


TEXT_SIGNATURE: Final = Signature(
    inputs=[TensorSpec(name="text", datatype="BYTES", shape=[-1, 1])],
    outputs=[
        TensorSpec(name="label", datatype="BYTES", shape=[-1, 1]),
        TensorSpec(name="probabilities", datatype="FP32", shape=[-1, -1]),
    ],
)
"""Of every model that says nothing of its own: until there were others, all read texts."""
