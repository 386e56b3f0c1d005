"""These tests are many and small: one thread each is fastest, and does not fight over the cores of a shared machine."""

import torch

torch.set_num_threads(1)
