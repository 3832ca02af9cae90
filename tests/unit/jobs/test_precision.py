"""Which precision a training runs in on this machine."""

from __future__ import annotations

import logging

import pytest

from kaon_jobs.learn import loop


@pytest.mark.parametrize(
    ("wanted", "bf16", "found", "lacks"),
    [
        ("auto", True, "fp32", ""),
        ("fp32", True, "fp32", ""),
        ("bf16", True, "bf16", ""),
        ("bf16", False, "fp32", "this CPU has no instructions for it"),
        ("fp16", True, "fp32", "it needs a GPU"),
    ],
)
def test_without_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    wanted: str,
    bf16: bool,
    found: str,
    lacks: str,
) -> None:
    monkeypatch.setattr(loop, "multiplies_bf16", lambda: bf16)
    with caplog.at_level(logging.WARNING):
        assert loop.precision_here(wanted, gpu=False) == found
    assert (lacks in caplog.text) if lacks else not caplog.text
