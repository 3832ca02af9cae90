"""Models that rank items by what a user has taken: what they learn, how they are chosen, their graphs."""
