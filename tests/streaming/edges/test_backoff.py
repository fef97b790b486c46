"""Pauses before trying again: within their limits, and never all the same."""

import pytest

from streaming.edges.backoff import full_jitter, pause_seconds


@pytest.mark.parametrize(("retry", "longest"), [(0, 0.1), (1, 0.2), (3, 0.8), (6, 5.0), (10_000, 5.0)])
def test_a_pause_is_between_half_of_what_doubles_and_all_of_it(retry, longest):
    pauses = {pause_seconds(retry, 0.1, 5.0) for _ in range(200)}

    assert longest / 2 <= min(pauses) < max(pauses) <= longest
    assert len(pauses) > 100


@pytest.mark.parametrize(("attempt", "longest"), [(1, 0.2), (2, 0.4), (6, 5.0), (8, 5.0)])
def test_full_jitter_is_anything_up_to_what_doubles(attempt, longest):
    pauses = [full_jitter(attempt) for _ in range(500)]

    assert 0 <= min(pauses) < longest / 10
    assert longest * 0.9 < max(pauses) <= longest
