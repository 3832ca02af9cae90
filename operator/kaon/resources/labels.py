"""Labels of the objects that Kaon makes. Nothing is copied from a resource's own labels."""

from __future__ import annotations

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "kaon"
COMPONENT = "app.kubernetes.io/component"
OWNER_KIND = "kaon.dev/owner-kind"
OWNER_NAME = "kaon.dev/owner"
OWNER_UID = "kaon.dev/owner-uid"
DIGEST = "kaon.dev/digest"
REVISION = "kaon.dev/revision"
FIELD_MANAGER = "kaon"
QUEUE_NAME = "kueue.x-k8s.io/queue-name"
"""The one label that goes from a resource to its Job: the user's wish to be queued by Kueue."""
