"""Procedural colons and scenes with known depth."""
