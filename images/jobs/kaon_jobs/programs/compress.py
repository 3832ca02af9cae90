"""The compress stage from end to end: check the baseline, make candidates, choose on validation, judge once on test.

Reads the model's and the dataset's artifacts; writes trials and one artifact: the compressed model when it is accepted,
else the evidence alone. SIGTERM may come anywhere: finished trials are in the store, and are not made again.
"""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from kaon.api.compressionjob import Budget, Verdict
from kaon.api.evaluation import Evaluation
from kaon.api.report import CompressionResult, Result
from kaon.contract.jobspec import CompressWork, JobSpec
from kaon.contract.manifest import ModelCard
from kaon.tasks.registry import TASKS
from kaon_jobs.compress.evidence import document as documents
from kaon_jobs.compress.evidence.attribution import attribution
from kaon_jobs.compress.evidence.page import page
from kaon_jobs.compress.families import graph
from kaon_jobs.compress.families.forms import DESCRIPTIONS
from kaon_jobs.compress.search.moves import RANKINGS, Question, linear_models
from kaon_jobs.compress.training.lessons import Lessons
from kaon_jobs.compress.trials.baseline import Baseline, load_baseline
from kaon_jobs.compress.trials.explore import Explored, explore, follow
from kaon_jobs.compress.trials.judge import Judged, baseline_evaluation, judge
from kaon_jobs.compress.trials.kept import TrialStore
from kaon_jobs.compress.trials.prefixes import measured_prefixes
from kaon_jobs.compress.trials.reload import check_reload
from kaon_jobs.compress.trials.workbench import Question as Asked
from kaon_jobs.compress.trials.workbench import Workbench
from kaon_jobs.compress.verdict import message
from kaon_jobs.compress.verdict.conclusion import Conclusion, conclude
from kaon_jobs.compress.verdict.figures import Measured
from kaon_jobs.compress.verdict.selection import Contender, Passing, choose, nearest, pareto
from kaon_jobs.context import Context, now
from kaon_jobs.errors import StageFailure
from kaon_jobs.machine import cpu_limit
from kaon_jobs.measure.evaluation import serving_size, write_evaluation
from kaon_jobs.measure.golden import input_of, recorded
from kaon_jobs.measure.predictions import predictions_file, write_predictions
from kaon_jobs.measure.speed import instruction_sets
from kaon_jobs.predict.onnx_model import MODEL_FILE, read_card, write_card
from kaon_jobs.predict.opening import open_model
from kaon_jobs.programs.content import with_content
from kaon_jobs.store.artifact import publish
from kaon_jobs.store.objectstore import open_store

log = logging.getLogger(__name__)

