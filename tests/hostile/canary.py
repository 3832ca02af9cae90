"""A program of its own that makes a resource each second and prints how long it waited for its first status, and how
long the API server took before it showed the resource to a watch: no operator can know of it earlier.

`python tests/hostile/canary.py SERVER PKI`, until its standard input ends. Apart from the flood, so that what it
measures is how the operator and the API server fare, and not how busy the flood's own program is.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from itertools import count
from pathlib import Path

if __name__ == "__main__":
    ROOT_FOLDER = Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(ROOT_FOLDER / folder) for folder in ("tests", "tests/cluster", "hack", "hack/localcluster")]

from hostile.api import ROOT, Api, View
from hostile.world import CANARIES, resource

PATIENCE_SECONDS = 60.0
EVERY_SECONDS = 1.0


async def sing(server: str, pki: Path) -> None:
    """Resources for ever."""
    async with Api(server, pki) as api:
        view = View(api, CANARIES)
        view.start()
        for number in count():
            began = time.monotonic()
            waited, shown = await _waited(api, view, f"canary-{number}")
            print(f"{waited:.4f} {shown:.4f}", flush=True)
            await asyncio.sleep(max(0.0, EVERY_SECONDS - (time.monotonic() - began)))


async def _waited(api: Api, view: View, name: str) -> tuple[float, float]:
    """Seconds from the creation to the first status, the patience where there was none; and until it was shown."""
    folder = f"{ROOT}/namespaces/{CANARIES}/datasets"
    began = time.monotonic()
    status, answer = await api.send("POST", folder, json.dumps(resource("Dataset", name, CANARIES)).encode())
    assert status == 201, answer
    await view.until("Dataset", name, lambda obj: True, PATIENCE_SECONDS)
    shown = time.monotonic() - began
    await view.until("Dataset", name, lambda obj: bool(obj.get("status", {}).get("conditions")), PATIENCE_SECONDS)
    waited = time.monotonic() - began
    await api.send("DELETE", f"{folder}/{name}")
    view.forget("Dataset", name)
    return waited, shown


async def main(server: str, pki: Path) -> None:
    """Until standard input ends."""
    singing = asyncio.create_task(sing(server, pki))
    told_to_end = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    done, _ = await asyncio.wait([singing, told_to_end], return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    singing.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
