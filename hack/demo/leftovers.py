"""Says what the demo leaves behind after `make demo-down`, and how to remove it. Changes nothing.

Standard library only.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "hack" / "localcluster"))

from localcluster import paths  # noqa: E402

ABOUT = {
    "bin": "Kubernetes and its tools, built from source",
    "stores": "images of clusters",
    "data": "data of the demo",
}


def main() -> int:
    """Lists the folders that are left with their sizes."""
    cache, state = paths.cache_root(), paths.state_root()
    running = sorted(file.parent.name for file in state.glob("*/cluster.json"))
    print(
        "Left in place, so that the next demo is quick:" if cache.exists() else "Nothing is left outside this folder."
    )
    for folder in sorted(cache.glob("*")) if cache.exists() else []:
        used = subprocess.run(["du", "-sh", str(folder)], capture_output=True, text=True, check=False).stdout
        print(f"  {used.split()[0] if used else '?':>6}  {folder}  {ABOUT.get(folder.name, '')}".rstrip())
    for folder in (ROOT / ".venv-demo", ROOT / ".venv"):
        if folder.exists():
            print(f"          {folder}")
    if running:
        print(f"Clusters that still exist: {', '.join(running)}. Their images are below {cache / 'stores'}.")
    elif cache.exists():
        print(f"To remove all of it: rm -rf {cache} {ROOT / '.venv-demo'} {ROOT / '.venv'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
