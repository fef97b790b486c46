"""Any bytes on the stream end in a row or among the failed, and nothing breaks."""

from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.domain.events import Event
from streaming.domain.failures import FailureType
from streaming.handlers.records import event_judge
from tests.faults.fuzz.properties import expect_short_cut_agrees, expect_sound
from tests.faults.fuzz.strategies import records


@pytest.fixture(autouse=True, scope="module")
def deployment() -> Iterator[None]:
    """A start early enough for the article's events of 2021."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLICKSTREAM_START", "2021-01-01")
        event_judge.cache_clear()
        yield
    event_judge.cache_clear()


def test_a_batch_of_hostile_records_is_answered_whole_and_right() -> None:
    verdicts = Counter[str]()

    @settings(max_examples=400)
    @given(st.lists(records(), max_size=6))
    def sound(batch: list[bytes]) -> None:
        for _, verdict in expect_sound(batch):
            verdicts["good" if isinstance(verdict, Event) else verdict[0].type] += 1

    sound()
    expected = {"good", *FailureType} - {FailureType.PROCESSING_FAILED}
    assert all(verdicts[kind] > 3 for kind in expected), f"the records must try every way: {verdicts}"


@settings(max_examples=400)
@given(records())
def test_the_short_cut_agrees_with_the_schema_on_hostile_records(record: bytes) -> None:
    expect_short_cut_agrees(record)
