"""The jobs' half of recommendation."""
