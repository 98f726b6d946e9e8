"""Stages and training."""
