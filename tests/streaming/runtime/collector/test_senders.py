"""Who sends: addresses that cannot be claimed, keys, pixels and quotas."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import orjson
import pytest

from streaming.runtime.collector.client_address import ClientAddress
from streaming.runtime.collector.problems import Refusal
from streaming.runtime.collector.quotas import AddressQuotas
from tests.streaming.runtime.collector.conftest import EVENT, ONE, START, array, changed
from tests.streaming.runtime.collector_process import CollectorProcess

KEYS = {
    "open-sesame": {"pixel_id": EVENT["pixel_id"]},
    "believed": {"pixel_id": EVENT["pixel_id"], "trust_payload_ip": True},
    "slow": {"pixel_id": EVENT["pixel_id"], "events_per_second": 2},
}


@pytest.fixture
def start_collector(stream_redis_url: str, tmp_path: Path) -> Iterator[Callable[..., CollectorProcess]]:
    """Start a collector with settings of the test's own."""
    started: list[CollectorProcess] = []

    def start(**environment: str) -> CollectorProcess:
        started.append(CollectorProcess(stream_redis_url, tmp_path, **START | environment))
        return started[-1]

    yield start
    for process in started:
        process.close()


@pytest.fixture(scope="module")
def keyed_process(
    servers_environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CollectorProcess]:
    home = tmp_path_factory.mktemp("keyed")
    (home / "keys.json").write_bytes(orjson.dumps(KEYS))
    environment = START | {"CLICKSTREAM_API_KEYS": str(home / "keys.json")}
    with CollectorProcess(servers_environment["REDIS_URL"], home, **environment) as process:
        yield process


@pytest.fixture
def keyed(keyed_process: CollectorProcess, stream_redis_url: str) -> CollectorProcess:
    """A collector that knows KEYS, in front of an empty stream."""
    assert stream_redis_url
    return keyed_process


def client_ips(collector: CollectorProcess) -> list[str | None]:
    return [envelope.client_ip for envelope in collector.envelopes()]


def test_a_claimed_address_does_not_replace_the_connection_s(collector: CollectorProcess) -> None:
    collector.post(changed(user_ip="8.8.8.8"), x_forwarded_for="9.9.9.9", forwarded="for=9.9.9.9")
    assert client_ips(collector) == ["127.0.0.1"]


def test_a_trusted_proxy_names_the_client(start_collector: Callable[..., CollectorProcess]) -> None:
    collector = start_collector(CLICKSTREAM_TRUSTED_PROXIES="127.0.0.0/8, 10.0.0.7")
    collector.post(ONE, x_forwarded_for="6.6.6.6, 203.0.113.9, 10.0.0.7")
    assert client_ips(collector) == ["203.0.113.9"]


