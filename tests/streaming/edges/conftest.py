from collections.abc import Iterator
from threading import Thread

import pytest

from tests.streaming.ipinfo_stub import StubIpinfo


@pytest.fixture
def ipinfo() -> Iterator[StubIpinfo]:
    with StubIpinfo() as stub:
        thread = Thread(target=stub.serve_forever, args=(0.05,))
        thread.start()
        yield stub
        stub.released.set()
        stub.shutdown()
        thread.join()
