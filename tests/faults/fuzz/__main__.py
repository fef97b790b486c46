"""Fuzzing guided by coverage: libFuzzer, through atheris, mutates records to reach code that none has reached.

Begins with the article's event, good and spoiled, bare and in an envelope, and with choices for the strategies. What
breaks a property ends the run with a status other than 0, and is kept in the folder of `--artifacts`.
"""

import os
import random
import sys
import tempfile
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

import atheris
import click
import orjson
from hypothesis import given, settings

os.environ["CLICKSTREAM_START"] = "2021-01-01"  # early enough for the article's events

with atheris.instrument_imports(include=["streaming"]):
    from streaming.domain.envelope import new_record_ids, stamp
    from streaming.domain.timestamps import format_timestamp
    from streaming.runtime.traffic.bad_events import SPOILERS
    from tests.faults.fuzz.properties import ARRIVAL, expect_short_cut_agrees, expect_sound
    from tests.faults.fuzz.strategies import records
    from tests.streaming.domain.strategies import ARTICLE_EVENT

DICTIONARY = Path(__file__).with_name("records.dict")
LONGEST_RECORD = 4096
MOST_MEGABYTES = 1024  # more than at the start


@settings(database=None, deadline=None)
@given(records())
def try_record(record: bytes) -> None:
    """Hold one record to every property."""
    try:
        expect_sound([record])
        expect_short_cut_agrees(record)
    except Exception as error:
        error.add_note(f"record {record!r}")
        raise


def try_input(data: bytes) -> None:
    """Take what libFuzzer made for a record; behind a `#`, for the choices by which the strategies make one."""
    if data.startswith(b"#"):
        try_record.hypothesis.fuzz_one_input(data[1:])
    else:
        try_record.hypothesis.inner_test(data)


def write_seeds(folder: Path) -> None:
    """Write the records that mutation starts from."""
    choices = random.Random(1)
    for number in range(20):
        (folder / f"{number}-choices").write_bytes(b"#" + choices.randbytes(400))
    details = {**ARTICLE_EVENT["additional_data"]}
    details["price"] = details.pop("price")  # the spoilers want it last
    article = orjson.dumps(ARTICLE_EVENT | {"event_name": "ViewContent", "additional_data": details})
    events = [article, *(spoiler.spoil(article) for spoiler in SPOILERS)]
    arrival = format_timestamp(ARRIVAL)
    for number, (event, record_id) in enumerate(zip(events, new_record_ids(len(events)), strict=True)):
        if len(event) < LONGEST_RECORD:
            (folder / f"{number}-bare").write_bytes(event)
            (folder / f"{number}-stamped").write_bytes(
                stamp(event, record_id, arrival, "203.0.113.7" if number % 2 else None)
            )


@click.command()
@click.option("--seconds", default=0, help="How long; 0 for as many as --runs take.")
@click.option("--runs", default=-1, help="How many records to try; -1 for as many as --seconds allow.")
@click.option("--seed", default=1, show_default=True, help="The same seed and number of runs try the same records.")
@click.option(
    "--artifacts", default=".", type=click.Path(file_okay=False, path_type=Path), help="Where a failure is kept."
)
def fuzz(seconds: int, runs: int, seed: int, artifacts: Path) -> None:
    """Mutate records, guided by coverage, until time or runs end or one breaks a property."""
    with tempfile.TemporaryDirectory() as corpus:
        write_seeds(Path(corpus))
        options = {
            "seed": seed, "runs": runs, "max_total_time": seconds, "max_len": LONGEST_RECORD, "dict": DICTIONARY,
            "artifact_prefix": f"{artifacts}/", "timeout": 30, "print_final_stats": 1,
            # A peak counts from the process that started this one: a large one would be over any limit at once.
            "rss_limit_mb": getrusage(RUSAGE_SELF).ru_maxrss // 1024 + MOST_MEGABYTES,
        }  # fmt: skip
        atheris.Setup([sys.argv[0], *(f"-{name}={value}" for name, value in options.items()), corpus], try_input)
        atheris.Fuzz()


if __name__ == "__main__":
    fuzz()
