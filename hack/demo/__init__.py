"""The demo: from a fresh clone to a served, compressed model, in steps that the end-to-end tests use too."""
