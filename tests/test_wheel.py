"""The wheel brings the C++ functions built: who installs it needs no compiler for them."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STEP = """
import pathlib, sys, torch
import cpt_core
from cpt_core.quant import native, quantize_model
assert pathlib.Path(cpt_core.__file__).is_relative_to(sys.argv[1]), cpt_core.__file__
losses = []
for backend in ("simulated", "int8"):
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Flatten(), torch.nn.Linear(8 * 36, 4)
    model = torch.nn.Sequential(*layers).to(memory_format=torch.channels_last)
    quantize_model(model, backend=backend, skip=[]).set(8, 8)
    loss = model(torch.randn(4, 3, 8, 8)).square().mean()
    loss.backward()
    losses.append(float(loss))
print(native.available(), native.instructions(), abs(losses[0] - losses[1]) < 1e-5)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if sys.platform != "linux" or not any(map(shutil.which, ("c++", "g++", "gcc", "cc"))):
        pytest.skip("no C++ compiler to build a wheel for Linux with")
    source, to = (tmp_path_factory.mktemp(name) for name in ("source", "wheel"))
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in tracked.splitlines():
        if name.startswith(("cpt_", "api/", "worker/", "migrations/", "recipes/")) or "/" not in name:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    options = "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(to)
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True)
    (made,) = to.glob("*.whl")
    return made


def test_it_computes_on_a_machine_without_a_compiler(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    bare = {"PATH": "/nonexistent", "PYTHONPATH": str(tmp_path), "HOME": str(tmp_path)}
    command = [sys.executable, "-c", STEP, str(tmp_path)]
    done = subprocess.run(command, env=bare, cwd=tmp_path, capture_output=True, text=True, check=True)
    available, instructions, alike = done.stdout.split()
    assert available == alike == "True"
    assert instructions != "none" or not Path("/proc/cpuinfo").read_text().count(" avx2 ")


def test_it_needs_nothing_but_a_linux_and_what_torch_brings(wheel: Path) -> None:
    command = [sys.executable, "-m", "auditwheel", "show", str(wheel)]
    said = " ".join(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    libraries = {word for word in said.replace(",", " ").split() if ".so." in word}
    assert libraries <= {
        "libc.so.6",
        "libm.so.6",
        "libgcc_s.so.1",
        "libstdc++.so.6",
        "libgomp.so.1",
        "ld-linux-x86-64.so.2",
    }
    assert "manylinux_2_" in said
