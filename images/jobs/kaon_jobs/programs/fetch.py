"""kaon-job fetch: a server's init container. Verifies an artifact, every byte of it, and lays it out for the server.

What is wrong with an artifact is found here, and ends the pod with exit code 64 and a message; never in the server.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Collection
from pathlib import Path

from kaon.api.evaluation import Evaluation
from kaon.contract.digest import digest_of
from kaon.contract.jobspec import FetchWork, JobSpec
from kaon.contract.manifest import Manifest, ModelCard
from kaon_jobs.context import Context
from kaon_jobs.errors import StageFailure
from kaon_jobs.serve.layout import lay_out
from kaon_jobs.store import artifact

log = logging.getLogger(__name__)


def run(job: JobSpec, work: FetchWork, context: Context) -> None:
    """Fetch, verify, lay out below work.target_dir.

    Raises:
        ArtifactCorrupted: a file is not what the manifest names, or the manifest not what the digest names.
        StageFailure: the artifact is no model, lacks recorded answers, or the store cannot be read.
    """
    target = Path(work.target_dir)
    files = target / ".fetched"
    # The container may be started again in the same pod, over what an earlier attempt left.
    for leftover in target.iterdir():
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    found = artifact.fetch(work.model, files, kinds={work.kind}, only=lambda manifest: _serving_files(manifest, work))
    evaluation = _evaluation(found.manifest)
    counted = [figures.label for figures in evaluation.per_class] if evaluation else []
    lay_out(work, _card(found.manifest), files, target, counted)
    shutil.rmtree(files)
    log.info("%s (%s) is verified and laid out for %s", found.uri, found.digest, work.server)


def _serving_files(manifest: Manifest, work: FetchWork) -> Collection[str]:
    _check_evidence(manifest, work)
    return _card(manifest).serving_files


def _check_evidence(manifest: Manifest, work: FetchWork) -> None:
    """Holds the evaluation that the gates judged against the one that was signed with the model."""
    if work.evaluation is None:
        return
    figures = _evaluation(manifest)
    signed = digest_of(figures.wire()) if figures else "none"
    if signed != work.evaluation:
        raise StageFailure(
            "EvidenceMismatch",
            f"the gates judged the evaluation {work.evaluation}, and the artifact {work.model.digest} was signed with "
            f"{signed}. Somebody has changed the status of the resource that made it; set spec.rerun there.",
        )


def _evaluation(manifest: Manifest) -> Evaluation | None:
    stage = manifest.result.compression or manifest.result.training
    return stage.evaluation if stage else None


def _card(manifest: Manifest) -> ModelCard:
    card = manifest.model
    if card is None:
        raise StageFailure("ArtifactNotServable", f"the artifact is a {manifest.kind}, not a model")
    if card.reads == "array":
        raise StageFailure(
            "ArtifactNotServable",
            f"the model of {card.task} reads arrays; the servers here take texts, tables, histories and images",
        )
    if not card.golden:
        raise StageFailure(
            "ArtifactNotServable",
            "the artifact has no recorded answers to compare the server's with; "
            "make it again: set spec.rerun on the resource that made it",
        )
    return card
