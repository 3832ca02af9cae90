"""Kaon: ML pipelines as four custom resources, reconciled by digest."""

__version__ = "0.1.0"