RELOADED_ROWS = 24


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdict with all it rests on."""

    verdict: Verdict
    message: str
    explored: Explored
    baseline: Evaluation
    smallest_bytes: int
    chosen: Contender | None = None
    judged: Judged | None = None
    conclusion: Conclusion | None = None
    prefixes: dict[int, Measured] = field(default_factory=dict)

    @property
    def usable(self) -> bool:
        """Whether the compressed model may be used."""
        return self.conclusion is not None and self.conclusion.usable


def run(job: JobSpec, work: CompressWork, context: Context) -> Result:
    """Makes the artifact (kind compressed-model, or verdict) and returns the Result to report."""
    job = with_content(job, context)
    if job.artifact is None or job.output is None:
        raise StageFailure("InvalidSpec", "a compress job needs `output`: where its artifact goes")
    threads = min(work.target.threads, cpu_limit())
    baseline = load_baseline(work, context, threads)
    trials = TrialStore(
        open_store(job.output.uri, job.output.secret),
        {
            "model": work.model.digest,
            "dataset": work.dataset.digest,
            "threads": threads,
            "seed": work.search.seed,
            "isa": instruction_sets(),
            "memory": int(work.budget.max_peak_memory_bytes is not None),
        },
    )
    bench = Workbench(
        baseline.directory,
        context.workdir / "candidates",
        Asked(baseline.validation.inputs, baseline.validation.targets, baseline.validation_answers),
        Lessons(baseline.train, work.search.seed, baseline.directory, threads=cpu_limit(), shelf=trials),
        trials,
        threads=threads,
        seed=work.search.seed,
        measure_memory=work.budget.max_peak_memory_bytes is not None,
    )
    out = context.workdir / "compressed"
    outcome = _outcome(work, baseline, bench, out, context, threads)
    log.info("%s: %s", outcome.verdict, outcome.message)

    context.reporter.progress("publishing", 95)
    card = _finish(out, outcome, baseline, threads) if outcome.usable else None
    evidence = _evidence(outcome, work, threads)
    folder = out if card is not None else context.workdir / "verdict"
    folder.mkdir(exist_ok=True)
    _write_evidence(folder, outcome, baseline, evidence)
    result = Result(
        cost=context.cost(),
        start_time=context.start_time,
        completion_time=now(),
        signature=card.served_signature if card else None,
        compression=_result(outcome, evidence, work),
    )
    published = publish(
        job,
        folder,
        kind="verdict" if card is None else "compressed-model",
        attempt=context.attempt,
        result=result,
        model=card,
        progress=lambda done, total: context.reporter.progress("publishing", 95 + 5 * done / total),
    )
    try:
        trials.forget_models()
    except StageFailure as failure:
        log.warning("models of trials stay in the store: %s", failure.message)
    return published


def _outcome(
    work: CompressWork, baseline: Baseline, bench: Workbench, out: Path, context: Context, threads: int
) -> Outcome:
    smallest = graph.smallest_bytes(graph.load(baseline.directory)) + serving_size(
        baseline.directory, [name for name in bench.card.serving_files if name != MODEL_FILE]
    )
    card = bench.card
    may = work.strategy == "auto" and work.search.linear and card.reads == "text"
    question = Question(
        work.budget,
        work.objective,
        work.search,
        bench.baseline_bytes,
        linear=linear_models(bench.words()) if may else (),
        trees=bench.trees(),
        each=RANKINGS if bench.kind == "ranker" else (),
        fusible=card.reads == "text",
    )
    shape = bench.shape() if work.strategy == "auto" else None
    # Where structures can go, the bound on a graph's bytes bounds nothing; the search then finds its own.
    remakes = any(step.trains or step.linear is not None for step in work.steps or [])
    reshapes = shape is not None or may or remakes or bool(question.trees) or bool(question.each)
    bound = (
        None
        if reshapes or question.linear
        else message.bound_sentence(question.size_ratio, bench.baseline_bytes, smallest)
    )
    question = replace(question, impossible=bound is not None, shape=shape)
    if work.strategy == "steps":
        explored = follow(bench, work.steps or [], question, context)
        chosen: Contender | None = explored.contenders[-1]
    else:
        explored = explore(bench, question, context, threads)
        found = choose(explored.contenders, work.objective, _passing(work, baseline))
        chosen = found or nearest(explored.contenders)
        bound = bound or (explored.bound if found is None else None)
        if found is None and bound is None:
            bound = ""
    smallest = min([smallest, *explored.smallest_bytes(bench.baseline_bytes)])
    if chosen is None:
        failures = [record.failure for record in explored.records.values() if record.failure is not None]
        text = message.impossible(bench.baseline_bytes, failures)
        context.reporter.progress("measuring the baseline", 78)
        return Outcome("Infeasible", text, explored, baseline_evaluation(baseline, threads, work.search.seed), smallest)
    if bound is not None:
        text = message.infeasible(bound or None, chosen, len(explored.tried), explored.ended)
        context.reporter.progress("measuring the baseline", 78)
        return Outcome(
            "Infeasible", text, explored, baseline_evaluation(baseline, threads, work.search.seed), smallest, chosen
        )

    context.reporter.progress(f"judging {chosen.name} on the test split"[:128], 76)
    provenance = {"teacher": work.model.digest, "dataset": work.dataset.digest, "seed": work.search.seed}
    _prepare(bench.model(explored.record(chosen.name)), out, explored, chosen, threads, provenance)
    judged = judge(
        baseline,
        out,
        threads=threads,
        seed=work.search.seed,
        confidence=work.budget.confidence,
        progress=lambda share: context.reporter.progress(
            f"judging {chosen.name} on the test split"[:128], 76 + 16 * share
        ),
    )
    found_out = conclude(work.budget, work.objective, judged.measured, work.search.seed)
    by = "as the steps say" if work.strategy == "steps" else "chosen on the validation split"
    if found_out.verdict == "Accepted":
        text = message.accepted(chosen.name, judged.measured, work.budget.confidence)
    elif found_out.verdict == "Inconclusive":
        text = message.inconclusive(chosen.name, judged.measured, found_out, work.budget, by)
    else:
        text = message.rejected(chosen.name, judged.measured, found_out.violations, by)
    prefixes = measured_prefixes(
        bench,
        explored.record(chosen.name).steps,
        explored,
        lambda name: context.reporter.progress(f"measuring {name} alone"[:128], 93),
    )
    return Outcome(found_out.verdict, text, explored, judged.baseline, smallest, chosen, judged, found_out, prefixes)


def _passing(work: CompressWork, baseline: Baseline) -> Passing:
    """The chance that a candidate passes on the test split, of which only the size (of each class) is used."""

    def passing(item: Contender) -> float:
        if item.measured.quality is None:
            return 0.0
        return item.measured.quality.chance_of_passing(work.budget, baseline.test.targets, work.search.seed)

    return passing


def _prepare(
    candidate: Path, out: Path, explored: Explored, chosen: Contender, threads: int, provenance: dict[str, object]
) -> None:
    """The compressed model as it will be served, its golden examples recorded anew, and what it was made from."""
    shutil.copytree(candidate, out)
    classifier = open_model(out, threads)
    card = classifier.card
    golden = [recorded(classifier, input_of(example)) for example in card.golden]
    steps = [step.wire() for step in explored.record(chosen.name).steps]
    made = {"steps": steps, **provenance}
    card = card.model_copy(update={"golden": golden, "recipe": {**card.recipe, "compression": made}})
    write_card(out, card)


def _finish(out: Path, outcome: Outcome, baseline: Baseline, threads: int) -> ModelCard:
    """Proves that the files alone give the same answers, and returns the card."""
    assert outcome.judged is not None
    card = read_card(out)
    examples = [*map(input_of, card.golden), *baseline.test.inputs[:RELOADED_ROWS]]
    expected = outcome.judged.answers[:RELOADED_ROWS]
    if card.predicts == "items":
        # Recorded of them are names.
        examples = examples[len(card.golden) :]
    else:
        expected = np.concatenate([np.asarray([one.answer for one in card.golden], dtype=np.float32), expected])
    check_reload(out, examples, expected, threads, baseline.comparing.answer)
    for name in DESCRIPTIONS:
        # A candidate of another structure has brought its own.
        if (baseline.directory / name).is_file() and not (out / name).exists():
            shutil.copyfile(baseline.directory / name, out / name)
    return card


def _evidence(outcome: Outcome, work: CompressWork, threads: int) -> documents.Evidence:
    explored = outcome.explored
    found = []
    for item in explored.tried:
        record = explored.records[item.pipeline]
        if item.contender is None:
            one = documents.CandidateEvidence(
                name=record.name, steps=record.steps, split="validation", failure=record.failure
            )
        else:
            sentences = [violation.sentence for violation in item.contender.violations]
            one = documents.candidate_evidence(
                record.name, record.steps, "validation", item.contender.measured, sentences
            ).model_copy(update={"standing": item.contender.standing, "chance": round(item.contender.chance, 4)})
        found.append(one.model_copy(update={"seconds": record.seconds, "reused": item.pipeline in explored.reused}))
    final, judged, conclusion = None, outcome.judged, outcome.conclusion
    steps: list[documents.StepEvidence] = []
    if judged is not None and outcome.chosen is not None:
        record = explored.record(outcome.chosen.name)
        latency = judged.measured.baseline_latency
        steps = attribution(
            record.steps, outcome.prefixes, outcome.baseline.size_bytes or 0, latency.p50 if latency else None
        )
        final = documents.candidate_evidence(
            outcome.chosen.name,
            record.steps,
            "test",
            judged.measured,
            [violation.sentence for violation in conclusion.violations] if conclusion else [],
        )
    return documents.Evidence(
        verdict=outcome.verdict,
        message=outcome.message,
        budget=Budget.model_validate(work.budget.wire()),
        objective=work.objective,
        strategy=work.strategy,
        target=work.target,
        threads=threads,
        seed=work.search.seed,
        predicts=TASKS[work.task].target,
        model_digest=work.model.digest,
        dataset_digest=work.dataset.digest,
        isa=instruction_sets(),
        baseline=outcome.baseline,
        final=final,
        evaluation=judged.evaluation if judged else None,
        decisions=[documents.decision_evidence(item) for item in (conclusion.decisions if conclusion else ())],
        baseline_speed=documents.speed_evidence(judged.speeds[0]) if judged else None,
        final_speed=documents.speed_evidence(judged.speeds[1]) if judged else None,
        attribution=steps,
        front=[item.name for item in pareto(explored.contenders)],
        trials=found,
        search_ended=explored.ended,
        sensitivity=[
            documents.SensitivityEvidence(nodes=list(item.nodes), divergence=item.divergence)
            for item in explored.sensitivity
        ],
        smallest_bytes=outcome.smallest_bytes,
    )


def _write_evidence(folder: Path, outcome: Outcome, baseline: Baseline, evidence: documents.Evidence) -> None:
    if outcome.judged is not None:
        write_evaluation(folder, outcome.judged.evaluation)
        write_predictions(folder / predictions_file("test"), baseline.test, outcome.judged.answers)
    document = json.dumps(evidence.wire(), indent=1, ensure_ascii=False)
    (folder / "report.json").write_text(document, encoding="utf-8")
    (folder / "report.html").write_text(page(evidence), encoding="utf-8")


def _result(outcome: Outcome, evidence: documents.Evidence, work: CompressWork) -> CompressionResult:
    contenders, final = outcome.explored.contenders, evidence.final
    return CompressionResult(
        verdict=outcome.verdict,
        message=outcome.message,
        baseline=outcome.baseline,
        evaluation=outcome.judged.evaluation if outcome.judged else None,
        chosen=final.name if final else None,
        size_ratio=final.size_ratio if final else None,
        speedup=final.speedup if final else None,
        drops={name: drop.value for name, drop in final.drops.items()} if final else {},
        class_recall_drop=final.class_recall_drop if final else None,
        flip_rate=final.flip_rate if final else None,
        candidates=documents.status_candidates(pareto(contenders), contenders, final),
        undecided=documents.status_undecided(outcome.conclusion),
        source_digest=work.model.digest,
    )
