"""CPU time and memory of a process and its descendants, from /proc."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")

PARENT: Final = 1
"""Positions in /proc/PID/stat, counted after the name: the parent, user and system time, and those of the children that
have ended and were waited for."""
TIMES: Final = slice(11, 15)


def cpu_seconds(pid: int) -> float:
    """User and system time of the whole tree, in seconds."""
    ticks = sum(int(each) for member in tree(pid) for each in stat(member)[TIMES])
    return ticks / TICKS_PER_SECOND


def tree(pid: int) -> Iterator[int]:
    """A process and all of its descendants."""
    children: dict[int, list[int]] = {}
    for other in processes():
        if fields := stat(other):
            children.setdefault(int(fields[PARENT]), []).append(other)
    found = [pid]
    for member in found:
        found += children.get(member, [])
    return iter(found)


def processes() -> list[int]:
    return [int(each.name) for each in PROC.iterdir() if each.name.isdigit()]


def stat(pid: int) -> list[str]:
    """The fields after the name, which may have blanks and brackets. Empty if the process has ended."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def memory_bytes(pid: int, field: str) -> int:
    """The sum of a field of /proc/PID/status over the whole tree, in bytes: VmRSS is the current memory, VmHWM its
    maximum."""
    return sum(memory_of(member, field) for member in tree(pid))


def memory_of(pid: int, field: str) -> int:
    for line in (PROC / str(pid) / "status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return 0


def forget_peak(pid: int) -> None:
    """Reset VmHWM: it is then the maximum since this call."""
    for member in tree(pid):
        (PROC / str(member) / "clear_refs").write_text("5")
