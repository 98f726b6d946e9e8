"""The protocols by which papers measure depth, each in a small file of its own, by name."""
