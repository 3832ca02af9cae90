"""What the processor of this machine can do."""

from __future__ import annotations

import torch


def multiplies_bf16() -> bool:
    """Whether the CPU has instructions for BF16, which train a text encoder about one and a half times as fast."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
