"""From the figures of a candidate to a verdict, and the sentence that says it. Pure."""
