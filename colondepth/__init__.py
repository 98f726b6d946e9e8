"""Depth, the colon wall and its cameras, from colonoscopy images.

Research software, not for diagnosis.
"""
