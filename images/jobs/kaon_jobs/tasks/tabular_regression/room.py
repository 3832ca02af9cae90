"""tabular-regression in pods: rows of a table in, a number out."""

from __future__ import annotations

from kaon_jobs.tasks.tables import TableRoom

ROOM = TableRoom()
