"""The commands of the `colondepth` package, one file each; they import what they use when they run."""
