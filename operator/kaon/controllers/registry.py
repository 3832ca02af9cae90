"""The controllers of all kinds. The one place that lists them."""

from __future__ import annotations

from kaon.controllers import compressionjob, dataset, modeldeployment, trainingrun
from kaon.controllers.base import Controller

CONTROLLERS: tuple[Controller, ...] = (
    dataset.CONTROLLER,
    trainingrun.CONTROLLER,
    compressionjob.CONTROLLER,
    modeldeployment.CONTROLLER,
)
