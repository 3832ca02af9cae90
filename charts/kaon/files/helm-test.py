"""Run by `helm test`: the operator is ready, and the API server serves the five kinds. Standard library only."""

import json
import os
import ssl
import sys
import urllib.request
from pathlib import Path

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
KINDS = {"datasets", "trainingruns", "compressionjobs", "modeldeployments", "reports"}

with urllib.request.urlopen(os.environ["READY_URL"], timeout=10) as answer:
    print(f"operator: {answer.read().decode().strip()}")

request = urllib.request.Request(
    f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}/apis/kaon.dev/v1alpha1",
    headers={"Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}"},
)
trust = ssl.create_default_context(cafile=ACCOUNT / "ca.crt")
with urllib.request.urlopen(request, timeout=10, context=trust) as answer:
    served = {resource["name"] for resource in json.load(answer)["resources"]}
print(f"served: {', '.join(sorted(served & KINDS))}")
if missing := KINDS - served:
    sys.exit(f"not served: {', '.join(sorted(missing))}; install the CRDs with crds.enabled=true")
