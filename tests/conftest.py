"""What holds for every test.

Kernels are not compiled, which would take a minute a process, and each process has one thread:
the workers share the cores already.
"""

import os

import torch

os.environ.setdefault("COLONDEPTH_COMPILE", "0")
torch.set_num_threads(1)
