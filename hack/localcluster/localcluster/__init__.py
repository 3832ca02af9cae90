"""A real single-node Kubernetes cluster without Docker, for the demo and for tests.

Standard library only: it has to run before any virtual environment exists. `Cluster` is the API that test fixtures
and scripts use; `python3 -m localcluster` is the same for people.
"""

from localcluster.cluster import Cluster
from localcluster.errors import LocalClusterError

__all__ = ["Cluster", "LocalClusterError"]
