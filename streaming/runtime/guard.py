"""The guard: a small process that ends the supervisor's children when the supervisor itself is killed.

It reads from standard input, one JSON list of processes a line, each the whole present state. The end of the input
means that the supervisor is gone; the processes of the last list are then stopped in order, so that workers still find
the servers they flush to. A supervisor that ends well says null first.
"""

import json
import signal
import sys
import time
from pathlib import Path

from streaming.runtime.processes import POLL_SECONDS, ProcessIdentity, stop_in_order, try_lock
from streaming.settings import SERVICES_FILE


def main() -> None:
    """Guard the processes of a supervisor; `argv` is its home and its identity in JSON."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    home, supervisor = Path(sys.argv[1]), ProcessIdentity.from_json(json.loads(sys.argv[2]))
    guarded: list[ProcessIdentity] = []
    for line in sys.stdin:
        if (state := json.loads(line)) is None:
            return
        guarded = [ProcessIdentity.from_json(document) for document in state]
    while supervisor.process():  # a dying process may close its pipe before its lock
        time.sleep(POLL_SECONDS)
    if lock := try_lock(home):  # else a new supervisor is already cleaning up
        with lock:
            stop_in_order(guarded)
            (home / SERVICES_FILE).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
