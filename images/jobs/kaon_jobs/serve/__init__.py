"""What serves a model: fetch (verify and lay out), probe (golden inference) and runtime (the code that predicts).

Light by intent: nothing here imports torch, so that the serving images can run it.
"""
