"""Doors to keep shut: an attack through each, on a platform that runs."""

import gzip
import itertools
import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pymysql
import pytest
import redis

from streaming.domain.json_text import MAX_DEPTH
from streaming.runtime.collector.request_body import MAX_BODY_BYTES
from streaming.runtime.servers import LOOPBACK
from tests.faults.platform import Platform
from tests.landing import event_text
from tests.spreadsheet import formulas
from tests.streaming.ipinfo_stub import StubIpinfo, StubRequest, locate
from tests.streaming.redis_server import RedisServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

Start = Callable[..., Platform]

RIVERSIDE = "169.235.214.44"
LISTENERS = ("stream-redis", "cache-redis", "mariadb", "collector", "dashboard", "dagster-code", "dagster-webserver")
INJECTIONS = [
    "Robert'); DROP TABLE customers; --",
    "'; COPY (SELECT 1) TO 'stolen.csv'; --",
    '"; DROP VIEW enriched_events; --',
    "$$ UNLOAD ('select 1') $$",
    "x' OR '1'='1",
    "`id`; $(id) %s ? {0} \\",
]
FORMULAS = [
    "=HYPERLINK(\"http://example.com\",\"x\")", "+1+cmd|' /C calc'!A0", "-2+3+cmd|' /C calc'!A0", "@SUM(1+1)",
    "x,=1+1", "x;=1+1", 'x,"=1+1', "'=1+1", "＝1+1", "|=1+1",
]  # fmt: skip


def event(click_id: str, **changes: Any) -> dict[str, Any]:
    """An event of this moment that keeps the contract but for its changes."""
    members: dict[str, Any] = json.loads(event_text(datetime.now(UTC), click_id, **changes))
    return members


def test_door_spoofed_client_ip(start_platform: Start) -> None:
    platform = start_platform(CLICKSTREAM_TRUST_PAYLOAD_IP="0")
    claims = {"x-forwarded-for": RIVERSIDE, "forwarded": f"for={RIVERSIDE}", "x-real-ip": RIVERSIDE}
    forged = {"record_id": "f" * 32, "arrival_timestamp": "2020-01-01T00:00:00.000000Z", "client_ip": RIVERSIDE}
    columns = {"country": "US", "name": "Mallory", "missing_reasons": "", "enrichment_version": "9"}
    assert platform.post(event("claimed"), **claims).status_code == 200
    assert platform.post(event("forged", **forged, **columns), **claims).status_code == 200
    assert platform.post({**forged, "event": event("enveloped")}).status_code == 400
    platform.expect_invariant()
    rows = platform.query("SELECT click_id, record_id, user_ip, country, name, extra FROM enriched_events ORDER BY 1")
    assert [(row["click_id"], row["user_ip"], row["country"]) for row in rows] == [
        ("claimed", LOOPBACK, None), ("forged", LOOPBACK, None),
    ]  # fmt: skip
    assert [row["record_id"] for row in rows] == platform.accepted
    assert rows[0]["name"] == rows[1]["name"] != "Mallory"
    assert json.loads(rows[1]["extra"]) == {**forged, **columns, "user_ip": RIVERSIDE}


@pytest.fixture
def elsewhere() -> Iterator[StubIpinfo]:
    with StubIpinfo() as server:
        yield server


@pytest.fixture
def ipinfo(elsewhere: StubIpinfo) -> Iterator[StubIpinfo]:
    """An address ending in .9 sends one elsewhere."""

    def redirect(request: StubRequest) -> None:
        if any(ip.endswith(".9") for ip in request.ips):
            request.reply(307, b"", {"location": f"{elsewhere.url}/batch"})
        else:
            locate(request)

    with StubIpinfo() as server:
        server.answer = redirect
        yield server


INSIDE = [
    "127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:169.254.169.254", "fe80::1%eth0", "fc00::1", "0.0.0.0",
    "224.0.0.1", "255.255.255.255", "192.0.2.1", "100.64.0.1",
]  # fmt: skip
NO_ADDRESS = [
    "0x7f.1", "2130706433", "127.1", "localhost", "http://169.254.169.254/latest/meta-data", "8.8.8.8/../../user",
    "8.8.8.8#@example.com", "8.8.8.8:80", "[2607:f8b0::1]", " 8.8.8.8", "８.８.８.８", "8.8.8.8,1.1.1.1", "*",
]  # fmt: skip


