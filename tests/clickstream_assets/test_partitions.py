from datetime import date

from clickstream_assets.partitions import day_ranges, shown


def days(*numbers: int) -> list[date]:
    return [date(2026, 11, number) for number in numbers]


def spans(*numbers: tuple[int, int]) -> list[tuple[str, str]]:
    return [(f"2026-11-{first:02}", f"2026-11-{last:02}") for first, last in numbers]


def test_ranges_hold_the_days_without_a_gap() -> None:
    assert day_ranges([]) == []
    assert day_ranges(days(3)) == spans((3, 3))
    assert day_ranges(days(5, 1, 2, 9)) == spans((1, 2), (5, 5), (9, 9))


def test_too_many_ranges_close_the_smallest_gaps() -> None:
    scattered = days(1, 3, 4, 9, 11, 20)
    assert day_ranges(scattered, 3) == spans((1, 4), (9, 11), (20, 20))
    assert day_ranges(scattered, 2) == spans((1, 11), (20, 20))
    assert day_ranges(scattered, 1) == spans((1, 20))
    assert day_ranges(scattered, 9) == day_ranges(scattered)


def test_the_first_ranges_are_shown() -> None:
    assert shown(spans((1, 1), (3, 4))) == "2026-11-01, 2026-11-03 to 2026-11-04"
    assert shown(spans((1, 1), (3, 4), (6, 6)), most=1) == "2026-11-01, 2 more"
