"""Lets `python3 -m localcluster …` work from hack/localcluster; the program itself is cli.py."""

import sys

from localcluster.cli import main

sys.exit(main())
