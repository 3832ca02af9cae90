"""Compression: make candidates, choose one on the validation split, judge it once on the test split.

Decisions are pure (verdict, selection, search, quality, timing's statistics); techniques are one file each below
techniques/; stage.py is the only place that knows the store and the Report.
"""
