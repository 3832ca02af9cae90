"""The variables that a user may set in a pod: how libraries use processors and memory, time and language, one's own.

An allow-list, because the programs in a pod read hundreds of variables, and each new version of them others: some lead
to another store or proxy, load other code, read or write files, or show more devices than were asked for. None of these
here names a file (but TZ, which is read as a time zone alone), a server, a device or code. Pure data.
"""

from __future__ import annotations

OWN_PREFIX = "APP_"
"""Names of the user's own: no program in a pod reads a variable that begins so."""

GROUPS: dict[str, tuple[str, ...]] = {
    "OMP_": (
        *("NUM_THREADS", "THREAD_LIMIT", "DYNAMIC", "SCHEDULE", "PROC_BIND", "PLACES", "STACKSIZE", "WAIT_POLICY"),
        "MAX_ACTIVE_LEVELS",
    ),
    "KMP_": ("AFFINITY", "BLOCKTIME"),
    "GOMP_": ("CPU_AFFINITY", "SPINCOUNT"),
    "MKL_": ("NUM_THREADS", "DYNAMIC", "CBWR", "ENABLE_INSTRUCTIONS"),
    "OPENBLAS_": ("NUM_THREADS", "CORETYPE"),
    "NUMEXPR_": ("NUM_THREADS", "MAX_THREADS"),
    "POLARS_": ("MAX_THREADS",),
    "RAYON_": ("NUM_THREADS",),
    "TOKENIZERS_": ("PARALLELISM",),
    "ONEDNN_": ("MAX_CPU_ISA",),
    "ATEN_": ("CPU_CAPABILITY",),
    "PYTORCH_": ("ALLOC_CONF", "CUDA_ALLOC_CONF"),
    "TORCH_": ("CPP_LOG_LEVEL", "DISTRIBUTED_DEBUG", "SHOW_CPP_STACKTRACES"),
    "CUBLAS_": ("WORKSPACE_CONFIG",),
    "CUDA_": ("LAUNCH_BLOCKING",),
    "NCCL_": (
        *("DEBUG", "DEBUG_SUBSYS", "ALGO", "PROTO", "BUFFSIZE", "NTHREADS", "MIN_NCHANNELS", "MAX_NCHANNELS"),
        *("P2P_DISABLE", "P2P_LEVEL", "SHM_DISABLE", "CROSS_NIC", "SOCKET_IFNAME", "SOCKET_NTHREADS"),
        *("IB_DISABLE", "IB_HCA", "IB_GID_INDEX", "IB_TIMEOUT"),
    ),
    "GLOO_": ("SOCKET_IFNAME",),
    "MALLOC_": ("ARENA_MAX", "MMAP_THRESHOLD_", "TRIM_THRESHOLD_"),
}
"""What may follow each beginning."""

ALLOWED_VARIABLE = (
    "^("
    + "|".join(f"{start}({'|'.join(ends)})" for start, ends in GROUPS.items())
    + f"|TZ|LANG|LANGUAGE|LC_[A-Z]+|{OWN_PREFIX}[A-Za-z0-9_]+)$"
)
REFUSAL = (
    "this variable cannot be set. A pod takes settings of numeric libraries (such as OMP_NUM_THREADS, MKL_NUM_THREADS, "
    "TOKENIZERS_PARALLELISM, PYTORCH_ALLOC_CONF, NCCL_DEBUG), TZ, LANG, LC_…, and names of your own that begin with "
    f"{OWN_PREFIX}. Pod template in docs/spec/shared.md lists them all"
)