@pytest.mark.parametrize(
    ("peer", "headers", "address"),
    [
        ("192.0.2.1", ["203.0.113.9"], "192.0.2.1"),
        ("10.0.0.7", [], "10.0.0.7"),
        ("10.0.0.7", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.7", ["6.6.6.6", "203.0.113.9,10.0.0.8"], "203.0.113.9"),
        ("10.0.0.7", ["6.6.6.6, nonsense"], "10.0.0.7"),
        ("10.0.0.7", ["6.6.6.6, nonsense, 10.0.0.8"], "10.0.0.8"),
        ("10.0.0.7", ["2001:db8::1"], "2001:db8::1"),
        ("::ffff:10.0.0.7", ["::ffff:203.0.113.9"], "203.0.113.9"),
        ("10.0.0.7", ["10.0.0.9"], "10.0.0.9"),
        ("fe80::1%eth0", [], "fe80::1"),
    ],
)
def test_the_right_most_address_that_is_no_proxy_of_ours(peer: str, headers: list[str], address: str) -> None:
    assert ClientAddress(["10.0.0.0/24"]).of(peer, headers) == address


def test_a_deployment_may_believe_the_payload(start_collector: Callable[..., CollectorProcess]) -> None:
    collector = start_collector(CLICKSTREAM_TRUST_PAYLOAD_IP="true")
    collector.post(array(changed(user_ip="8.8.8.8", user_id="1")))
    collector.post(array(changed(user_ip=None, user_id="1")))
    assert client_ips(collector) == [None, "127.0.0.1"]


@pytest.mark.parametrize("key", [None, "", "open-sesam", "ключ"])
def test_without_a_known_key_nothing_is_accepted(keyed: CollectorProcess, key: str | None) -> None:
    response = keyed.post(ONE) if key is None else keyed.post(ONE, params={"key": key})
    assert (response.status_code, response.json()["type"]) == (401, "urn:clickstream:problem:unknown-key")
    assert keyed.envelopes() == []


def test_a_key_comes_in_a_header_or_in_the_query(keyed: CollectorProcess) -> None:
    assert keyed.post(ONE, x_api_key="open-sesame").status_code == 200
    assert keyed.post(ONE, params={"key": "open-sesame"}).status_code == 200


def test_a_key_sends_for_its_own_pixel_only(keyed: CollectorProcess) -> None:
    body = array(ONE, changed(pixel_id="another"))
    assert keyed.errors(body, x_api_key="open-sesame") == [("/1/pixel_id", "schema_violation")]
    assert keyed.envelopes() == []


def test_a_key_may_be_believed_about_addresses(keyed: CollectorProcess) -> None:
    keyed.post(ONE, x_api_key="open-sesame")
    keyed.post(ONE, x_api_key="believed")
    assert client_ips(keyed) == ["127.0.0.1", None]


def test_a_quota_refuses_and_says_when_to_come_back(keyed: CollectorProcess) -> None:
    assert keyed.post(array(*[ONE] * 495), x_api_key="slow").status_code == 200
    response = keyed.post(array(*[ONE] * 15), x_api_key="slow")
    assert (response.status_code, response.json()["type"]) == (429, "urn:clickstream:problem:quota-exceeded")
    assert 1 <= int(response.headers["retry-after"]) <= 5
    assert len(keyed.envelopes()) == 495


@pytest.mark.parametrize(
    ("setting", "value"),
    [("CLICKSTREAM_API_KEYS", "keys.json"), ("CLICKSTREAM_API_KEYS", "none"), ("CLICKSTREAM_TRUSTED_PROXIES", "me")],
)
def test_a_setting_that_cannot_be_used_stops_the_start(
    start_collector: Callable[..., CollectorProcess], tmp_path: Path, setting: str, value: str
) -> None:
    (tmp_path / "keys.json").write_text('{"secret-key": {"pixel": "p"}}')
    with pytest.raises(AssertionError) as failure:
        start_collector(**{setting: str(tmp_path / value) if setting.endswith("KEYS") else value})
    assert setting in str(failure.value)
    assert "secret-key" not in str(failure.value)
    assert "Traceback" not in str(failure.value)


def test_an_address_has_a_quota_whatever_it_sends(start_collector: Callable[..., CollectorProcess]) -> None:
    collector = start_collector(CLICKSTREAM_REQUESTS_PER_SECOND="2", CLICKSTREAM_TRUSTED_PROXIES="127.0.0.1")
    bodies = [ONE, b"{", ONE, ONE]
    answers = [collector.post(body, x_forwarded_for="203.0.113.7") for body in bodies]
    assert [answer.status_code for answer in answers] == [200, 400, 429, 429]
    assert answers[2].headers["retry-after"] == "1"
    assert collector.post(ONE, x_forwarded_for="203.0.113.8").status_code == 200


def test_the_addresses_of_one_ipv6_network_share_a_quota() -> None:
    quotas = AddressQuotas(1)
    quotas.admit("2001:db8::1")
    quotas.admit("2001:db8:0:1::1")
    with pytest.raises(Refusal, match="1 requests per second"):
        quotas.admit("2001:db8::2")
