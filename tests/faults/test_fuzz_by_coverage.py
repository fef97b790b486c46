"""A short run of the fuzzer that coverage guides, where atheris has wheels: see conftest.py and requirements.in."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from streaming.settings import ROOT


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_coverage_guided_mutation_breaks_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.faults.fuzz", "--runs", "2000", "--artifacts", str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert run.returncode == 0, run.stderr[-5000:]
    assert list(tmp_path.iterdir()) == []
    done = re.search(r"^#2000\tDONE +cov: (\d+)", run.stderr, re.MULTILINE)
    assert done
    assert int(done[1]) > 240, "it must get past the first line of defence"
