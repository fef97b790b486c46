"""What the jobs read and write without Spark: raw files as they lie on S3, and tasks that enrich them."""

import gzip
import hashlib
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest

from resources.aws.s3.slices import raw_reader, slice_lines
from resources.look_ups import EnrichmentSources
from resources.spark import lake_file
from streaming.domain.envelope import stamp
from streaming.domain.layout import hour_of
from streaming.domain.tables import ENRICHED_LANDING, RAW_EVENTS
from streaming.domain.timestamps import format_timestamp
from streaming.edges.aws import client
from streaming.edges.parquet import arrow_schema
from streaming.jobs.enrich import Part, enrich_part
from streaming.jobs.enrichment import RefusedRecord
from streaming.jobs.files import open_input, read_table, write_table
from streaming.jobs.raw import batches, lines_of
from streaming.jobs.work import HandedOver, LakeFile, RawCopy
from streaming.settings import load_settings
from tests.landing import event_text
from tests.s3_lakes import BUCKET, deliver, make_s3_lake

NOW = datetime.fromisoformat("2026-11-20T10:05:00+00:00")
HOUR = hour_of(NOW)


def stamped(event: bytes, arrival: datetime, record_id: str) -> bytes:
    return stamp(event, record_id * 32, format_timestamp(arrival), None)


def handed_over(
    shared: str, home: Path, mysql_url: str, geo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> HandedOver:
    """Names and places for a task, which sets the settings of its process by them."""
    settings = {"CLICKSTREAM_HOME": str(home), "MYSQL_URL": mysql_url, "GEOIP_DATABASE": str(geo_folder)}
    look_ups = EnrichmentSources(load_settings(settings)).hand_over(shared)
    for name, value in look_ups.settings.items():
        monkeypatch.setenv(name, value)
    return look_ups


LINES = [
    stamped(event_text(NOW, "a"), NOW, "a"),
    stamped(event_text(NOW, "late"), HOUR - timedelta(seconds=1), "b"),
    stamped(event_text(NOW, "ahead"), HOUR + timedelta(hours=1), "c"),
    event_text(NOW, "bare") + b"\n",
    b'{"event_name": "no event"}\n',
    b"no JSON at all\n",
]


@pytest.mark.parametrize("packed", [True, False])
def test_a_raw_file_of_firehose_is_cut_as_the_lake_cuts_it(tmp_path: Path, packed: bool) -> None:
    source, cut = tmp_path / "source", tmp_path / "cut.json.gz"
    refused = stamped(event_text(NOW, "refused"), NOW + timedelta(minutes=15, seconds=30), "d")
    identity = hashlib.sha256(refused).hexdigest()[:32]
    of = RawCopy(NOW, NOW + timedelta(minutes=2), {identity: [NOW - timedelta(hours=1), NOW]})
    data = b"".join([*LINES, refused])
    source.write_bytes(gzip.compress(data) if packed else data)
    slice_lines(source, HOUR, cut, raw_reader(of, HOUR))
    with open_input(str(source)) as file:
        lines = list(lines_of(file, HOUR, of))
    assert lines == gzip.decompress(cut.read_bytes()).splitlines(keepends=True)
    assert len(lines) == 6
    assert next(batches(lines))[-1].record_id == identity


def test_a_task_enriches_an_object_of_s3(
    aws: str, tmp_path: Path, mysql_url: str, geo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = make_s3_lake(tmp_path / "copies")
    deliver(RAW_EVENTS.prefix, NOW, NOW + timedelta(minutes=1), gzip.compress(b"".join(LINES)))
    (landed,) = lake.list_hour(RAW_EVENTS.prefix, HOUR)
    shared = f"s3://{BUCKET}/jobs/one"
    look_ups = handed_over(shared, tmp_path, mysql_url, geo_folder, monkeypatch)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    part = Part(lake_file(landed), *(f"{shared}/{name}" for name in ("rows", "identities", "failures")), None)

    assert part.raw.path.startswith(f"s3://{BUCKET}/raw/")
    assert enrich_part(msgspec.json.encode(look_ups), part)

    rows = read_table(part.rows)
    assert rows.schema.equals(arrow_schema(ENRICHED_LANDING))
    assert rows["click_id"].to_pylist() == ["a", "bare"]
    assert set(rows["city"].to_pylist()) == {"Riverside"}
    assert set(rows["enrichment_version"].to_pylist()) == {look_ups.version}
    assert read_table(part.identities).num_rows == 5
    with open_input(part.failures) as lines:
        (failures,) = (msgspec.json.decode(line, type=list[RefusedRecord]) for line in lines)
    assert [failure.error_code for failure in failures] == ["Lambda.ProcessingFailedStatus"] * 3
    assert {each["Key"] for each in client("s3").list_objects_v2(Bucket=BUCKET, Prefix="jobs/")["Contents"]} >= {
        "jobs/one/names.parquet", *(f"jobs/one/geoip/{file.name}" for file in geo_folder.glob("*.mmdb")),
    }  # fmt: skip


def test_places_that_are_recorded_are_not_looked_up_again(
    tmp_path: Path, mysql_url: str, geo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_ups = handed_over(str(tmp_path), tmp_path, mysql_url, geo_folder, monkeypatch)
    raw = tmp_path / "raw.json.gz"
    raw.write_bytes(gzip.compress(LINES[0] + stamped(event_text(NOW, "d", user_ip="169.235.1.1"), NOW, "d")))
    place = {"country": "US", "region": "California", "city": "Corona", "latitude": 33.9, "longitude": -117.6}
    write_table(pa.Table.from_pylist([{"user_ip": "169.235.214.44", **place}]), f"{tmp_path}/recorded")
    written = (f"{tmp_path}/{name}" for name in ("rows", "identities", "failures", "recorded"))

    assert not enrich_part(msgspec.json.encode(look_ups), Part(LakeFile(str(raw)), *written))

    assert read_table(f"{tmp_path}/rows")["city"].to_pylist() == ["Corona", "Riverside"]


def test_geo_data_other_than_was_asked_for_is_refused(
    tmp_path: Path, mysql_url: str, geo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_ups = handed_over(str(tmp_path), tmp_path, mysql_url, geo_folder, monkeypatch)
    other = msgspec.structs.replace(look_ups, version="1/other@0/users@1")
    with pytest.raises(ValueError, match="1/other@0/users@1 is asked for"):
        enrich_part(msgspec.json.encode(other), Part(LakeFile("raw"), "rows", "identities", "failures", None))
