"""A backfill in a process of its own: `python -m tests.clickstream_assets.backfill_process HOURS RECORDS`.

Lands the raw copy of so many hours and records an hour, enriches them anew in one run, and prints the rows written
and the process's peak memory in bytes as JSON. Where and on what it works, the environment says.
"""

import gzip
import json
import sys
from datetime import timedelta
from pathlib import Path

import dagster as dg

from clickstream_assets.definitions import build_definitions
from clickstream_assets.partitions import hour_key, range_tags
from resources.lake import DirectoryLake
from streaming.domain.envelope import stamp
from streaming.domain.layout import hour_of, hour_prefix
from streaming.domain.tables import RAW_EVENTS
from streaming.domain.timestamps import format_timestamp
from streaming.edges.lake import replaced
from streaming.settings import load_settings
from tests.clickstream_assets.conftest import NOW, DeliveryTo
from tests.landing import event_text


def main(hours: int, records: int) -> None:
    settings = load_settings()
    lake = DirectoryLake(settings.lake)
    first = hour_of(NOW)
    text = event_text(first, "CLICK")
    for number in range(hours):
        hour = first + timedelta(hours=number)
        with (
            replaced(lake.path(f"{hour_prefix(RAW_EVENTS.prefix, hour)}/one.json.gz")) as file,
            gzip.open(file, "wb") as raw,
        ):
            for record in range(records):
                event = text.replace(b"CLICK", b"%d-%d" % (number, record * 7919 % records))
                raw.write(stamp(event, f"{number:08x}{record:024x}", format_timestamp(hour), None))
    with dg.DagsterInstance.ephemeral() as instance:
        definitions = build_definitions(settings, {"delivery": DeliveryTo(first + timedelta(hours=hours + 2))})
        result = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey("enriched_events")],
            tags={"dagster/backfill": "test", **range_tags(hour_key(first), hour_key(hour))},
        )
        written = instance.fetch_materializations(dg.AssetKey("enriched_events"), limit=hours).records
    rows = sum(record.asset_materialization.metadata["dagster/row_count"].value for record in written)
    # Not ru_maxrss, which begins with the peak of the process that started this one.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak = int(status["VmHWM"].split()[0]) * 1024
    print(json.dumps({"success": result.success, "rows": rows, "peak_bytes": peak}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