def test_door_ssrf_and_quota_through_user_ip(start_platform: Start, ipinfo: StubIpinfo, elsewhere: StubIpinfo) -> None:
    platform = start_platform(IPINFO_TOKEN="a-token", IPINFO_URL=ipinfo.url)
    hostile = [event(f"hostile-{ip}", user_ip=ip) for ip in (*INSIDE, *NO_ADDRESS)]
    assert platform.post(hostile).status_code == 200
    assert platform.post(event("split", user_ip="8.8.8.8\r\nHost: example.com")).status_code == 400
    for number in range(10):  # the same user, so that batch follows batch
        same = [event(f"same-{number}-{each}", user_ip="8.8.8.8") for each in range(50)]
        assert platform.post(same).status_code == 200
        platform.wait_delivered()
    assert platform.post(event("redirected", user_ip="9.9.9.9")).status_code == 200
    platform.expect_invariant()
    asked = [ip for _, _, ips in ipinfo.requests for ip in ips]
    assert {path for path, _, _ in ipinfo.requests} == {"/batch"}
    assert all(ip_address(ip).is_global for ip in asked)
    assert 1 <= asked.count("8.8.8.8") <= 2, "once by each process that needs it, if they need it at one time"
    assert "9.9.9.9" in asked
    assert elsewhere.requests == []
    rows = platform.query(
        "SELECT user_ip, country, missing_reasons AS why FROM enriched_events WHERE user_ip <> '8.8.8.8' ORDER BY 1"
    )
    reasons = {row["user_ip"]: row["why"].rpartition("place:")[2] for row in rows}
    assert reasons.pop("9.9.9.9") == "lookup_failed"
    assert {ip for ip, reason in reasons.items() if reason == "private_address"} == set(INSIDE) - {"fe80::1%eth0"}
    assert {ip for ip, reason in reasons.items() if reason == "invalid_address"} == {*NO_ADDRESS, "fe80::1%eth0"}


def test_door_sql_injection(platform: Platform) -> None:
    hostile = [event(text, user_id=text, pixel_id=text, event_name="ViewContent", user_ip=text) for text in INJECTIONS]
    assert platform.post(hostile).status_code == 200
    signed_up = [_sign_up(platform, text) for text in INJECTIONS]
    assert platform.post([event(f"of-{number}", user_id=number) for number in signed_up]).status_code == 200
    platform.put([b"no event"])
    platform.expect_invariant()
    texts = sorted(INJECTIONS)
    for table in ("enriched_events", "flattened_events", "high_intent_views"):
        found = platform.query(f"SELECT user_id, click_id FROM {table} WHERE user_id = click_id")
        assert sorted(row["user_id"] for row in found) == texts, table
    found = platform.query("SELECT user_id, name FROM actions_by_customer")
    names = {row["user_id"]: row["name"] for row in found}
    assert [names[number] for number in signed_up] == INJECTIONS
    assert names.keys() >= set(texts)
    listed = platform.run("customers", "list")
    assert all(number in listed for number in signed_up)
    hostile_file = platform.home / "identities'; DROP VIEW raw_events; --"
    hostile_file.write_text("'); DROP VIEW raw_events; --\n")
    lost = json.loads(platform.run("verify", "--open", "--acknowledged", str(hostile_file), "--json", status=1))
    assert [verdict["broken"] for verdict in lost["promises"].values() if verdict["broken"]] == [1]
    replayed = json.loads(platform.run("replay", "--json", "--record-id", "x') OR TRUE; DROP VIEW raw_events; --"))
    assert replayed["chosen"] == 0
    assert not list(platform.home.rglob("stolen.csv"))


def _sign_up(platform: Platform, name: str) -> str:
    """Sign a customer up; the user_id."""
    said = platform.run("customers", "add", f"--name={name}", f"--pixel={name}")
    number, _, signed = said.removeprefix("customer ").partition(": ")
    assert signed.rstrip("\n") == name
    return number


