"""What holds for every test: kernels are not compiled, which would take a minute a process."""

import os

os.environ.setdefault("COLONDEPTH_COMPILE", "0")
