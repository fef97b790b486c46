"""The stream's Redis stops for half a minute under load."""

import threading
import time

import orjson
import pytest

from streaming.runtime.traffic import Answer, SendOptions, send
from tests.faults.platform import Platform

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

STOPPED_SECONDS = 30
ANSWER_SECONDS = 2.0


def test_20_the_stream_stops_for_30_s_and_what_was_accepted_before_and_after_arrives(platform: Platform) -> None:
    answers: list[tuple[float, Answer]] = []
    over = threading.Event()
    options = SendOptions(platform.settings.collector_url, events=None, rate=400, concurrency=8, seed=20)
    traffic = threading.Thread(
        target=send,
        args=(options,),
        kwargs={"stop": over, "witness": lambda now: answers.append((time.monotonic(), now))},
    )
    traffic.start()
    platform.wait(lambda: len(answers) >= 10)
    stopped = time.monotonic()
    platform.stop("stream-redis")
    time.sleep(STOPPED_SECONDS)
    platform.resume("stream-redis")
    resumed = time.monotonic()
    platform.wait(lambda: any(answer.status == 200 and at > resumed + 2 for at, answer in answers))
    over.set()
    traffic.join()

    meanwhile = [answer for at, answer in answers if stopped + ANSWER_SECONDS < at < resumed]
    assert {answer.status for answer in meanwhile} == {503}
    assert len(meanwhile) > STOPPED_SECONDS / ANSWER_SECONDS
    assert max(answer.seconds for answer in meanwhile) < ANSWER_SECONDS
    taken = [orjson.loads(answer.body)["record_ids"] for _, answer in answers if answer.status == 200]
    summary = platform.expect_invariant(platform.accepted + [identity for some in taken for identity in some])
    assert summary["failed"] == 0
