"""tabular-classification in pods: rows of a table in, one of a fixed set of classes out."""

from __future__ import annotations

from kaon_jobs.tasks.tables import TableRoom

ROOM = TableRoom()
