"""The training core: trains one job spec with Cyclic Precision Training under torch.distributed.

Importing this package is free: torch is loaded only by `cpt_core.quant`, `cpt_core.models`,
`cpt_core.data` and `cpt_core.train`.
"""

__version__ = "0.1.0"
