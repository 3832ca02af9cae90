#!/usr/bin/env -S python3 -I
"""The router's preStop hook: let what is in flight finish, and new connections go elsewhere, before SIGTERM comes.

`drain SECONDS`. Envoy then answers with `Connection: close`, so that clients with open connections leave as well; the
wait covers the time that endpoints need to spread, and the longest request.
"""

import sys
import time
import urllib.request

ADMIN = "http://127.0.0.1:9901"


def main() -> None:
    """Fail the health check, then wait."""
    seconds = float(sys.argv[1])
    # The admin port refuses this as GET: it changes state.
    urllib.request.urlopen(urllib.request.Request(f"{ADMIN}/healthcheck/fail", method="POST"), timeout=5).close()
    time.sleep(seconds)


main()
