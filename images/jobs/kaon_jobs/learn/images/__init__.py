"""Networks over images: how they are built, what they learn from, how they are exported."""
