"""Draw precision schedules as SVG from the functions that train: docs/images/schedules.

python -m tools.schedule_pictures
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cpt_core.schedules import SCHEDULES, Schedule, make

FOLDER = Path(__file__).parent.parent / "docs" / "images" / "schedules"

STEPS, CYCLES, LOW, HIGH = 256, 8, 3, 8
"""What each schedule is drawn with."""

INK, GREY, FAINT = "#2f6fd0", "#808080", "#80808055"
"""Colours that can be read on white and on black."""


@dataclass(frozen=True)
class Frame:
    """Where the picture's axes are, in pixels."""

    width: int = 640
    height: int = 170
    left: int = 44
    right: int = 10
    top: int = 12
    bottom: int = 30

    def x(self, step: float, steps: int) -> float:
        """Column of a step."""
        return self.left + (self.width - self.left - self.right) * step / steps

    def y(self, bits: float) -> float:
        """Row of a bit width."""
        span = self.height - self.top - self.bottom
        return self.height - self.bottom - span * (bits - LOW + 0.5) / (HIGH - LOW + 1)


def draw(schedule: Schedule, frame: Frame = Frame()) -> str:
    """The bits of each step as a line of steps, on the schedule's own unrounded profile."""
    steps = schedule.steps
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {frame.width} {frame.height}" role="img" '
        f'font-family="sans-serif" font-size="11" fill="{GREY}">',
        f"<title>Bits over steps, schedule {schedule.name}, {LOW} to {HIGH} bits</title>",
    ]
    for bits in range(LOW, HIGH + 1):
        y = frame.y(bits)
        parts.append(
            f'<path d="M{frame.left} {y:.1f}H{frame.width - frame.right}" stroke="{FAINT}"/>'
            f'<text x="{frame.left - 8}" y="{y + 4:.1f}" text-anchor="end">{bits}</text>'
        )
    for step in range(0, steps + 1, steps // 4):
        anchor = "end" if step == steps else "middle"
        parts.append(
            f'<text x="{frame.x(step, steps):.1f}" y="{frame.height - 12}" text-anchor="{anchor}">{step}</text>'
        )
    parts.append(f'<text x="{frame.left}" y="{frame.height - 1}">step</text>')
    profile = "L".join(f"{frame.x(step, steps):.1f} {frame.y(schedule.profile(step)):.1f}" for step in range(steps))
    parts.append(f'<path d="M{profile}" fill="none" stroke="{GREY}" stroke-dasharray="2 3"/>')
    parts.append(f'<path d="{_stairs(schedule, frame)}" fill="none" stroke="{INK}" stroke-width="2"/>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _stairs(schedule: Schedule, frame: Frame) -> str:
    """A path that is level while the bits are the same."""
    steps, path, last = schedule.steps, "", None
    for step in range(steps):
        bits = schedule.bits(step)
        if bits != last:
            x, y = frame.x(step, steps), frame.y(bits)
            path += f"M{x:.1f} {y:.1f}" if last is None else f"H{x:.1f}V{y:.1f}"
            last = bits
    return f"{path}H{frame.x(steps, steps):.1f}"


def made() -> dict[Path, str]:
    """The content of each picture."""
    return {
        FOLDER / f"{name}.svg": draw(make(name, steps=STEPS, cycles=CYCLES, min_bits=LOW, max_bits=HIGH))
        for name in SCHEDULES
    }


def main() -> None:
    """Write them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path, content in made().items():
        path.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
