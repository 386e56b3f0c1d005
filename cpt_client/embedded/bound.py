"""Runs a program that the kernel kills when its parent dies: `python -m cpt_client.embedded.bound PARENT PROGRAM …`.

A signal on the parent's death is asked for between fork and exec. Done here, in a program of its own, it needs no
Python code in a forked child of the supervisor, and PDEATHSIG holds across the exec that follows.
"""

from __future__ import annotations

import os
import sys

from cpt_core.process import die_with_parent


def main() -> None:
    """Become the program."""
    parent, program, *arguments = sys.argv[1:]
    die_with_parent(int(parent))
    os.execvp(program, [program, *arguments])  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    main()
