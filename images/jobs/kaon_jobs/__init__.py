"""What runs in a stage's pod: `kaon-job <stage>`. Told by a JobSpec, heard through a Report, results in the store.

Modules at this level are light (no torch, transformers or scikit-learn), so that a stage whose artifact is already
finished ends in about a second; the stages themselves are packages that main.py imports when there is work to do.
"""
