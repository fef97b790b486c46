import json
from datetime import UTC, datetime

from streaming.domain.enrichment import Place, enriched_line, look_up_columns, pending_row
from streaming.domain.envelope import open_record, stamp
from streaming.domain.events import Event
from streaming.domain.tables import ENRICHED_LANDING
from streaming.domain.timestamps import format_timestamp
from streaming.edges.ingestion_api import load_contract
from tests.streaming.domain.strategies import ARTICLE_EVENT

ARRIVAL = datetime(2021, 7, 12, 20, 25, tzinfo=UTC)


def enriched(place: Place | None, name: str | None, reasons: list[str]) -> dict[str, object]:
    event_text = json.dumps(ARTICLE_EVENT).encode()
    envelope = open_record(stamp(event_text, "a" * 32, format_timestamp(ARRIVAL), None), ARRIVAL)
    event = load_contract().check(event_text, ARRIVAL, datetime(2021, 1, 1, tzinfo=UTC))
    assert isinstance(event, Event)
    line = enriched_line(pending_row(envelope, event), look_up_columns(name, place, reasons, "1+geo+users"))
    row: dict[str, object] = json.loads(line)
    return row


def test_the_articles_enriched_example() -> None:
    row = enriched(Place("US", "California", "Riverside", 33.95, -117.4), "Semyon Ryan", [])
    assert {key: row[key] for key in ("name", "country", "region", "city")} == {
        "name": "Semyon Ryan",
        "country": "US",
        "region": "California",
        "city": "Riverside",
    }
    assert row["missing_reasons"] is None
    assert row["timestamp"] == "2021-07-12T20:24:49.536462Z"


def test_the_row_has_the_tables_columns_in_its_order() -> None:
    assert tuple(enriched(None, None, [])) == ENRICHED_LANDING.column_names


def test_what_is_missing_has_its_reasons_sorted() -> None:
    row = enriched(None, None, ["place:private_address", "name:unknown_user"])
    assert row["missing_reasons"] == "name:unknown_user,place:private_address"
    assert row["country"] is None
