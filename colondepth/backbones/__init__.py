"""Networks that see: each is registered under a name by some package's entry points."""
