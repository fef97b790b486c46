"""`run` itself, before it hands over."""

import fcntl
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from streaming.settings import ROOT


def test_ctrl_c_during_the_installation_is_one_line(tmp_path: Path) -> None:
    shutil.copy(ROOT / "run", tmp_path)
    lock = tmp_path / "requirements.lock"
    lock.touch()
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # as another first run that is still installing
        with subprocess.Popen([sys.executable, tmp_path / "run"], stderr=subprocess.PIPE, text=True) as process:
            try:
                while not any(file.path == str(lock) for file in psutil.Process(process.pid).open_files()):
                    time.sleep(0.02)
                process.send_signal(signal.SIGINT)
                assert process.communicate(timeout=10)[1] == "run: interrupted; ./run goes on where it stopped\n"
                assert process.returncode == 130
            finally:
                process.kill()
