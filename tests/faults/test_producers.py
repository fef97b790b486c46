"""Faults between a client and the stream."""

import json
from datetime import UTC, datetime

import pytest

from tests.faults.platform import Platform
from tests.landing import event_text

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_02_an_acknowledgement_is_lost_and_the_producer_sends_again(platform: Platform) -> None:
    now = datetime.now(UTC)
    events = [json.loads(event_text(now, f"again-{number}")) for number in range(20)]
    assert platform.post(events).status_code == 200
    assert platform.post(events).status_code == 200
    summary = platform.expect_invariant()
    assert (summary["raw"], summary["flattened"]) == (40, 20)
