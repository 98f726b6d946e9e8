"""Metrics, named protocols and reports."""
