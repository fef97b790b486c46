"""The guard: a small process that ends the supervisor's children when the supervisor itself is killed.

It reads from standard input, one JSON list of processes a line, each the whole present state. The end of the input
means that the supervisor is gone; the processes of the last list are then stopped in order, so that workers still find
the servers they flush to. A supervisor that ends well sends an empty list first.
"""

import json
import signal
import sys
from pathlib import Path

from streaming.runtime.processes import ProcessIdentity, stop_in_order, try_lock
from streaming.settings import SERVICES_FILE


def main() -> None:
    """Guard the processes of the home `argv[1]` until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    home = Path(sys.argv[1])
    guarded: list[ProcessIdentity] = []
    for line in sys.stdin:
        guarded = [ProcessIdentity.from_json(document) for document in json.loads(line)]
    # The lock is taken when the supervisor ended well, or when a new one is already cleaning up.
    if lock := try_lock(home):
        with lock:
            stop_in_order(guarded)
            (home / SERVICES_FILE).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
