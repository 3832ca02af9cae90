#!/bin/sh
# Starts Triton on the model repository that the init container laid out. Writes only below $KAON_WORK_DIR.
# Arguments go to Triton.
set -eu

site=$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
version=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
server=$site/pytriton/tritonserver
backends=${KAON_WORK_DIR:=/var/lib/kaon}/backends

# The python backend changes the mode of its stub at every load, which a read-only root refuses: it gets a copy.
rm -rf "$backends"
mkdir -p "$backends" "${TMPDIR:-/tmp}"
cp -r "$server/backends/." "$backends"
cp "$server/python_backend_stubs/$version/triton_python_backend_stub" "$backends/python/"

export LD_LIBRARY_PATH="$site/nvidia_pytriton.libs${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
# Everything but inference, metadata and health asks for a header with this value, which nobody is told: no client can
# register memory, load models, trace, or set the log, even one that passes the router and its NetworkPolicy by.
nobody=$(python3 -c 'import secrets; print(secrets.token_hex(32))')
# Only HTTP is offered: the router speaks nothing else. A failed model ends the server, so that its pod says why.
exec "$server/bin/tritonserver" \
    --model-repository="${KAON_MODEL_DIR:-/models}/repository" \
    --backend-directory="$backends" \
    --disable-auto-complete-config \
    --model-control-mode=none \
    --http-restricted-api="shared-memory,model-config,model-repository,statistics,trace,logging:kaon-management=$nobody" \
    --exit-on-error=true \
    --strict-readiness=true \
    --exit-timeout-secs="${KAON_EXIT_TIMEOUT_SECONDS:-30}" \
    --allow-grpc=false \
    --allow-gpu-metrics=false \
    --allow-cpu-metrics=false \
    --log-format=ISO8601 \
    "$@"
