"""Moved: import kaon.resources.labels."""

from kaon.resources.labels import *  # noqa: F403
