"""`./run query` without SQL: DuckDB's own shell, in a real terminal."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pexpect
import psutil
import pytest

from clickstream_assets.catalog import CATALOGUED
from commands.query import HISTORY_FILE
from resources.catalog import DuckDBCatalog
from resources.lake import DirectoryLake
from streaming.settings import ROOT
from tests.clickstream_assets.conftest import NOW
from tests.landing import delivery, land

COMMAND = [sys.executable, "-P", "-m", "commands", "query"]
STYLE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
PROMPT = r"catalog.*D .*"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    land(DirectoryLake(tmp_path / "lake"), [delivery(NOW, f"click-{i}", NOW) for i in range(3)], "one")
    user = tmp_path / "user"
    user.mkdir()
    (user / ".duckdbrc").write_text(".exit 9\n")
    named = {"CLICKSTREAM_HOME": str(tmp_path), "HOME": str(user), "TZ": "America/New_York", "TERM": "xterm-256color"}
    return os.environ | {"PYTHONPATH": str(ROOT)} | named


@pytest.fixture
def shell(environment: dict[str, str]) -> Iterator[pexpect.spawn]:
    """The shell at its first prompt; a terminal is asked for its colours, and answers."""
    shell = pexpect.spawn(
        COMMAND[0], COMMAND[1:], env=environment, cwd="/", encoding="utf-8", timeout=30, dimensions=(40, 160)
    )
    try:
        shell.expect(r"Tables: .*enriched_events.*Ctrl-D leaves")
        shell.expect(r"\x1b\[c")
        shell.send("\x1b[?1;2c")
        shell.expect(PROMPT)
        yield shell
    finally:
        shell.close(force=True)


def answer(shell: pexpect.spawn, typed: str, expected: str) -> None:
    """Type a line, and wait until the shell has said what is expected."""
    shell.send(f"{typed}\r")
    said = ""
    while not re.search(expected, said):
        shell.expect(r".+")
        said += STYLE.sub("", shell.after)


def test_it_answers_completes_remembers_and_leaves(shell: pexpect.spawn, tmp_path: Path) -> None:
    shell.send("SELECT COUNT(*) + 4200 AS found FROM enriched_ev\t")
    shell.expect("enriched_events")
    answer(shell, ";", "4203")
    process = psutil.Process(shell.pid)
    assert (process.name(), process.children()) == ("duckdb", [])
    shell.send("\x04")
    shell.expect(pexpect.EOF)
    assert shell.wait() == 0
    assert "FROM enriched_events;" in (tmp_path / HISTORY_FILE).read_text()
    assert [file.name for file in (tmp_path / "user").iterdir()] == [".duckdbrc"]


def test_what_comes_meanwhile_shows_at_the_next_query(shell: pexpect.spawn, tmp_path: Path) -> None:
    count = "SELECT COUNT(*) + 4200 AS found FROM enriched_events;"
    answer(shell, count, "4203")
    land(DirectoryLake(tmp_path / "lake"), [delivery(NOW, "click-3", NOW + timedelta(hours=1))], "two")
    DuckDBCatalog(tmp_path / "catalog.duckdb", DirectoryLake(tmp_path / "lake")).refresh(CATALOGUED)
    answer(shell, count, "4204")


def test_it_keeps_to_the_limits_to_utc_and_to_reading(shell: pexpect.spawn, tmp_path: Path) -> None:
    limits = "current_setting('memory_limit') || ' ' || current_setting('temp_directory')"
    answer(shell, f"SELECT {limits};", rf"429\.1 MiB {tmp_path}/duckdb/\.")
    answer(shell, "SELECT current_setting('TimeZone');", r"│ UTC")
    answer(shell, "CREATE TABLE t (i INT);", "read-only")


def test_ctrl_c_cancels_a_statement_and_the_shell_goes_on(shell: pexpect.spawn) -> None:
    shell.send("SELECT SUM(a.range * b.range) FROM range(10000000) a, range(10000000) b;\r")
    process = psutil.Process(shell.pid)
    started = process.cpu_times().user
    while process.cpu_times().user < started + 1:
        shell.expect(pexpect.TIMEOUT, timeout=0.05)
    shell.send("\x03")
    answer(shell, "SELECT 4200 + 3;", "4203")


def test_its_exit_status_is_the_command_s(shell: pexpect.spawn) -> None:
    shell.send(".exit 3\r")
    shell.expect(pexpect.EOF)
    assert shell.wait() == 3


@pytest.mark.parametrize("options", [[], ["--format", "csv"]])
def test_without_a_terminal_it_takes_sql(environment: dict[str, str], options: list[str]) -> None:
    done = subprocess.run([*COMMAND, *options], env=environment, input="", capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "SQL" in done.stderr.splitlines()[-1]
