"""What goes wrong between the operator and the API server, at every request: faults, runs, and the table of them.

`python tests/faults --help`; `pytest tests/faults` runs a small part of it.
"""
