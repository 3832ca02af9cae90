"""Base models: a Hugging Face folder, checked before anything of it is loaded, and loaded with a head of its own."""
