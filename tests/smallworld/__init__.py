"""Small worlds, explored whole: every order of events, every stale view and every crash that their bounds allow."""
