"""The client: what it says was accepted is on the stream, whatever happens on the way."""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner

from commands.send import send as send_command
from streaming.domain.validation import MAX_EVENT_BYTES
from streaming.runtime.servers import free_port
from streaming.runtime.traffic import Answer, CollectorUnreachable, SendOptions, SendResult, send
from tests.streaming.redis_server import RedisServer
from tests.streaming.runtime.collector_process import CollectorProcess


@pytest.fixture(scope="module")
def collector_process(
    servers_environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CollectorProcess]:
    home = tmp_path_factory.mktemp("sender")
    with CollectorProcess(servers_environment["REDIS_URL"], home, CLICKSTREAM_TRUST_PAYLOAD_IP="true") as process:
        yield process


@pytest.fixture
def collector(collector_process: CollectorProcess, stream_redis_url: str) -> CollectorProcess:
    """A collector that believes the payload's address, in front of an empty stream."""
    assert stream_redis_url
    return collector_process


def clicks(collector: CollectorProcess) -> Counter[str]:
    return Counter(orjson.loads(envelope.event or b"")["click_id"] for envelope in collector.envelopes())


def test_everything_that_was_accepted_is_on_the_stream(collector: CollectorProcess) -> None:
    shown: list[int] = []
    result = send(
        SendOptions(collector.url, events=3_000, duplicates=0.05, late=0.1), lambda now: shown.append(now.accepted)
    )
    delivered = clicks(collector)
    assert result.ok
    assert (len(delivered), delivered.total()) == (3_000, result.accepted)
    assert result.accepted == 3_000 + result.duplicates
    assert 80 < result.duplicates < 250
    assert 200 < result.late < 400
    assert shown == sorted(shown)
    assert shown[-1] == result.accepted
    assert {envelope.client_ip for envelope in collector.envelopes()} == {None}


def test_bad_events_are_refused_by_type_and_hurt_no_others(collector: CollectorProcess) -> None:
    result = send(SendOptions(collector.url, events=1_000, bad=0.2))
    assert result.ok
    assert result.accepted == len(clicks(collector)) == 1_000
    assert result.refused.total() == result.bad > 100
    assert set(result.refused) == {"malformed_json", "schema_violation", "size_violation", "timestamp_out_of_range"}


def test_bad_events_can_pass_the_collector_by(collector: CollectorProcess) -> None:
    result = send(SendOptions(collector.url, events=500, bad_stream=0.2), stream=collector.stream)
    on_stream = collector.envelopes()
    assert result.ok
    assert len(on_stream) == result.accepted + result.bad_stream.total()
    assert any(len(envelope.data) > MAX_EVENT_BYTES for envelope in on_stream)


def test_single_events_at_a_rate(collector: CollectorProcess) -> None:
    result = send(SendOptions(collector.url, events=60, batch=1, rate=60))
    assert result.accepted == 60
    assert 0.7 < result.seconds < 10


def test_a_live_stream_ends_when_it_is_stopped(collector: CollectorProcess) -> None:
    stop = threading.Event()

    def progress(result: SendResult) -> None:
        if result.accepted >= 100:
            stop.set()

    result = send(SendOptions(collector.url, events=None, rate=200), progress, stop)
    assert result.ok
    assert 100 <= result.accepted == clicks(collector).total()


def test_a_live_stream_puts_bad_events_on_the_stream_as_they_come(collector: CollectorProcess) -> None:
    stop = threading.Event()

    def progress(result: SendResult) -> None:
        if result.accepted >= 100:
            stop.set()

    options = SendOptions(collector.url, events=None, rate=200, bad_stream=0.2)
    result = send(options, progress, stop, stream=collector.stream)
    assert len(collector.envelopes()) > result.accepted


def test_nothing_is_lost_when_the_stream_goes_away_and_comes_back(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as server, CollectorProcess(server.url, tmp_path) as collector:
        back: list[threading.Timer] = []

        def progress(result: SendResult) -> None:
            if result.accepted > 500 and not back:
                server.kill()
                back.append(threading.Timer(0.7, server.start))
                back[0].start()

        result = send(SendOptions(collector.url, events=3_000, rate=2_000), progress)
        back[0].join()
        assert result.retries > 0
        assert result.ok
        assert len(clicks(collector)) == 3_000


def test_every_attempt_has_a_witness(tmp_path: Path) -> None:
    answers: list[Answer] = []
    with RedisServer(tmp_path / "redis") as server, CollectorProcess(server.url, tmp_path) as collector:
        server.kill()
        back = threading.Timer(0.5, server.start)
        back.start()
        result = send(SendOptions(collector.url, events=200, concurrency=1), witness=answers.append)
        back.join()
        taken = [orjson.loads(answer.body)["record_ids"] for answer in answers if answer.status == 200]
        acknowledged = set(chain.from_iterable(taken))
        assert acknowledged <= {envelope.record_id for envelope in collector.envelopes()}
    assert len(acknowledged) == result.accepted == 200
    assert len([answer for answer in answers if answer.status == 503]) == result.retries > 0
    assert all(0 < answer.seconds < 10 for answer in answers)


def test_no_collector_is_said_at_once() -> None:
    with pytest.raises(CollectorUnreachable):
        send(SendOptions(f"http://127.0.0.1:{free_port()}", events=1))


def test_the_command_prints_what_became_of_the_events(collector: CollectorProcess) -> None:
    arguments = ["--url", collector.url, "--events", "200", "--bad", "0.1", "--until", "2026-11-20", "--json"]
    done = CliRunner().invoke(send_command, arguments)
    summary = orjson.loads(done.stdout)
    assert (done.exit_code, summary["accepted"]) == (0, 200)
    assert sum(summary["refused"].values()) == summary["bad"]


def test_every_run_of_the_command_has_its_own_seed_and_says_it(collector: CollectorProcess) -> None:
    arguments = ["--url", collector.url, "--events", "50", "--until", "2026-11-20", "--json"]
    first, second = (orjson.loads(CliRunner().invoke(send_command, arguments).stdout) for _ in range(2))
    assert first["seed"] != second["seed"]
    sent = clicks(collector)
    assert (len(sent), sent.total()) == (100, 100)

    again = CliRunner().invoke(send_command, [*arguments, "--seed", str(first["seed"])])
    assert orjson.loads(again.stdout)["seed"] == first["seed"]
    assert (len(clicks(collector)), clicks(collector).total()) == (100, 150)


def test_the_command_without_a_platform_says_how_to_start_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLICKSTREAM_HOME", str(tmp_path))
    monkeypatch.setenv("COLLECTOR_URL", f"http://127.0.0.1:{free_port()}")
    done = CliRunner().invoke(send_command, [])
    assert done.exit_code == 1
    assert "./run up" in done.stderr
    assert "accepted" not in done.output


def test_the_command_repeats_the_moment_it_cannot_read_as_it_was_typed() -> None:
    done = CliRunner().invoke(send_command, ["--until", "yesterday"])
    assert done.exit_code == 2
    assert "'yesterday'" in done.stderr


def test_the_command_fails_when_events_are_not_accepted(collector: CollectorProcess) -> None:
    done = CliRunner().invoke(send_command, ["--url", collector.url, "--events", "5", "--until", "2020-01-01"])
    assert done.exit_code == 1
    assert "refused: timestamp_out_of_range" in done.stdout
