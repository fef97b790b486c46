"""The collector under trouble: a stream that is full or stopped, clients that are slow, its own end."""

import json
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import orjson
import pytest

from streaming.edges.ingestion_api import load_openapi
from streaming.runtime.collector.refused_samples import MAX_SAMPLES, RefusedSamples
from streaming.runtime.servers import LOOPBACK
from tests.streaming.redis_server import RedisServer
from tests.streaming.runtime.collector.conftest import EVENT, ONE, START, array, changed
from tests.streaming.runtime.collector_process import CollectorProcess


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that only this test uses."""
    with RedisServer(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def own_collector(own_redis: RedisServer, tmp_path: Path) -> Iterator[CollectorProcess]:
    """A collector in front of `own_redis`."""
    with CollectorProcess(own_redis.url, tmp_path, **START) as process:
        yield process


def connect(collector: CollectorProcess, content: bytes) -> socket.socket:
    connection = socket.create_connection((LOOPBACK, collector.port))
    connection.sendall(content)
    return connection


def refuses_connections(collector: CollectorProcess) -> bool:
    try:
        socket.create_connection((LOOPBACK, collector.port)).close()
    except ConnectionRefusedError:
        return True
    return False


def eventually(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def head(length: int) -> bytes:
    return b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % length


def test_a_stopped_stream_is_503_within_two_seconds(own_collector: CollectorProcess, own_redis: RedisServer) -> None:
    own_redis.stop()
    started = time.monotonic()
    responses = [own_collector.post(ONE), own_collector.client.get("/health")]
    seconds = time.monotonic() - started
    own_redis.resume()
    assert [response.status_code for response in responses] == [503, 503]
    assert responses[0].headers["retry-after"] == "1"
    assert responses[1].json()["stream_backlog"] is None
    assert seconds < 5.0


def test_many_requests_at_a_stopped_stream_are_all_answered_in_time(
    own_collector: CollectorProcess, own_redis: RedisServer
) -> None:
    own_redis.stop()
    answers: list[tuple[int, float]] = []

    def post() -> None:
        started = time.monotonic()
        status = httpx.post(f"{own_collector.url}/events", content=ONE, trust_env=False).status_code
        answers.append((status, time.monotonic() - started))

    threads = [threading.Thread(target=post) for _ in range(20)]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    for thread in threads:
        thread.join()
    own_redis.resume()
    assert {status for status, _ in answers} == {503}
    assert max(seconds for _, seconds in answers) < 4.0


def test_it_recovers_by_itself_when_the_stream_is_back(own_collector: CollectorProcess, own_redis: RedisServer) -> None:
    own_redis.kill()
    assert own_collector.post(ONE).status_code == 503
    own_redis.start()
    assert own_collector.post(ONE).status_code == 200
    assert own_collector.client.get("/health").status_code == 200


def test_a_full_stream_is_503_and_acknowledges_nothing(stream_redis_url: str, tmp_path: Path) -> None:
    with CollectorProcess(stream_redis_url, tmp_path, **START, CLICKSTREAM_STREAM_BACKLOG="20") as collector:
        assert collector.post(array(*[ONE] * 10)).status_code == 200
        response = collector.post(ONE)
        assert (response.status_code, response.json()["detail"]) == (503, "the stream answered StreamFull")
        assert response.headers["retry-after"] == "1"
        assert len(collector.envelopes()) == 10
        assert collector.metrics()['collector_stream_put_failures_total{code="StreamFull"}'] == 1


def test_sigterm_finishes_what_is_in_flight_and_ends_with_0(stream_redis_url: str, tmp_path: Path) -> None:
    with CollectorProcess(stream_redis_url, tmp_path, **START) as collector:
        in_flight = connect(collector, head(len(ONE)) + ONE[:100])
        idle = connect(collector, b"")
        time.sleep(0.2)
        collector.process.send_signal(signal.SIGTERM)
        eventually(lambda: refuses_connections(collector))
        in_flight.sendall(ONE[100:])
        answer = in_flight.recv(65_536)
        assert answer.startswith(b"HTTP/1.1 200")
        assert collector.process.wait(30) == 0
        assert len(collector.envelopes()) == 1
        assert idle.recv(1) == b""


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"POST /events HTTP/1.1\r\nX: ", head(1_000) + b"["])
def test_a_client_that_does_not_get_on_is_let_go(collector: CollectorProcess, content: bytes) -> None:
    started = time.monotonic()
    with connect(collector, content) as connection:
        connection.settimeout(30)
        try:
            answer = connection.recv(65_536)
        except ConnectionResetError:
            answer = b""
    assert 8 < time.monotonic() - started < 20
    assert answer == b"" or answer.startswith(b"HTTP/1.1 408")


def test_an_endless_head_is_cut_off(collector: CollectorProcess) -> None:
    with connect(collector, b"POST /events HTTP/1.1\r\nX: ") as connection, pytest.raises(ConnectionError):
        connection.sendall(b"x" * (64 << 20))
    assert collector.client.get("/health").status_code == 200


def test_bodies_on_their_way_are_bounded_together(own_collector: CollectorProcess) -> None:
    def wait_for(status: int) -> httpx.Response:
        deadline = time.monotonic() + 8
        while (response := own_collector.post(ONE)).status_code != status:
            assert time.monotonic() < deadline, response.text
            time.sleep(0.05)
        return response

    content = head(1 << 20) + b" " * ((1 << 20) - 1)
    with ExitStack() as stack:
        for _ in range(64):
            stack.enter_context(connect(own_collector, content))
        assert wait_for(503).json()["type"] == "urn:clickstream:problem:unavailable"
    wait_for(200)


def test_a_client_that_hangs_up_does_no_harm(collector: CollectorProcess) -> None:
    with connect(collector, head(1_000) + b"["):
        pass
    assert collector.post(ONE).status_code == 200


def test_metrics_count_requests_events_and_faults(collector: CollectorProcess) -> None:
    before = collector.metrics()
    collector.post(array(ONE, ONE))
    collector.post(array(ONE, changed(user_id=35)))
    collector.post(array(ONE, changed(user_id=35)), params={"partial": "true"})
    after = collector.metrics()

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0.0)

    assert grown('collector_requests_total{status="400"}') == 1
    assert grown("collector_events_accepted_total") == 3
    assert grown('collector_events_refused_total{type="schema_violation"}') == 2
    assert grown("collector_stream_put_seconds_count") == 2
    assert after["collector_stream_backlog_records"] == 3


def test_a_refused_request_leaves_a_sample_and_no_payload_in_the_log(collector: CollectorProcess) -> None:
    secret = "4929-secret"
    collector.post(changed(user_id=secret, event_name=secret))
    folder = collector.home / "refused"
    eventually(lambda: any(b'"status":400' in sample.read_bytes() for sample in folder.glob("*.json")))
    assert secret not in collector.log.read_text()
    assert collector.envelopes() == []


def test_a_partial_request_without_faults_leaves_no_sample(stream_redis_url: str, tmp_path: Path) -> None:
    with CollectorProcess(stream_redis_url, tmp_path, **START) as collector:
        assert collector.post(ONE, params={"partial": "true"}).json()["refused"] == []
        assert collector.terminate() == 0
    assert list((tmp_path / "refused").iterdir()) == []


def test_samples_are_a_bounded_ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = iter(range(10_000))
    monkeypatch.setattr(time, "time", lambda: float(next(moment)))
    samples = RefusedSamples(tmp_path)
    for number in range(MAX_SAMPLES + 50):
        samples.keep({"number": number}, b"x" * 200_000)
    samples.close()
    kept = [json.loads(path.read_text()) for path in tmp_path.iterdir()]
    assert sorted(sample["problem"]["number"] for sample in kept) == list(range(50, MAX_SAMPLES + 50))
    assert max(path.stat().st_size for path in tmp_path.iterdir()) < 100_000


def test_logs_are_json_lines(collector: CollectorProcess) -> None:
    lines = [json.loads(line) for line in collector.log.read_text().splitlines()]
    assert lines
    assert all({"time", "level", "process", "message"} <= line.keys() for line in lines)


def test_the_examples_of_the_openapi_document_are_what_happens(collector: CollectorProcess) -> None:
    document = collector.client.get("/openapi.json").json()
    assert document == load_openapi()
    content = document["paths"]["/events"]["post"]["requestBody"]["content"]
    for example in content["application/json"]["examples"].values():
        body = orjson.dumps(example["value"])
        assert collector.post(body).status_code == 200
    assert collector.post(content["text/plain"]["example"], content_type="text/plain").status_code == 200
    refused = document["paths"]["/events"]["post"]["responses"]["400"]["content"]["application/problem+json"]["example"]
    assert collector.post(array(ONE, changed(event_name="Browse"))).json() == refused


def test_every_problem_is_documented_as_it_is_answered() -> None:
    from streaming.runtime.collector.problems import Refusal

    responses = load_openapi()["paths"]["/events"]["post"]["responses"]
    for status, response in responses.items():
        if status != "200":
            example = response["content"]["application/problem+json"]["example"]
            kind = example["type"].rpartition(":")[2]
            problem = Refusal(kind, example["detail"]).problem()
            assert (problem["status"], problem["title"]) == (int(status), example["title"])


def test_the_root_leads_to_the_docs(collector: CollectorProcess) -> None:
    response = collector.client.get("/")
    assert (response.status_code, response.headers["location"]) == (307, "/docs")


def test_the_docs_page_asks_nothing_of_other_hosts(collector: CollectorProcess) -> None:
    page = collector.client.get("/docs")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    addresses = re.findall(r"""(?:src|href)="([^"]+)""", page.text)
    assert len(addresses) == 4
    for address in addresses:
        assert address.startswith("/docs/")
        assert collector.client.get(address).status_code == 200
    assert "'/openapi.json'" in collector.client.get("/docs/start.js").text
    assert EVENT["event_name"] in collector.client.get("/openapi.json").text
