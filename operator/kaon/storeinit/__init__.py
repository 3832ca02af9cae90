"""Init step of the embedded store: its users and their rights, its certificate, and the Secrets with both.

`python -m kaon.storeinit` is the first container of the store's pod. Nothing else of Kaon imports it.
"""
