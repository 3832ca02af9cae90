"""The training loop and what belongs to it: callbacks, checkpoints, the export of what was learnt."""
