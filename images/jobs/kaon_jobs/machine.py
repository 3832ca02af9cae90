"""What this pod may use of its machine: processors and memory. Reads /sys and /proc."""

from __future__ import annotations

import math
import os
import resource
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


def memory_limit(cgroup: Path = CGROUP) -> int:
    """Bytes of memory that this process may use: the least of the cgroup's limit, its own, and what the machine has."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in (cgroup / "memory.max", cgroup / "memory" / "memory.limit_in_bytes"):
        text = file.read_text().strip() if file.exists() else "max"
        found += [int(text)] if text.isdecimal() else []
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft = resource.getrlimit(kind)[0]
        found += [soft] if soft != resource.RLIM_INFINITY else []
    return min(found)


def memory_used() -> int:
    """Bytes of memory that this process holds and that could not be given back: not the files that it maps."""
    return _status("RssAnon")


def memory_mapped() -> int:
    """Bytes that count towards RLIMIT_DATA."""
    return _status("VmData")


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


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
