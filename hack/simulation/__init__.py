"""What a control plane without a node lacks, simulated: nodes that run pods (kwok), and the pods' reports.

The API server, the controller manager, the scheduler and the operator are the real ones. For scale and fault tests.
"""

from simulation.jobside import JobSide
from simulation.nodes import FakeNodes

__all__ = ["FakeNodes", "JobSide"]
