"""The kernels are tested where they run: on a GPU, else in a process whose Triton interprets (test_interpreter.py)."""

import os

import torch

collect_ignore = [] if torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1" else ["test_kernels.py"]
torch.set_num_threads(1)
