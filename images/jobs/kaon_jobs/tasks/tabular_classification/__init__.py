"""The jobs' half of tabular-classification."""
