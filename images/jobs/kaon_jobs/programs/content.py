"""Finds out which bytes a declaration stands for, so that its artifact can be addressed. Imports nothing heavy."""

from __future__ import annotations

from kaon.contract.address import BASE_MODEL_ROLE, source_role
from kaon.contract.jobspec import DatasetWork, JobSpec, TrainWork
from kaon_jobs.context import Context


def with_content(job: JobSpec, context: Context) -> JobSpec:
    """The job with the digests of its sources or its base model, which are copied into the context's scratch space.

    A job whose content is known is returned as it is.

    Raises:
        StageFailure: they cannot be read, or are not what is pinned.
    """
    if job.content is not None:
        return job
    content: dict[str, str] = {}
    match job.work:
        # Imported here: the servers' images, which only fetch, have no libraries for data and weights.
        case DatasetWork() as work:
            from kaon_jobs.data.fetch import fetch_sources

            context.sources = fetch_sources(work, context)
            content = {source_role(index): source.digest for index, source in enumerate(context.sources)}
        case TrainWork() as work if work.model.builtin is None:
            from kaon_jobs.pretrained.fetch import fetch_base_model

            context.base_model = fetch_base_model(work, context)
            content = {BASE_MODEL_ROLE: context.base_model.digest}
        case _:
            pass
    return job.model_copy(update={"content": content})
