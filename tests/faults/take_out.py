"""Takes out, one after another, what keeps each fault from costing anything: the fault's test must then fail.

    python -m tests.faults.take_out                      everything
    python -m tests.faults.take_out 7 19 csv_formulas    these rows of the catalogue
    python -m tests.faults.take_out --untouched          the tests as they are: they must pass

Each mechanism of mechanisms.py is taken out of a copy of the project, which is gone afterwards. Status 1 if a test
stayed green without its mechanism, or could not be run.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import NamedTuple
from xml.etree import ElementTree

import click
from rich.console import Console
from rich.table import Table

from streaming.settings import ROOT
from tests.faults.mechanisms import MECHANISMS, Mechanism

LEFT_BEHIND = shutil.ignore_patterns(".git", ".venv", ".clickstream", "__pycache__", ".*_cache", ".hypothesis")
LONGEST_TEST_SECONDS = 1800
LONGEST_END_SECONDS = 150

_interrupted = Event()


class Verdict(NamedTuple):
    """What came of one test: `green`, `red` by a failure of the test itself, or an `error` that says nothing."""

    colour: str
    why: str
    seconds: float


@click.command()
@click.argument("rows", nargs=-1)
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1, 2), help="Tests at a time.")
@click.option("--untouched", is_flag=True, help="Take nothing out, and expect the tests to pass.")
def take_out(rows: Sequence[str], jobs: int, untouched: bool) -> None:
    """Take mechanisms out and expect their tests to fail; ROWS are those of the catalogue, all by default."""
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.default_int_handler)
    chosen = [mechanism for mechanism in MECHANISMS if not rows or str(mechanism.row) in rows]
    if untouched:
        chosen = list({mechanism.test: mechanism for mechanism in chosen}.values())
    if not chosen:
        raise click.UsageError("no mechanism of such a row")
    expected = "green" if untouched else "red"
    verdicts: dict[Mechanism, Verdict] = {}
    try:
        for mechanism, verdict in _verdicts(chosen, jobs, _untouched if untouched else _without):
            verdicts[mechanism] = verdict
            click.echo(f"{mechanism.row}: {verdict.colour} after {verdict.seconds:.0f} s: {mechanism.what}", err=True)
    finally:
        Console(width=160).print(_table([(each, verdicts[each]) for each in chosen if each in verdicts]))
    if any(verdict.colour != expected for verdict in verdicts.values()):
        sys.exit(1)


def _verdicts(
    chosen: Sequence[Mechanism], jobs: int, judge: Callable[[Mechanism], Verdict]
) -> Iterator[tuple[Mechanism, Verdict]]:
    """Each mechanism's verdict as it comes; an interruption lets what runs end its processes."""
    with ThreadPoolExecutor(jobs) as pool:
        waiting = {pool.submit(judge, mechanism): mechanism for mechanism in chosen}
        try:
            for done in as_completed(waiting):
                yield waiting[done], done.result()
        except BaseException:
            _interrupted.set()
            pool.shutdown(cancel_futures=True)
            raise


def _without(mechanism: Mechanism) -> Verdict:
    with _copy() as project:
        file = project / mechanism.file
        text = file.read_text()
        if text.count(mechanism.old) != 1:
            return Verdict("error", f"{mechanism.file} does not have it exactly once", 0)
        file.write_text(text.replace(mechanism.old, mechanism.new))
        return _run(mechanism.test, project)


def _untouched(mechanism: Mechanism) -> Verdict:
    with _copy() as project:
        return _run(mechanism.test, project)


@contextmanager
def _copy() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="take-out-", ignore_cleanup_errors=True) as folder:
        project = Path(folder) / "project"
        shutil.copytree(ROOT, project, ignore=LEFT_BEHIND)
        yield project


def _run(test: str, project: Path) -> Verdict:
    """Run one test in a project of its own."""
    report, output = project.with_name("report.xml"), project.with_name("output")
    command = [
        sys.executable, "-m", "pytest", f"tests/faults/{test}", "-q", "-p", "no:cacheprovider", f"--junitxml={report}",
        f"--basetemp={project.with_name('tmp')}",
    ]  # fmt: skip
    started = time.monotonic()
    with output.open("wb") as log:
        process = subprocess.Popen(
            command, cwd=project, env=os.environ | {"PYTHONPATH": str(project)}, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
        ended = _wait(process)
    seconds = time.monotonic() - started
    if not ended:
        return Verdict("error", "it did not end", seconds)
    if process.returncode not in (0, 1) or not report.exists():
        return Verdict("error", f"status {process.returncode}: {output.read_text()[-300:]}", seconds)
    cases = list(ElementTree.parse(report).iter("testcase"))
    errors = [error for case in cases for error in case.iter("error")]
    failures = [failure for case in cases for failure in case.iter("failure")]
    if errors or not cases:
        return Verdict("error", errors[0].get("message", "") if errors else "no such test", seconds)
    return Verdict("red", failures[0].get("message", ""), seconds) if failures else Verdict("green", "", seconds)


def _wait(process: subprocess.Popen[bytes]) -> bool:
    """Wait for a test; one that is interrupted or takes too long may still end what it has started."""
    deadline = time.monotonic() + LONGEST_TEST_SECONDS
    while process.poll() is None:
        if _interrupted.wait(0.5) or time.monotonic() > deadline:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(LONGEST_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            return False
    return True


def _table(verdicts: Sequence[tuple[Mechanism, Verdict]]) -> Table:
    table = Table("row", "taken out", "verdict", "seconds", "why")
    for mechanism, verdict in verdicts:
        table.add_row(
            str(mechanism.row), mechanism.what, verdict.colour, f"{verdict.seconds:.0f}", _in_short(verdict.why)
        )
    return table


def _in_short(why: str) -> str:
    """The assertion that failed, where a failure says one."""
    lines = [line.strip() for line in why.splitlines() if line.strip()]
    return next((line for line in lines if line.startswith("assert ")), lines[0] if lines else "")[:70]


if __name__ == "__main__":
    take_out()
