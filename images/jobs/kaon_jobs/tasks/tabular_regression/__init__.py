"""The jobs' half of tabular-regression."""
