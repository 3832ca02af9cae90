"""Lets `python3 hack/localcluster …` work from the repository root; the program itself is localcluster/cli.py."""

import sys

from localcluster.cli import main

sys.exit(main())
