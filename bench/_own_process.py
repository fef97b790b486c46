"""What work takes in a process of its own. Imports next to nothing: the work pays for its own imports alone."""

import json
import multiprocessing
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from pkgutil import resolve_name
from typing import NamedTuple


class Measurement(NamedTuple):
    """Wall and CPU seconds of the work without its imports; peak bytes of its process with them, and of them alone."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    idle_bytes: int


def measure(work: str, *arguments: object) -> Measurement:
    """Do the work, a function by its name as `module:function`, once in a new process."""
    # Not a Pool, which ends its processes with SIGTERM: Dagster takes that for Ctrl-C.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_measured, work, *arguments).result()


def as_json_of(taken: Mapping[int, Mapping[str, Measurement]]) -> str:
    """One JSON object: by the number of events, what each contender took."""
    return json.dumps({events: {name: of._asdict() for name, of in each.items()} for events, each in taken.items()})


def _measured(work: str, *arguments: object) -> Measurement:
    function = resolve_name(work)
    idle = _peak_bytes()
    wall, cpu = time.perf_counter(), time.process_time()
    function(*arguments)
    return Measurement(time.perf_counter() - wall, time.process_time() - cpu, _peak_bytes(), idle)


def _peak_bytes() -> int:
    """Unlike ru_maxrss without what the parent had when it forked."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
