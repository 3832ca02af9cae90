"""Budgets: how much a stage reads of what users give it. Over budget a stage ends once, with the figure and the limit.

Memory is not among them: a stage knows its pod's own limit. The administrator sets them by the Helm values `budgets.…`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from kaon.api.base import ApiModel
from kaon.api.types import LARGEST

_GIB = 1024**3
Positive = Annotated[int, Field(ge=1, le=LARGEST)]


class Budgets(ApiModel):
    """Limits of one stage. Each field's camelCase name is that of its Helm value."""

    source_bytes: Positive = Field(default=64 * _GIB, description="Bytes of all sources of a Dataset, as stored.")
    decompressed_bytes: Positive = Field(
        default=128 * _GIB, description="Bytes of all compressed sources of a Dataset, after decompression."
    )
    compression_ratio: Positive = Field(
        default=200, description="Bytes after decompression for each byte of a file, above the first 256 MiB."
    )
    source_files: Positive = Field(default=10_000, description="Files of a source that is a folder.")
    archive_members: Positive = Field(default=1_000_000, description="Files and folders in an archive of images.")
    rows: Positive = Field(default=50_000_000, description="Rows of all sources of a Dataset.")
    columns: Positive = Field(default=10_000, description="Columns of a file.")
    cell_characters: Positive = Field(default=1_048_576, description="Characters of a text or a label.")
    model_bytes: Positive = Field(default=16 * _GIB, description="Bytes of a base model's folder.")
    model_files: Positive = Field(default=1_000, description="Files of a base model's folder.")
    tokenizer_bytes: Positive = Field(default=128 * 1024**2, description="Bytes of each file of a tokenizer.")
    tokenizer_seconds: Positive = Field(
        default=60, description="Processor seconds of a base model's tokenizer for the texts that it is tried with."
    )
