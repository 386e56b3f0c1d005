"""RAPL, the energy counters of Intel and AMD processors, through Linux's powercap tree.

https://docs.kernel.org/power/powercap/powercap.html: each zone is a folder with `name`, `energy_uj` (microjoules) and
`max_energy_range_uj`, where the counter starts again.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from cpt_core.energy.counter import Counter, UnavailableError

POWERCAP = Path("/sys/class/powercap")


def open_rapl(root: Path = POWERCAP) -> tuple[str, list[Counter]]:
    """What is measured, in words, and its counters: every package, and the memory beside it where it is counted.

    Zones that packages contain (core, uncore) or that contain packages (psys) would count twice, and are left out.

    Raises:
        UnavailableError: there is no readable package counter.
    """
    zones: dict[str, Path] = {}
    for zone in sorted(root.glob("intel-rapl:*")):
        name = _read_text(zone / "name")
        if name.startswith("package"):
            zones[name] = zone
        elif name == "dram":
            zones[f"dram of {zone.name}"] = zone
    if not any(name.startswith("package") for name in zones):
        raise UnavailableError(
            f"no RAPL package counter below {root}: not a Linux machine with RAPL, or hidden by a VM"
        )
    counters = [_counter(zone) for zone in zones.values()]
    return f"{', '.join(zones)}, all processes of the machine", counters


def _counter(zone: Path) -> Counter:
    read = partial(_read_int, zone / "energy_uj")
    try:
        return Counter(read, 1e-6, modulus=_read_int(zone / "max_energy_range_uj"))
    except PermissionError as error:
        raise UnavailableError(f"{error.filename} may not be read by this user: RAPL is for root by default") from error
    except (OSError, ValueError) as error:
        raise UnavailableError(f"the RAPL counter {zone} cannot be read: {error}") from error


def _read_int(path: Path) -> int:
    return int(path.read_text(encoding="ascii"))


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
