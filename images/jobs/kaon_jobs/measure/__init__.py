"""Evaluation of an exported model on a split: quality, speed, memory, size. evaluation.py is what others call."""
