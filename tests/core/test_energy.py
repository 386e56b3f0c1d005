"""Measured energy on a powercap tree laid out as the kernel lays it out, and the model of energy."""

import os
import subprocess
import sys
import tempfile
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from cpt_core.cost import Profile, relative_cost
from cpt_core.energy import modelled_joules, open_meter
from cpt_core.energy.counter import Counter, UnavailableError
from cpt_core.energy.nvml import open_nvml


def zone(root: Path, folder: str, name: str, microjoules: int, modulus: int = 262_143_328_850) -> Path:
    path = root / folder
    path.mkdir(parents=True)
    (path / "name").write_text(f"{name}\n")
    (path / "max_energy_range_uj").write_text(f"{modulus}\n")
    (path / "energy_uj").write_text(f"{microjoules}\n")
    return path / "energy_uj"


def test_rapl_counts_joules_since_opening_over_packages_and_their_memory(tmp_path):
    first = zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    second = zone(tmp_path, "intel-rapl:1", "package-1", 5_000_000)
    memory = zone(tmp_path, "intel-rapl:0:1", "dram", 7_000_000)
    meter = open_meter("cpu", powercap=tmp_path)
    assert meter.joules() == 0
    first.write_text("3500000\n")
    second.write_text("6000000\n")
    memory.write_text("7250000\n")
    assert meter.joules() == pytest.approx(2.5 + 1 + 0.25)
    assert meter.source.source == "rapl"
    assert meter.source.scope.startswith("package-0, dram of intel-rapl:0:1, package-1")


def test_rapl_leaves_out_zones_that_would_count_twice(tmp_path):
    zone(tmp_path, "intel-rapl:0", "package-0", 0)
    nested = [zone(tmp_path, "intel-rapl:0:0", "core", 0), zone(tmp_path, "intel-rapl:1", "psys", 0)]
    mirror = zone(tmp_path, "intel-rapl-mmio:0", "package-0", 0)
    meter = open_meter("cpu", powercap=tmp_path)
    for counter in (*nested, mirror):
        counter.write_text("9000000\n")
    assert meter.joules() == 0


def test_rapl_survives_a_counter_that_starts_again_from_zero(tmp_path):
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 9_000_000, modulus=10_000_000)
    meter = open_meter("cpu", powercap=tmp_path)
    counter.write_text("500000\n")
    assert meter.joules() == pytest.approx(1.5)
    counter.write_text("700000\n")
    assert meter.joules() == pytest.approx(1.7)


def test_a_machine_without_rapl_gives_none_and_a_reason(tmp_path):
    meter = open_meter("cpu", powercap=tmp_path)
    assert meter.joules() is None
    assert meter.source.source is None
    assert "no RAPL" in meter.source.reason


@pytest.fixture
def unprivileged_folder() -> Iterator[Path]:
    """A folder, while this process has the rights of a user who is not root."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        if os.getuid() == 0:
            os.seteuid(0)


def test_a_counter_this_user_may_not_read_gives_none_and_a_reason(unprivileged_folder):
    zone(unprivileged_folder, "intel-rapl:0", "package-0", 1).chmod(0o000)
    if os.getuid() == 0:
        os.seteuid(65534)
    meter = open_meter("cpu", powercap=unprivileged_folder)
    assert meter.joules() is None
    assert "may not be read by this user" in meter.source.reason


def test_a_counter_that_goes_away_gives_none_from_then_on(tmp_path):
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    meter = open_meter("cpu", powercap=tmp_path)
    counter.unlink()
    assert meter.joules() is None
    counter.write_text("1000000\n")
    assert meter.joules() is None


def test_without_its_package_nvml_gives_none_and_a_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    meter = open_meter("cuda")
    assert meter.joules() is None
    assert meter.source.reason == "the package nvidia-ml-py is not installed"


class NvmlError(Exception):
    pass


def nvml_of(gpus: dict[str, int]) -> types.SimpleNamespace:
    """The part of `pynvml` that is used, over millijoules by UUID; the order is that of the PCI bus."""
    return types.SimpleNamespace(
        NVMLError=NvmlError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda index: list(gpus)[index],
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetTotalEnergyConsumption=gpus.__getitem__,
    )


@pytest.mark.parametrize("visible", ["1,0", "GPU-b,GPU-a"])
def test_nvml_counts_the_visible_devices_in_millijoules(monkeypatch, visible):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    gpus = {"GPU-a": 1000, "GPU-b": 5000}
    scope, counters = open_nvml([0], nvml_of(gpus))
    gpus["GPU-a"] += 100_000
    gpus["GPU-b"] += 2500
    assert [counter.joules() for counter in counters] == [2.5]
    assert scope.startswith("GPU 0")


def test_a_gpu_without_the_counter_gives_a_reason():
    def unsupported(_handle):
        raise NvmlError("Not Supported")

    library = nvml_of({"GPU-a": 0})
    library.nvmlDeviceGetTotalEnergyConsumption = unsupported
    with pytest.raises(UnavailableError, match="Not Supported"):
        open_nvml([0], library)


def test_a_gpu_that_is_not_visible_gives_a_reason(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(UnavailableError, match="no GPU 1"):
        open_nvml([1], nvml_of({"GPU-a": 0, "GPU-b": 0}))


def test_a_counter_without_modulus_only_grows():
    values = iter([5, 8, 8, 20])
    counter = Counter(lambda: next(values), 2.0)
    assert [counter.joules() for _ in range(3)] == [6, 6, 30]


PROFILE = Profile(macs=83_280_512, weights=563_000, activations=180_000, outputs=190_000)


def test_modelled_energy_of_arithmetic_alone_follows_the_published_table():
    arithmetic = Profile(macs=10**6, weights=0, activations=0, outputs=0)
    assert modelled_joules(arithmetic, 1, 32, 32) == pytest.approx(3e6 * (3.7 + 0.9) * 1e-12)
    assert modelled_joules(arithmetic, 1, 8, 8) == pytest.approx(3e6 * (0.2 + 0.1) * 1e-12, rel=0.01)


def test_modelled_energy_falls_with_every_bit():
    forward = [modelled_joules(PROFILE, 128, bits, 8) for bits in (*range(2, 17), 32)]
    backward = [modelled_joules(PROFILE, 128, 8, bits) for bits in (*range(2, 17), 32)]
    assert forward == sorted(forward)
    assert backward == sorted(backward)


def test_modelled_savings_are_smaller_than_those_in_bit_operations():
    modelled = modelled_joules(PROFILE, 128, 4, 8) / modelled_joules(PROFILE, 128, 8, 8)
    assert relative_cost(4, 8) / relative_cost(8, 8) < modelled < 1


def test_weights_travel_once_per_step_however_many_the_samples():
    one, two, three = (modelled_joules(PROFILE, samples, 8, 8) for samples in (1, 2, 3))
    assert three - two == pytest.approx(two - one)
    assert two < 2 * one


@pytest.mark.parametrize(("forward_bits", "backward_bits"), [(0, 0), (32, 8), (0, 8)])
def test_full_precision_forward_is_full_precision_throughout(forward_bits, backward_bits):
    assert modelled_joules(PROFILE, 4, forward_bits, backward_bits) == modelled_joules(PROFILE, 4, 32, 32)


def test_energy_does_not_load_torch():
    code = "import sys, cpt_core.energy; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
