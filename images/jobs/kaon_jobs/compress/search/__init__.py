"""What a search tries next, from what it has seen. Pure, and the same each time."""
