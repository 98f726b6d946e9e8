"""The commands of this package, one file each; they import what they use when they run."""
