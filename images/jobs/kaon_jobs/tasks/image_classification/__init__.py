"""The jobs' half of image-classification."""
