"""docs/compression-report.md names every field that report.json has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kaon.api.base import ApiModel
from kaon_jobs.compress.evidence import document as evidence

PAGE = (Path(__file__).resolve().parents[4] / "docs" / "compression-report.md").read_text()


@pytest.mark.parametrize(
    "model",
    [
        evidence.Evidence,
        evidence.CandidateEvidence,
        evidence.ClassEvidence,
        evidence.DecisionEvidence,
        evidence.SpeedEvidence,
        evidence.StepEvidence,
        evidence.SensitivityEvidence,
    ],
)
def test_every_field_of_the_report_is_described(model: type[ApiModel]) -> None:
    named = set(re.findall(r"`([A-Za-z0-9]+)`", PAGE))
    fields = {str(field.alias) for field in model.model_fields.values()}
    assert fields <= named, fields - named


def test_the_page_speaks_of_the_present_version() -> None:
    assert f"This page describes version {evidence.EVIDENCE_VERSION}." in PAGE
