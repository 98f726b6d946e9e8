"""Pages to look at results, and the demo."""
