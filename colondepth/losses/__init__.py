"""What training makes small: one subject a file, and a table of them by name."""
