import base64
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from streaming.domain.tables import ENRICHED_LANDING
from streaming.edges.geo.mmdb import MmdbGeo
from streaming.edges.look_ups import LookUps
from streaming.edges.user_cache import UserCache
from streaming.handlers import data_update, enrichment
from streaming.handlers.enrichment import MAX_ANSWER_BYTES, lambda_handler
from tests.streaming.conftest import RIVERSIDE

Event = Callable[[str], dict[str, Any]]

pytestmark = pytest.mark.usefixtures("deployment")


def rows(answer: dict[str, Any]) -> list[dict[str, Any] | None]:
    """The enriched rows, None where the record failed."""
    return [
        json.loads(base64.b64decode(record["data"])) if record["result"] == "Ok" else None
        for record in answer["records"]
    ]


def test_the_articles_event_gets_its_name_and_place(event: Event) -> None:
    # given
    data_update.lambda_handler({}, None)
    # when
    answer = lambda_handler(event("firehose_article"), None)
    # then
    (row,) = rows(answer)
    assert row is not None
    assert {key: row[key] for key in ("name", "country", "region", "city", "missing_reasons")} == {
        "name": "Semyon Ryan",
        "country": "US",
        "region": "California",
        "city": "Riverside",
        "missing_reasons": None,
    }
    assert tuple(row) == ENRICHED_LANDING.column_names
    assert base64.b64decode(answer["records"][0]["data"]).endswith(b"}\n")


def test_every_record_is_answered_once_and_bad_ones_keep_their_data(event: Event) -> None:
    # given
    batch = event("firehose_mixed")
    # when
    answer = lambda_handler(batch, None)
    # then
    assert [record["recordId"] for record in answer["records"]] == [record["recordId"] for record in batch["records"]]
    failed = [index for index, record in enumerate(answer["records"]) if record["result"] == "ProcessingFailed"]
    assert failed == [1, 3, 4, 5, 8]
    assert all(answer["records"][index]["data"] == batch["records"][index]["data"] for index in failed)


def test_what_is_missing_is_null_with_its_reason(event: Event) -> None:
    # given
    data_update.lambda_handler({}, None)
    # when
    found = rows(lambda_handler(event("firehose_mixed"), None))
    # then
    reasons = [row["missing_reasons"] for row in found if row]
    assert reasons == [None, "name:unknown_user,place:private_address", "place:no_address", None]


def test_the_address_the_edge_vouches_for_wins(event: Event) -> None:
    # when
    row = rows(lambda_handler(event("firehose_mixed"), None))[7]
    # then
    assert row is not None
    assert (row["user_ip"], row["city"], json.loads(row["extra"])) == (RIVERSIDE, "Riverside", {"user_ip": "1.1.1.1"})


def test_an_empty_batch_has_an_empty_answer() -> None:
    assert lambda_handler({"records": []}, None) == {"records": []}


def test_an_answer_beyond_6_mb_fails_the_overflow_only(event: Event, geo_folder: Path, cache_redis_url: str) -> None:
    # given
    article = event("firehose_article")["records"][0]
    batch = [article | {"recordId": f"record-{index}"} for index in range(8_000)]
    # when
    answers = enrichment.enrich(batch, LookUps(UserCache(cache_redis_url), MmdbGeo(geo_folder)))
    # then
    assert [answer["recordId"] for answer in answers] == [record["recordId"] for record in batch]
    results = {answer["result"] for answer in answers}
    assert results == {"Ok", "ProcessingFailed"}
    assert len(json.dumps({"records": answers}, separators=(",", ":"))) <= MAX_ANSWER_BYTES
    assert all(answer["data"] == article["data"] for answer in answers if answer["result"] == "ProcessingFailed")


def test_without_a_cache_events_lose_columns_only(
    event: Event, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    monkeypatch.setenv("CACHE_REDIS_URL", f"redis://127.0.0.1:{free_port}")
    # when
    (row,) = rows(lambda_handler(event("firehose_article"), None))
    # then
    assert row is not None
    assert (row["name"], row["city"], row["missing_reasons"]) == (None, "Riverside", "name:lookup_failed")


def test_the_same_input_gives_the_same_bytes(event: Event) -> None:
    data_update.lambda_handler({}, None)
    assert lambda_handler(event("firehose_mixed"), None) == lambda_handler(event("firehose_mixed"), None)


def test_what_one_record_sets_off_spares_its_neighbours_and_the_log(
    event: Event, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # given
    batch = event("firehose_mixed")
    _, *neighbours = lambda_handler(batch, None)["records"]
    judge, first = enrichment.event_judge(), base64.b64decode(batch["records"][0]["data"])

    def fragile(data: bytes, arrival: datetime) -> Any:
        if data == first:
            raise ValueError(f"cannot take {data!r}")
        return judge(data, arrival)

    monkeypatch.setattr(enrichment, "event_judge", lambda: fragile)
    # when
    failed, *others = lambda_handler(batch, None)["records"]
    # then
    assert (failed["result"], failed["data"]) == ("ProcessingFailed", batch["records"][0]["data"])
    assert others == neighbours
    assert "ValueError in fragile" in caplog.text
    assert "user_id" not in caplog.text
