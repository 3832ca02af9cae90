"""An exported model as it is served: files in, answers out. No torch."""
