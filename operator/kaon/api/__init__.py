"""What users write: the kinds of `kaon.dev/v1alpha1` as pydantic models. Pure data; imports nothing else of kaon."""
