"""Energy of training: measured by a hardware counter where there is one, and modelled from the work done.

The two are never mixed: `EnergyMeter.joules` is measured or None, `modelled_joules` is always there and always says so.
Nothing here loads torch.
"""

from cpt_core.energy.meter import EnergyMeter, open_meter
from cpt_core.energy.model import modelled_joules

__all__ = ["EnergyMeter", "modelled_joules", "open_meter"]
