"""Several machines on this one: workers in network namespaces of their own, joined by a switch that can be cut."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil

from tests.e2e.stack import Stack, on_half_the_cores, until


def ip(*arguments: str) -> str:
    """A command of iproute2."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


class Lan:
    """A switch in a namespace of its own, on which this machine's firewall has no say, and machines around it."""

    def __init__(self) -> None:
        """An empty one.

        Raises:
            OSError: this process may not make namespaces, or there is no `ip`.
        """
        self._tag = secrets.token_hex(2)
        self._switch = f"cpt-{self._tag}-lan"
        self._net = f"10.{200 + secrets.randbelow(50)}.{secrets.randbelow(250)}"
        self.host = f"{self._net}.254"
        """This machine's address in it."""
        self.machines: list[str] = []
        ip("netns", "add", self._switch)
        try:
            ip("-n", self._switch, "link", "add", "br0", "type", "bridge")
            ip("-n", self._switch, "link", "set", "br0", "up")
            own = f"cpt{self._tag}"
            ip("link", "add", own, "type", "veth", "peer", "name", "host", "netns", self._switch)
            ip("-n", self._switch, "link", "set", "host", "master", "br0", "up")
            ip("addr", "add", f"{self.host}/24", "dev", own)
            ip("link", "set", own, "up")
        except OSError:
            self.close()
            raise

    def add(self) -> str:
        """One more machine; its name."""
        number = len(self.machines)
        name = f"cpt-{self._tag}-m{number}"
        ip("netns", "add", name)
        self.machines.append(name)
        ip("-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", f"m{number}", "netns", self._switch)
        ip("-n", self._switch, "link", "set", f"m{number}", "master", "br0", "up")
        ip("-n", name, "addr", "add", f"{self._net}.{10 + number}/24", "dev", "eth0")
        for device in ("eth0", "lo"):
            ip("-n", name, "link", "set", device, "up")
        return name

    def cut(self, name: str) -> None:
        """Nothing reaches the machine any more, and nobody is told."""
        ip("-n", self._switch, "link", "set", f"m{self.machines.index(name)}", "down")

    def heal(self, name: str) -> None:
        """The machine is reached again."""
        ip("-n", self._switch, "link", "set", f"m{self.machines.index(name)}", "up")

    def processes(self, name: str) -> list[int]:
        """Process ids on the machine."""
        return [int(line) for line in ip("netns", "pids", name).split()]

    def power_off(self, name: str) -> None:
        """Kill everything on the machine, whatever it starts meanwhile."""
        while found := self.processes(name):
            for pid in found:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            psutil.wait_procs([psutil.Process(pid) for pid in found if psutil.pid_exists(pid)], timeout=0.2)

    def close(self) -> None:
        """Take everything away."""
        for name in (*self.machines, self._switch):
            ip("netns", "delete", name)


class Machines(Stack):
    """API and Valkey here, workers on machines of a network."""

    def __init__(self, home: Path, lan: Lan, lease_seconds: float) -> None:
        super().__init__(home, f"sqlite:///{home}/cpt.db", lease_seconds)
        self.lan = lan
        self.env |= {"CPT_AUTH": "keys", "CPT_HOST": "0.0.0.0", "CPT_DEVICES_PER_SLOT": "1"}

    def start_all(self) -> None:  # type: ignore[override]
        """Everything but the workers; opens the API to this test."""
        subprocess.run([sys.executable, "-m", "api", "migrate"], env=self.env, cwd=self.home, check=True)
        self.start_redis("--bind", "0.0.0.0", "--protected-mode", "no")
        self.start_api()
        create = [sys.executable, "-m", "api", "create-key", "root"]
        key = subprocess.run(create, env=self.env, cwd=self.home, capture_output=True, text=True, check=True).stdout
        self.http.headers["Authorization"] = f"Bearer {key.strip()}"

    def start_on(self, machine: str) -> None:
        """A worker on a machine, which is its name."""
        self.start(
            machine,
            ["ip", "netns", "exec", machine, sys.executable, "-m", "worker"],
            CPT_NAME=machine,
            CPT_STATE_DIR=f"{self.home}/{machine}",
            CPT_API_URL=f"http://{self.lan.host}:{self.api_port}",
            CPT_BROKER_URL=f"redis://{self.lan.host}:{self.redis_port}/0",
        )
        on_half_the_cores(self.running[machine])

    def online(self) -> set[str]:
        """Workers that are there."""
        return {each["name"] for each in self.http.get("/v1/workers").json()["data"] if each["online"]}

    def wait_until_online(self, *names: str) -> None:
        """Return once these workers are there."""
        until(lambda: set(names) <= self.online(), f"{names} to be there")
