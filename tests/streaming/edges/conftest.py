from collections.abc import Iterator

import pytest

from tests.streaming.ipinfo_stub import StubIpinfo


@pytest.fixture
def ipinfo() -> Iterator[StubIpinfo]:
    with StubIpinfo() as stub:
        yield stub
