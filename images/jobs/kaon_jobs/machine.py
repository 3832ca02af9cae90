"""What this pod may use of its machine: processors, as the cgroup and the affinity mask say. Reads /sys and /proc."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def cpu_limit(cgroup: Path = CGROUP) -> int:
    """Threads worth starting: at least 1.

    Numeric libraries count the node's cores; in a pod limited to two of sixty-four they would start sixty-four threads
    and be throttled to a crawl.
    """
    count = len(os.sched_getaffinity(0))
    quota = _cgroup_quota(cgroup)
    return max(1, count if quota is None else min(count, math.ceil(quota)))


def _cgroup_quota(cgroup: Path) -> float | None:
    second = cgroup / "cpu.max"
    if second.exists():
        quota, period = second.read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    first = cgroup / "cpu" / "cpu.cfs_quota_us"
    if first.exists():
        micros = int(first.read_text())
        return None if micros <= 0 else micros / int((cgroup / "cpu" / "cpu.cfs_period_us").read_text())
    return None
