"""The worlds. The small bounds are explored with every test, the full ones by `python tests/smallworld --full`."""

from __future__ import annotations

import dataclasses

from tests.unit.controllers.world import (
    COMPRESSION_SPEC,
    DATASET_SPEC,
    EVALUATION,
    NAMESPACE,
    TRAINING_SPEC,
    artifact,
)

from kaon.api import conditions as c
from kaon.api.base import API_VERSION
from kaon.controllers import compressionjob, dataset, modeldeployment, trainingrun
from kaon.controllers.base import Key, Object
from kaon.resources.access import job_access

from .state import Budget as B
from .world import Bounds, World

DATA = Key("Dataset", NAMESPACE, "data")
TWIN = Key("Dataset", NAMESPACE, "twin")
RUN = Key("TrainingRun", NAMESPACE, "run")
SMALL = Key("CompressionJob", NAMESPACE, "small")
SERVED = Key("ModelDeployment", NAMESPACE, "served")

OTHER_DATA: Object = {**DATASET_SPEC, "clean": {"missing": "fail"}}
STRICT_DATA: Object = {**DATASET_SPEC, "quality": {"minRows": 1000}}
"""The same stage, with a gate that its result does not pass."""
PASSING_DATA: Object = {**DATASET_SPEC, "ttlSecondsAfterFinished": 60}
SUSPENDED_DATA: Object = {**DATASET_SPEC, "suspend": True}
LONGER_TRAINING: Object = {**TRAINING_SPEC, "recipe": {"epochs": 5}}
OTHER_COMPRESSION: Object = {**COMPRESSION_SPEC, "objective": "size"}
SERVED_SPEC: Object = {"modelRef": {"kind": "CompressionJob", "name": SMALL.name}}


def shared() -> tuple[Object, ...]:
    """The identity of the pods of a namespace, made before."""
    made = []
    for child in job_access(NAMESPACE):
        kind, metadata = child.manifest["kind"], child.manifest["metadata"]
        made.append({**child.manifest, "metadata": {**metadata, "uid": f"{kind}.{metadata['name']}.0"}})
    return tuple(made)


def compressed(character: str) -> Object:
    """A CompressionJob whose artifact is accepted."""
    meta = {"name": SMALL.name, "namespace": NAMESPACE, "uid": "CompressionJob.small.1", "generation": 1}
    held = [
        {"type": kind, "status": "True", "reason": "Told", "message": "", "observedGeneration": 1}
        for kind in (c.READY, c.ACCEPTED)
    ]
    status = {"artifact": artifact(character), "evaluation": EVALUATION, "conditions": held}
    return {"apiVersion": API_VERSION, "kind": "CompressionJob", "metadata": meta, "spec": {}, "status": status}


def one(name: str, about: str, bounds: Bounds, *specs: Object, given: bool = True, starts: bool = False) -> World:
    """A world of one Dataset."""
    return World(
        name,
        about,
        (dataset.CONTROLLER,),
        {DATA: (DATASET_SPEC, *specs)},
        bounds,
        given=shared() if given else (),
        starts=starts,
    )


EDITS = one(
    "edits",
    "a Dataset, edited to another digest or another gate while it is reconciled and its Job runs",
    Bounds({B.APPLY: 2}),
    OTHER_DATA,
    STRICT_DATA,
)
NAMESAKES = one(
    "namesakes",
    "a Dataset, deleted and applied again, the same or another, while its children are collected",
    Bounds({B.APPLY: 2, B.DELETE: 1}, lag=1),
    OTHER_DATA,
)
CRASHES = one(
    "crashes",
    "a Dataset; the operator dies between any two writes, and a standby takes over whose watches lag",
    Bounds({B.APPLY: 1, B.CRASH: 1}, lag=2, standby_lag=1),
    given=False,
)
FAULTS = one(
    "faults",
    "a Dataset, edited; a write is lost, or its answer is",
    Bounds({B.APPLY: 2, B.FAULT: 1}, lag=1),
    OTHER_DATA,
    given=False,
)
HANDS = one(
    "hands",
    "a Dataset, with a time to live or without; its Job fails, its children are deleted",
    Bounds({B.APPLY: 1, B.HAND: 2, B.FAIL: 1}, lag=2),
    PASSING_DATA,
)
PODS = one(
    "pods",
    "a Dataset whose pod takes its time; suspended and resumed",
    Bounds({B.APPLY: 2}, lag=2),
    SUSPENDED_DATA,
    starts=True,
)
PAIR = World(
    name="pair",
    about="a TrainingRun on a Dataset that is edited",
    controllers=(dataset.CONTROLLER, trainingrun.CONTROLLER),
    declared={DATA: (DATASET_SPEC, OTHER_DATA), RUN: (TRAINING_SPEC,)},
    bounds=Bounds({B.APPLY: 3}, lag=1),
    given=shared(),
)
RELAPSE = World(
    name="relapse",
    about="a TrainingRun on a Dataset that loses its result and is made again",
    controllers=(dataset.CONTROLLER, trainingrun.CONTROLLER),
    declared={DATA: (DATASET_SPEC,), RUN: (TRAINING_SPEC,)},
    bounds=Bounds({B.APPLY: 2, B.HAND: 1}, lag=1),
    given=shared(),
    hand=frozenset({"Report"}),
)
LINGERING = World(
    name="lingering",
    about="a Dataset whose Job is deleted while its pod works: the pod tells its result beside its successor",
    controllers=(dataset.CONTROLLER,),
    declared={DATA: (DATASET_SPEC, OTHER_DATA)},
    bounds=Bounds({B.APPLY: 2, B.HAND: 1}, lag=2),
    given=shared(),
    reuse=True,
    lingers=True,
)
CHAIN = World(
    name="chain",
    about="Dataset, TrainingRun and CompressionJob, applied in any order",
    controllers=(dataset.CONTROLLER, trainingrun.CONTROLLER, compressionjob.CONTROLLER),
    declared={DATA: (DATASET_SPEC,), RUN: (TRAINING_SPEC,), SMALL: (COMPRESSION_SPEC,)},
    bounds=Bounds({B.APPLY: 3}, lag=1),
    given=shared(),
)
TWINS = World(
    name="twins",
    about="two Datasets with one digest: whoever comes second finds the artifact in the store",
    controllers=(dataset.CONTROLLER,),
    declared={DATA: (DATASET_SPEC,), TWIN: (DATASET_SPEC, OTHER_DATA)},
    bounds=Bounds({B.APPLY: 2}, lag=1),
    given=shared(),
    reuse=True,
)
SERVING = World(
    name="serving",
    about="a ModelDeployment, rolled out and back between two artifacts; the operator dies between any two writes",
    controllers=(modeldeployment.CONTROLLER,),
    declared={SERVED: (SERVED_SPEC,)},
    outside={SMALL: (compressed("a"), compressed("b"))},
    bounds=Bounds({B.APPLY: 2, B.CRASH: 1}, lag=1),
    brisk=True,
)
WORLDS = (EDITS, NAMESAKES, CRASHES, FAULTS, HANDS, PODS, PAIR, RELAPSE, LINGERING, CHAIN, TWINS, SERVING)

