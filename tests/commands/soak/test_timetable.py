"""The strikes of a soak: which, and in which order."""

from itertools import islice
from random import Random

from commands.soak.strikes import KINDS, STRIKES, poison
from commands.soak.target import PIPELINE
from commands.soak.timetable import timetable
from streaming.domain.json_text import is_json


def order(seed: int, count: int) -> list[tuple[str, float, float, float]]:
    return [
        (planned.strike.name, planned.lasts_seconds, planned.rest_seconds, planned.random.random())
        for planned in islice(timetable(seed, KINDS), count)
    ]


def test_the_same_seed_strikes_the_same() -> None:
    assert order(7, 200) == order(7, 200)
    assert order(7, 200) != order(8, 200)


def test_every_strike_comes_before_any_comes_again() -> None:
    names = [name for name, *_ in order(1, 2 * len(STRIKES))]
    assert sorted(names[: len(STRIKES)]) == sorted(names[len(STRIKES) :]) == sorted(strike.name for strike in STRIKES)


def test_only_the_kinds_asked_for_strike() -> None:
    struck = {planned.strike for planned in islice(timetable(1, ["kill"]), 50)}
    assert {strike.kind for strike in struck} == {"kill"}
    assert {strike.kills for strike in struck} == {*((name,) for name in PIPELINE), PIPELINE}


def test_strikes_have_names_of_their_own_and_rows_of_the_catalogue() -> None:
    assert len({strike.name for strike in STRIKES}) == len(STRIKES)
    assert {row for strike in STRIKES for row in strike.rows} <= set(range(1, 31))
    assert {strike.kind for strike in STRIKES} == set(KINDS)


def test_no_poison_is_like_another() -> None:
    random = Random(1)
    records = poison(random) + poison(random)
    assert len(set(records)) == len(records)
    assert any(not is_json(record) for record in records)
