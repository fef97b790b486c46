"""Enrichment of micro-batches, one core: our Lambda against a handler as an ordinary person writes it, and the floor.

Every contender answers the same Firehose event of 2,500 records of 600 users and runs against the same private Redis.
"""

import base64
import json
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from uuid import UUID

import click
import orjson
import pybase64
import redis
from rich.console import Console
from rich.table import Table

from streaming.domain.enrichment import Place
from streaming.domain.envelope import new_record_ids, stamp
from streaming.domain.timestamps import format_timestamp
from streaming.edges.geo.places import MissingPlace
from streaming.edges.look_ups import LookUps
from streaming.edges.user_cache import CachedPlace, UserCache
from streaming.handlers.enrichment import enrich
from streaming.runtime.servers import LOOPBACK, free_port, redis_service
from streaming.runtime.supervisor import Supervisor

RECORDS = 2_500
USERS = 600

Batch = dict[str, Any]
Handler = Callable[[Batch], Batch]


class Measurement(NamedTuple):
    """Speed of one handler: events a second of wall clock, CPU seconds of this process for a million events."""

    name: str
    events_per_second: float
    cpu_seconds_per_million: float


class KnownPlaces:
    """A geo provider that is never asked: all places are in the cache."""

    build = "bench"

    repeatable = True

    def places(self, ips: Any, within_seconds: float | None = None) -> dict[str, Place | MissingPlace]:
        return dict.fromkeys(ips, MissingPlace.LOOKUP_FAILED)


def firehose_batch(seed: int) -> Batch:
    """One transform event: enveloped events of the article's form by 600 users, each at an address of their own."""
    rng = random.Random(seed)
    now = datetime.now(UTC)
    record_ids = new_record_ids(RECORDS)
    records = []
    for index, record_id in enumerate(record_ids):
        user = rng.randrange(1, USERS + 1)
        moment = f"{now - timedelta(seconds=rng.uniform(0, 60)):%Y-%m-%d %H:%M:%S.%f}"
        event = {
            "timestamp": moment,
            "user_id": str(user),
            "pixel_id": f"pixel{user:05d}",
            "click_id": UUID(int=rng.getrandbits(128)).hex,
            "insertion_timestamp": moment,
            "event_name": rng.choice(["Search", "ViewContent", "AddToCart", "Purchase"]),
            "user_ip": _address(user),
            "additional_data": {
                "time_on_data": rng.randrange(100),
                "percent_viewed": round(rng.uniform(0, 100), 1),
                "product_id": rng.randrange(10**6),
                "price": round(rng.uniform(1, 1000), 2),
            },
        }
        data = stamp(json.dumps(event).encode(), record_id, format_timestamp(now), None)
        records.append(
            {
                "recordId": str(index),
                "approximateArrivalTimestamp": int(now.timestamp() * 1000),
                "data": base64.b64encode(data).decode(),
            }
        )
    return {"records": records}


def fill_cache(url: str) -> None:
    """What a running system has: names from `data_update`, places as handlers keep them."""
    cache = UserCache(url)
    cache.put_names({str(user): f"Given{user} Family{user}" for user in range(1, USERS + 1)})
    cache.advance_watermark(datetime.now(UTC))
    place = CachedPlace("bench", time.time() + 86_400, "US", "California", "Riverside", 33.9764, -117.3341)
    cache.put_places([(_address(user), place, 86_400) for user in range(1, USERS + 1)])


def get_per_record(client: redis.Redis) -> Handler:
    """The handler that one writes first: json, and the cache asked for each record."""

    def handler(batch: Batch) -> Batch:
        output = []
        for record in batch["records"]:
            envelope = json.loads(base64.b64decode(record["data"]))
            event = envelope["event"]
            event["name"] = client.hget(f"user:{event['user_id']}", "name")
            place = json.loads(client.get(f"geo:{event['user_ip']}") or "{}")
            for key in ("country", "region", "city"):
                event[key] = place.get(key)
            data = base64.b64encode((json.dumps(event) + "\n").encode()).decode()
            output.append({"recordId": record["recordId"], "result": "Ok", "data": data})
        return {"records": output}

    return handler


def decode_and_encode(batch: Batch) -> Batch:
    """The floor: base64 and orjson both ways, and nothing in between."""
    return {
        "records": [
            {
                "recordId": record["recordId"],
                "result": "Ok",
                "data": pybase64.b64encode_as_string(
                    orjson.dumps(orjson.loads(pybase64.b64decode(record["data"])), option=orjson.OPT_APPEND_NEWLINE)
                ),
            }
            for record in batch["records"]
        ]
    }


def ours(cache: UserCache) -> Handler:
    """Our Lambda with nothing remembered yet: all names and places come from the cache."""
    look_ups = LookUps(cache, KnownPlaces())
    return lambda batch: {"records": enrich(batch["records"], look_ups)}


def timed(new_handler: Callable[[], Handler], batches: Sequence[Batch]) -> tuple[float, float]:
    """Wall and CPU seconds an event, each batch through the handler that `new_handler` gives for it."""
    handlers = [new_handler() for _ in batches]
    wall, cpu = time.perf_counter(), time.process_time()
    answers = [handler(batch) for handler, batch in zip(handlers, batches, strict=True)]
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    if any(record["result"] != "Ok" for answer in answers for record in answer["records"]):
        raise RuntimeError("a record failed")
    events = sum(len(batch["records"]) for batch in batches)
    return wall / events, cpu / events


def run(rounds: int) -> list[Measurement]:
    """The median round of each contender, against one private Redis. They take turns, so load falls on all alike."""
    batches = [firehose_batch(seed) for seed in range(4)]
    with tempfile.TemporaryDirectory() as folder, Supervisor(Path(folder), lambda _: None, stop_signals=()) as servers:
        port = free_port()
        servers.start(redis_service("cache-redis", Path(folder) / "cache-redis", port))
        url = f"redis://{LOOPBACK}:{port}/0"
        fill_cache(url)
        cache = UserCache(url)
        warm = ours(cache)
        with redis.Redis.from_url(url, decode_responses=True) as client:
            asks = get_per_record(client)
            contenders: dict[str, Callable[[], tuple[float, float]]] = {
                "json and two GETs a record": lambda: timed(lambda: asks, batches[:1]),
                "ours, nothing remembered": lambda: timed(lambda: ours(cache), batches),
                "ours, warm": lambda: timed(lambda: warm, batches),
                "floor: base64 and orjson": lambda: timed(lambda: decode_and_encode, batches),
            }
            taken = [[contender() for contender in contenders.values()] for _ in range(rounds + 1)][1:]
    return [
        Measurement(name, 1 / median(wall for wall, _ in turns), median(cpu for _, cpu in turns) * 1e6)
        for name, turns in zip(contenders, zip(*taken, strict=True), strict=True)
    ]


@click.command()
@click.option("--rounds", default=20, show_default=True, help="Rounds of up to four batches of 2,500 events.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(rounds: int, as_json: bool) -> None:
    """Enrichment of micro-batches, one core."""
    results = run(rounds)
    if as_json:
        click.echo(json.dumps({result.name: result._asdict() for result in results}))
        return
    table = Table("enrichment of a micro-batch", "events/s", "CPU s per million", "times the first", box=None)
    for result in results:
        ratio = result.events_per_second / results[0].events_per_second
        table.add_row(
            result.name, f"{result.events_per_second:,.0f}", f"{result.cpu_seconds_per_million:.1f}", f"{ratio:.1f}"
        )
    Console().print(table)


def _address(user: int) -> str:
    return f"23.{user // 250}.{user % 250}.7"


if __name__ == "__main__":
    main()
