"""Families of base models: tiny ones to build, and what works on each."""
