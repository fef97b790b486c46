"""An emulator of AWS for the tests of a module."""

from collections.abc import Iterator

import pytest

from tests.infra.emulator import Clients, running_emulator


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    """A running emulator: makes clients of its services."""
    with running_emulator(tmp_path_factory.mktemp("emulator")) as clients:
        yield clients
