"""Manifest: the file `kaon.json` that makes a folder an artifact. Written last; its SHA-256 is the artifact's digest.

Files lie under `<folder>/<attempt>/…`, so that two attempts never mix; the first manifest that is put wins, and a
later attempt adopts it. Whoever reads a file checks it against the manifest, and the manifest against the digest.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from kaon.api.base import ApiModel
from kaon.api.report import Result
from kaon.api.signature import Signature, TensorSpec
from kaon.contract.jobspec import Provenance

MANIFEST_NAME = "kaon.json"
SIGNATURE_NAME = "kaon.sig"
"""Beside the attempt's files: the signature of the manifest and of all files, as OpenSSF Model Signing has it."""
MANIFEST_VERSION = 1


class ArtifactFile(ApiModel):
    """One file: its path inside the artifact (without the attempt's prefix), SHA-256 as hex, size in bytes."""

    path: str
    sha256: str
    size_bytes: int


class GoldenExample(ApiModel):
    """A recorded input of the evaluation with its recorded output; served answers must agree."""

    text: str | None = Field(default=None, description="Of a model of texts.")
    row: list[float | str | list[str] | None] | None = Field(
        default=None, description="Of a model of tables: a value a column. Of one of interactions: history and user."
    )
    image: str | None = Field(default=None, description="Of a model of images: the file, in base64.")
    values: list[Any] | None = Field(default=None, description="Of any other: the array, in nested lists.")
    label: str | None = Field(default=None, description="The class of the largest probability; None without classes.")
    answer: list[float] = Field(
        description="Probabilities of the classes; without classes the predicted number; of items their scores."
    )
    items: list[str] | None = Field(default=None, description="The items, the best first; empty where there are fewer.")


class Column(ApiModel):
    """A column of the tables that a model reads."""

    name: str
    type: str = Field(description="number, category or datetime.")
    categories: list[str] = Field(
        default_factory=list,
        description="Of a category: the values that training rows have, in the order of their ids.",
    )


class ImageForm(ApiModel):
    """What an image becomes before a model reads it. Of the pixels' values the graph takes care."""

    height: int
    width: int
    channels: Literal[1, 3] = Field(description="1: grey, 3: red, green and blue.")
    shortest: int | None = Field(
        default=None,
        description="The shorter side is scaled to so many pixels, and the middle taken. None: both sides are scaled.",
    )
    scaled: list[int] | None = Field(
        default=None, description="Height and width that both sides are scaled to before the middle is taken."
    )
    resample: Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"] = Field(
        description="How Pillow scales."
    )


class ModelCard(ApiModel):
    """What a served model needs to know of itself."""

    task: str
    labels: list[str] = Field(description="The classes, in the order of their ids; empty when it predicts a number.")
    max_sequence_length: int | None = Field(
        default=None, description="Tokens of a text, or items of a history, that a model reads at most."
    )
    ranks: int | None = Field(default=None, description="Of a model that ranks items: how many are an answer.")
    items: int | None = Field(default=None, description="Of a model that ranks items: how many it knows.")
    columns: list[Column] | None = Field(default=None, description="Of a model of tables: what a row holds, in order.")
    image: ImageForm | None = Field(default=None, description="Of a model of images: what it reads of one.")
    signature: Signature
    serving_files: list[str] = Field(description="Files that a server needs, e.g. model.onnx, tokenizer.json.")
    golden: list[GoldenExample] = Field(default_factory=list)
    golden_tolerance: float = Field(default=0.02, description="Largest absolute difference of an answer.")
    base_model: str | None = None
    recipe: dict[str, Any] = Field(default_factory=dict)
    license: str | None = None

    @property
    def predicts(self) -> Literal["class", "number", "items"]:
        """What it answers with."""
        if self.ranks is not None:
            return "items"
        return "class" if self.labels else "number"

    @property
    def reads(self) -> Literal["text", "table", "image", "array", "history"]:
        """What it is asked: texts, which it reads as tokens; rows of a table; images; arrays of one shape; or
        histories."""
        if self.ranks is not None:
            return "history"
        if self.max_sequence_length is not None:
            return "text"
        if self.image is not None:
            return "image"
        return "array" if self.columns is None else "table"

    @property
    def served_signature(self) -> Signature:
        """What a server takes and gives: of a table an input a column, each of which may be left out."""
        if self.columns is None:
            return self.signature
        inputs = [
            TensorSpec(
                name=column.name,
                datatype="FP64" if column.type == "number" else "BYTES",
                shape=[-1, 1],
                optional=True,
                content="datetime" if column.type == "datetime" else None,
            )
            for column in self.columns
        ]
        return self.signature.model_copy(update={"inputs": inputs})


class Manifest(ApiModel):
    """The content of kaon.json."""

    version: int = MANIFEST_VERSION
    kind: Literal["dataset", "model", "compressed-model", "verdict"]
    address: str = Field(description="Of the declaration and the content of its inputs.")
    content: dict[str, str] = Field(default_factory=dict, description="Role -> digest of each source or base model.")
    attempt: str = Field(description="Prefix of the files in the folder.")
    files: list[ArtifactFile]
    inputs: dict[str, str] = Field(default_factory=dict, description="Role -> artifact digest: the lineage.")
    provenance: Provenance
    model: ModelCard | None = None
    result: Annotated[Result, Field(description="As reported, without `artifact`, which names this manifest's digest.")]
