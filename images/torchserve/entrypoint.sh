#!/bin/sh
# Starts TorchServe on the model store that the init container laid out. Writes only below $KAON_WORK_DIR.
set -eu

work=${KAON_WORK_DIR:=/var/lib/kaon}
models=${KAON_MODEL_DIR:-/models}
export TEMP="${TMPDIR:=$work/tmp}" TMPDIR LOG_LOCATION="$work/logs" METRICS_LOCATION="$work/logs"
mkdir -p "$TEMP" "$LOG_LOCATION"
cd "$work"

site=$(python3 -c 'import importlib.util; print(importlib.util.find_spec("ts").submodule_search_locations[0].rsplit("/", 1)[0])')
# Java itself is process 1: the `torchserve` command would be, and passes no SIGTERM on, so no shutdown would be graceful.
exec java \
    -XX:MaxRAMPercentage="${KAON_JAVA_MEMORY_PERCENT:-15}" \
    -Dmodel_server_home="$site" \
    -Dlog4j.configurationFile="file://$(dirname "$0")/log4j2.xml" \
    -Djava.io.tmpdir="$TEMP" \
    -cp "$site/ts/frontend/*" \
    org.pytorch.serve.ModelServer \
    --python "$(command -v python3)" \
    -f "$models/config.properties" \
    -s "$models/store" \
    -ncs