def test_door_csv_formulas(platform: Platform) -> None:
    assert platform.post([event(f"csv-{text}", user_id=text, note=text) for text in FORMULAS]).status_code == 200
    signed_up = [_sign_up(platform, text) for text in FORMULAS]
    assert platform.post([event(f"csv-{number}", user_id=number) for number in signed_up]).status_code == 200
    platform.put([f"x,=1;{text}".encode() for text in FORMULAS])
    platform.expect_invariant()
    unloaded = list((platform.lake / "aggregated").rglob("*.csv"))
    assert unloaded
    for file in unloaded:
        assert formulas(file.read_text()) == [], file
    for table in ("enriched_events", "flattened_events", "actions_by_customer", "failed_events", "raw_events"):
        written = platform.run("query", "--format", "csv", f"SELECT * FROM {table}")
        assert written.count("\n") > len(FORMULAS)
        assert formulas(written) == [], table
    found = {row["user_id"]: row["name"] for row in platform.query("SELECT user_id, name FROM actions_by_customer")}
    assert found.keys() >= set(FORMULAS)
    assert [found[number] for number in signed_up] == FORMULAS


def test_door_oversized_deep_compressed(platform: Platform) -> None:
    good = event("beside-a-bomb")
    deep = b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1)
    bomb = gzip.compress(bytes(200_000_000))
    compressed = {"content-encoding": "gzip"}
    before = _peak_memory(platform)
    assert platform.post(bytes(10 * MAX_BODY_BYTES)).status_code == 413
    assert _post_endlessly(platform) == 413
    for _ in range(20):
        assert platform.post(bomb, **compressed).status_code == 413
    assert platform.post(gzip.compress(bomb), **compressed).status_code == 400
    assert platform.post(b"[" * 500_000).status_code == 400
    assert platform.post(b"[" + b"{}," * 300_000 + b"{}]").status_code == 413
    assert platform.post(json.dumps(good)[:-1].encode() + b', "note": ' + deep + b"}").status_code == 400
    assert platform.post({**good, "note": "x" * 70_000}).status_code == 400
    assert platform.post(b'{"a": ' + b"9" * 900_000 + b"}").status_code == 400
    assert _peak_memory(platform) - before < 100_000_000
    assert platform.post(good).status_code == 200
    records = [deep * 5000, b'{"a":' * 200_000, bomb, b'"' + b"x" * 900_000 + b'"', b"9" * 900_000]
    for record in records:  # past the collector: a record of Kinesis may hold a MiB
        platform.put([record])
    platform.expect_invariant()
    failed = platform.query("SELECT record_id, type FROM failed_events WHERE octet_length(raw_data) > 100_000")
    assert {row["record_id"] for row in failed} == set(platform.accepted[-len(records) :])
    assert {row["type"] for row in failed} == {"size_violation"}


