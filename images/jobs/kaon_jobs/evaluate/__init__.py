"""Evaluation of an exported model on a split: quality, speed, memory, size. measure.py is what other stages call."""