EDITED_CHAIN = dataclasses.replace(
    CHAIN,
    about="Dataset, TrainingRun and CompressionJob, applied in any order, and the Dataset edited meanwhile",
    declared={**CHAIN.declared, DATA: (DATASET_SPEC, OTHER_DATA)},
)
FULL = (
    EDITS.within(Bounds({B.APPLY: 4})),
    NAMESAKES.within(Bounds({B.APPLY: 3, B.DELETE: 1}, lag=2)),
    CRASHES.within(Bounds({B.APPLY: 1, B.CRASH: 2}, lag=2, standby_lag=2)),
    FAULTS.within(Bounds({B.APPLY: 2, B.FAULT: 2}, lag=3)),
    HANDS.within(Bounds({B.APPLY: 2, B.HAND: 2, B.FAIL: 1}, lag=2)),
    PODS.within(Bounds({B.APPLY: 3, B.HAND: 1}, lag=3)),
    PAIR.within(Bounds({B.APPLY: 4}, lag=2)),
    RELAPSE.within(Bounds({B.APPLY: 2, B.HAND: 2, B.CRASH: 1}, lag=2)),
    LINGERING.within(Bounds({B.APPLY: 2, B.HAND: 2, B.FAIL: 1}, lag=2)),
    EDITED_CHAIN.within(Bounds({B.APPLY: 4}, lag=2)),
    CHAIN.within(Bounds({B.APPLY: 3, B.CRASH: 1}, lag=1, workers=2)),
    TWINS.within(Bounds({B.APPLY: 3}, lag=2, workers=2)),
    SERVING.within(Bounds({B.APPLY: 3, B.CRASH: 1, B.FAULT: 1}, lag=2)),
)

ALL = {B.APPLY: 8, B.DELETE: 3, B.HAND: 3, B.FAIL: 2, B.CRASH: 3, B.FAULT: 3}
"""Of everything some."""
LARGE = (
    World(
        name="stages",
        about="everything that runs a Job, two of one kind, with everything that can happen to it",
        controllers=(dataset.CONTROLLER, trainingrun.CONTROLLER, compressionjob.CONTROLLER),
        declared={
            DATA: (DATASET_SPEC, OTHER_DATA, STRICT_DATA, SUSPENDED_DATA),
            TWIN: (DATASET_SPEC, OTHER_DATA, PASSING_DATA),
            RUN: (TRAINING_SPEC, LONGER_TRAINING),
            SMALL: (COMPRESSION_SPEC, OTHER_COMPRESSION),
        },
        bounds=Bounds(ALL, workers=3, standby_lag=1),
        reuse=True,
        lingers=True,
        brisk=True,
        starts=True,
    ),
    World(
        name="rollouts",
        about="a ModelDeployment between three artifacts, two servers and two scales",
        controllers=(modeldeployment.CONTROLLER,),
        declared={SERVED: (SERVED_SPEC, {**SERVED_SPEC, "server": "torchserve"}, {**SERVED_SPEC, "replicas": 2})},
        outside={SMALL: tuple(map(compressed, "abc"))},
        bounds=Bounds({B.APPLY: 8, B.DELETE: 1, B.CRASH: 3, B.FAULT: 2}),
        brisk=True,
    ),
)
"""Too large to be explored; walked through."""
