"""Depth from one image: published networks, written from their papers, one file a system."""
