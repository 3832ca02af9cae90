"""text-classification in pods."""
