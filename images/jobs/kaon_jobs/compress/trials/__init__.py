"""Trials: candidates made, measured and kept, from the baseline to the one look at the test split."""
