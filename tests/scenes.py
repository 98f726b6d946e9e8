"""Numbers for tests in which nothing is symmetric, so that a swap cannot hide."""

H, W, FX, FY, CX, CY = 36, 48, 40.0, 44.0, 23.3, 17.6
