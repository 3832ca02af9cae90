"""A graph that is run, and the probabilities that its scores mean. Copied beside the model, which needs no Kaon then.

The stages run a graph by this file, and so do the servers: what was measured is what is served.
"""

from pathlib import Path

import numpy as np
import onnxruntime

FATAL_AND_ERRORS = 3


def open_graph(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """A session of an ONNX file, on the processor. Starts no telemetry."""
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads take the processor from others: a server's own, between two requests; another session's, where
    # two are timed in turns.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = FATAL_AND_ERRORS
    return onnxruntime.InferenceSession(str(path), sess_options=options, providers=["CPUExecutionProvider"])


def softmax(scores: "np.ndarray") -> "np.ndarray":
    """Probabilities of scores [rows, classes], float32. It does not overflow; what is not finite stays so."""
    with np.errstate(invalid="ignore"):
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)