def _peak_memory(platform: Platform) -> int:
    """The most bytes of memory the collector has ever held."""
    status = Path(f"/proc/{platform.pid('collector')}/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def _post_endlessly(platform: Platform) -> int:
    """Send a body of a length that is not said; the answer's status."""
    url = f"{platform.settings.collector_url}/events"
    return httpx.post(url, content=itertools.repeat(bytes(65_536), 160), trust_env=False).status_code


def test_door_public_endpoint_abuse(start_platform: Start, tmp_path: Path) -> None:
    keys = {
        "the-flooder": {"pixel_id": "fytil06mrm", "events_per_second": 10},
        "the-neighbour": {"pixel_id": "fytil06mrm"},
    }
    file = tmp_path / "keys.json"
    file.write_text(json.dumps(keys))
    platform = start_platform(CLICKSTREAM_API_KEYS=str(file), CLICKSTREAM_REQUESTS_PER_SECOND="20")
    flood = [event(f"flood-{number}") for number in range(400)]
    answers = [platform.post(flood, **{"x-api-key": "the-flooder"}) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 429, 429, 429, 429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 30
    assert platform.post(event("neighbour"), **{"x-api-key": "the-neighbour"}).status_code == 200
    assert platform.post({**event("other"), "pixel_id": "other"}, **{"x-api-key": "the-neighbour"}).status_code == 400
    assert platform.post(event("keyless")).status_code == 401
    assert platform.post(event("guessed"), **{"x-api-key": "the-neighbor"}).status_code == 401

    url = f"{platform.settings.collector_url}/events"
    started = time.monotonic()
    with httpx.Client(trust_env=False) as client:
        statuses = [client.post(url, content=b"{", headers={"x-api-key": f"guess-{n}"}).status_code for n in range(300)]
    allowed = 20 * (1 + time.monotonic() - started)
    assert statuses.count(401) <= allowed + 1
    assert 0 < statuses.count(429) == 300 - statuses.count(401)
    with httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.2"), trust_env=False) as other:
        body = json.dumps(event("other-address"))
        answer = other.post(url, content=body, headers={"x-api-key": "the-neighbour"})
    assert answer.status_code == 200
    platform.accepted += answer.json()["record_ids"]
    assert platform.expect_invariant()["raw"] == 402


PASSWORDS = {"stream": "stream-password-77", "cache": "cache-password-77", "mysql": "mysql-password-77"}
KEY, OTHER_KEY, TOKEN = "key-of-the-shop-77", "key-that-is-none-77", "token-of-ipinfo-77"
PAYLOAD = "4929-payload-77"
FAKE = PAYLOAD + '\n{"level":"critical","process":"collector","message":"faked-77"}\r\n\x1b[31mfaked-77\x1b[0m'


@pytest.fixture
def guarded(start_platform: Start, tmp_path: Path, servers_environment: Mapping[str, str]) -> Iterator[Platform]:
    """A platform on servers that ask for passwords, with API keys and a token."""
    (tmp_path / "keys.json").write_text(json.dumps({KEY: {"pixel_id": "fytil06mrm"}}))
    stream, cache = RedisServer(tmp_path / "stream"), RedisServer(tmp_path / "cache")
    with stream, cache, StubIpinfo() as ipinfo, _shop(servers_environment["MYSQL_URL"]) as mysql_url:
        yield start_platform(
            REDIS_URL=_with_password(stream, PASSWORDS["stream"]),
            CACHE_REDIS_URL=_with_password(cache, PASSWORDS["cache"]),
            MYSQL_URL=mysql_url,
            CLICKSTREAM_API_KEYS=str(tmp_path / "keys.json"),
            IPINFO_TOKEN=TOKEN,
            IPINFO_URL=ipinfo.url,
        )


def _with_password(server: RedisServer, password: str) -> str:
    with redis.Redis.from_url(server.url) as client:
        client.config_set("requirepass", password)
    return server.url.replace("//", f"//:{password}@")


@contextmanager
def _shop(url: str) -> Iterator[str]:
    """A database of its own on a MariaDB, and a user with a password who may do everything there."""
    server = urlsplit(url)
    with closing(pymysql.connect(host=LOOPBACK, port=server.port or 3306, user="root")) as root:
        root.cursor().execute("CREATE USER shop IDENTIFIED BY %s", (PASSWORDS["mysql"],))
        root.cursor().execute("GRANT ALL ON doors.* TO shop")
        yield f"mysql://shop:{PASSWORDS['mysql']}@{LOOPBACK}:{server.port}/doors"
        root.cursor().execute("DROP USER shop")
        root.cursor().execute("DROP DATABASE doors")


def test_door_log_injection_and_payloads_in_logs(guarded: Platform) -> None:
    keyed = {"x-api-key": KEY, "user-agent": PAYLOAD, "x-forwarded-for": PAYLOAD}
    taken = event(PAYLOAD, user_id=PAYLOAD, user_ip=PAYLOAD, note=FAKE, **{FAKE: FAKE})
    assert guarded.post(taken, **keyed).status_code == 200
    assert guarded.post(event(FAKE, user_id=FAKE, event_name=FAKE), **keyed).status_code == 400
    assert guarded.post(f"<{FAKE}".encode(), **keyed).status_code == 400
    assert guarded.post(PAYLOAD.encode(), **keyed, **{"content-encoding": "gzip"}).status_code == 400
    assert guarded.post(event("no key"), **{"x-api-key": OTHER_KEY}).status_code == 401
    url = guarded.settings.collector_url
    one = json.dumps(event("beacon")).encode()
    assert httpx.post(f"{url}/events", params={"key": KEY, "x": FAKE}, content=one, trust_env=False).status_code == 200
    assert httpx.get(f"{url}/{PAYLOAD}%0a{PAYLOAD}", trust_env=False).status_code == 404
    _say(guarded, b"GET /" + FAKE.encode() + b" HTTP/9.9\r\n" + FAKE.encode() + b"\r\n\r\n")
    bad = [FAKE.encode(), json.dumps(event("x", user_id=FAKE)).encode(), one[:-1] + b',"x":"\xff' + FAKE.encode()]
    guarded.put(bad)
    _sign_up(guarded, PAYLOAD)
    guarded.wait_delivered()
    guarded.restart("collector", "delivery", "consumers")
    guarded.materialize()
    said = [guarded.log, guarded.run("status", status=1), guarded.run("customers", "list").replace(PAYLOAD, "")]
    logs = said + _texts(guarded.home / "logs")
    for text in (PAYLOAD, "faked-77", "\x1b"):
        assert [log for log in logs if text in log] == [], text
    # Dagster's storage holds previews of the tables, for people to see, but no secret.
    for secret in (*PASSWORDS.values(), KEY, OTHER_KEY, TOKEN):
        assert [log for log in (*logs, *_texts(guarded.home / "dagster")) if secret in log] == [], secret
    for process in ("collector", "delivery", "consumers"):
        lines = (guarded.home / "logs" / f"{process}.log").read_text().splitlines()
        assert all({"time", "level", "process", "message"} <= json.loads(line).keys() for line in lines)
    for process in _processes(guarded):
        assert not any(secret in " ".join(process.cmdline()) for secret in (*PASSWORDS.values(), TOKEN))


def _texts(folder: Path) -> list[str]:
    """What the files of a folder hold."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert files
    return [file.read_bytes().decode(errors="replace") for file in files]


def _say(platform: Platform, request: bytes) -> None:
    """Send bytes that need be no HTTP, and wait until the collector hangs up."""
    address = urlsplit(platform.settings.collector_url)
    with socket.create_connection((LOOPBACK, address.port or 80), timeout=20) as connection:
        connection.sendall(request)
        while connection.recv(65_536):
            pass


def _processes(platform: Platform) -> list[psutil.Process]:
    """Every process of a platform: the supervisor, and all that came of it."""
    supervisor = psutil.Process(platform.system["pid"])
    return [supervisor, *supervisor.children(recursive=True)]


@pytest.fixture(scope="module")
def with_dagster(tmp_path_factory: pytest.TempPathFactory, geo_folder: Path) -> Iterator[Platform]:
    home = tmp_path_factory.mktemp("dagster") / "home"
    with Platform(home, dagster=True, GEOIP_DATABASE=str(geo_folder)) as running:
        yield running


def test_door_dagster_ui_bound_to_loopback(with_dagster: Platform) -> None:
    listening = {
        (process.pid, each.laddr.ip, each.laddr.port)
        for process in _processes(with_dagster)
        for each in process.net_connections("inet")
        if each.status in (psutil.CONN_LISTEN, psutil.CONN_NONE)
    }
    assert {process["pid"] for name, process in with_dagster.system["processes"].items() if name in LISTENERS} <= {
        pid for pid, _, _ in listening
    }
    assert {ip.removeprefix("::ffff:") for _, ip, _ in listening} == {LOOPBACK}
    elsewhere = [
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == socket.AF_INET and not ip_address(address.address).is_loopback
    ]
    for address in elsewhere:
        for port in {port for _, _, port in listening}:
            with socket.socket() as connection:
                connection.settimeout(2)
                assert connection.connect_ex((address, port)) != 0, f"{address}:{port}"
    _expect_own_pages_only(with_dagster.settings.dagster_url)


def _expect_own_pages_only(url: str) -> None:
    """A browser on this machine brings other sites' requests here; they are refused, links are followed."""
    wipe = {"query": 'mutation { setConcurrencyLimit(concurrencyKey: "events_by_type", limit: 0) }'}
    host = {"host": f"ui.example.com:{urlsplit(url).port}"}
    page = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "origin": "https://example.com"}
    link = {"sec-fetch-site": "cross-site", "sec-fetch-dest": "document", "accept": "text/html"}
    socket = {
        "connection": "upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        for headers in (page, link, host, {"origin": "https://example.com"}):
            assert client.post("/graphql", params=wipe, headers=headers).status_code == 403
        assert client.get("/graphql", params=wipe, headers=page).status_code == 403
        assert client.get("/graphql", headers={**socket, "origin": "https://example.com"}).status_code == 403
        assert client.get("/overview", headers={**link, "sec-fetch-dest": "iframe"}).status_code == 403
        assert client.post("/report_asset_materialization/raw_events", headers=page).status_code == 403
        limits = client.post(
            "/graphql", json={"query": "{ instance { concurrencyLimits { concurrencyKey slotCount } } }"}
        )
        assert 0 not in [each["slotCount"] for each in limits.json()["data"]["instance"]["concurrencyLimits"]]
        assert client.get("/overview", headers=link).status_code == 200
        assert client.get("/server_info", headers={"sec-fetch-site": "same-origin"}).status_code == 200


LAUNCH = """
mutation ($execution: ExecutionParams!) {
  launchRun(executionParams: $execution) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
  }
}
"""
BACKFILL = """
mutation ($backfill: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $backfill) { __typename }
}
"""
STATUS = "query ($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
ENDED = ("SUCCESS", "FAILURE", "CANCELED")


def test_door_sql_injection_through_partition_keys(with_dagster: Platform) -> None:
    with_dagster.post([event(f"partitioned-{number}") for number in range(10)])
    with_dagster.expect_invariant()
    before = _lake(with_dagster)
    key = f"{datetime.now(UTC):%Y-%m-%d}"
    ranged = {"dagster/asset_partition_range_start": key, "dagster/asset_partition_range_end": key + INJECTIONS[1]}
    runs = [_launch(with_dagster, "events_by_country", ranged)]
    for asset, text in itertools.product(("events_by_type", "enriched_events"), INJECTIONS[:3]):
        backfill = {"assetSelection": [{"path": [asset]}], "partitionNames": [key + text]}
        answer = _graphql(with_dagster, BACKFILL, backfill=backfill)
        assert answer["launchPartitionBackfill"]["__typename"] != "LaunchBackfillSuccess"
        runs.append(_launch(with_dagster, asset, {"dagster/partition": key + text}))
    launched = [run for run in runs if run]
    with_dagster.wait(lambda: all(_status(with_dagster, run) in ENDED for run in launched), 150)
    assert all(_status(with_dagster, run) == "FAILURE" for run in launched)
    assert _lake(with_dagster) == before
    with_dagster.expect_invariant()


def _launch(platform: Platform, asset: str, tags: Mapping[str, str]) -> str | None:
    """Launch a run of an asset with these tags, as the UI does; its id, None where that is refused."""
    location = {"repositoryLocationName": "clickstream", "repositoryName": "__repository__"}
    execution = {
        "selector": {**location, "jobName": "__ASSET_JOB", "assetSelection": [{"path": [asset]}]},
        "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
    }
    launched = _graphql(platform, LAUNCH, execution=execution)["launchRun"]
    return launched["run"]["runId"] if "run" in launched else None


def _status(platform: Platform, run: str) -> str:
    status: str = _graphql(platform, STATUS, id=run)["runOrError"]["status"]
    return status


def _graphql(platform: Platform, query: str, **variables: Any) -> dict[str, Any]:
    answer = httpx.post(
        f"{platform.settings.dagster_url}/graphql",
        json={"query": query, "variables": variables}, timeout=60, trust_env=False,
    )  # fmt: skip
    data: dict[str, Any] = answer.json()["data"]
    return data


def _lake(platform: Platform) -> dict[Path, bytes]:
    """Every file that is seen in the lake, and what is in it."""
    files = (file for file in platform.lake.rglob("[!.]*") if file.is_file())
    return {file: file.read_bytes() for file in files}
