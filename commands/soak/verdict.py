"""What the tables say of a soak: the promises of `./run verify`, and what only one who stood beside can tell."""

import json
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from clickstream_assets.dashboard.published import PAGE
from clickstream_assets.jobs import REBUILD_CACHE
from commands.platform import CODE_LOCATION
from commands.soak.target import MATERIALIZE, Target
from commands.verify import PROMISES
from streaming.edges.user_cache import UserCache

MATERIALIZED = "./run materialize does all of its work"
DRAINED = "every consumer comes to the end of the stream"
LAST_ACCESS = "last access is the latest event of each user, at most its arrival"
REBUILT = "a cache that was wiped is filled again"
LEFTOVERS = "no file in the making is visible"

REBUILD = ("dagster", "job", "execute", "-m", CODE_LOCATION, "-j", REBUILD_CACHE)
CACHE_SECONDS = 10.0
EXAMPLES = 5
_COUNTS = """
SELECT
  COUNT(*) AS arrival_hours,
  COUNT(CASE WHEN l.state <> 'open' THEN 1 END) AS sealed_hours,
  CAST(SUM(l.raw_records) AS BIGINT) AS raw,
  CAST(SUM(l.enriched_records) AS BIGINT) AS enriched,
  CAST(SUM(l.failed_records) AS BIGINT) AS failed,
  CAST(SUM(l.repeated_deliveries) AS BIGINT) AS repeated_deliveries,
  CAST(SUM(l.repeated_clicks) AS BIGINT) AS repeated_clicks,
  (SELECT COUNT(*) FROM flattened_events f) AS flattened
FROM event_ledger l
"""
_SUFFIXES = (".json.gz", ".parquet", ".csv")


class Finding(NamedTuple):
    """A promise, how often it was found broken, and the first examples."""

    promise: str
    broken: int
    examples: list[Any]


def judge(target: Target, acknowledged: Path | None = None) -> list[Finding]:
    """Materialize and verify. With the identities that were acknowledged, nothing may be on its way any more."""
    materialized = target.run(*MATERIALIZE)
    findings = [_finding_of_run(MATERIALIZED, materialized)]
    whole = ["--open", "--acknowledged", str(acknowledged)] if acknowledged else []
    verified = target.run("commands", "verify", "--json", *whole)
    if not verified.stdout:
        return [*findings, _finding_of_run("./run verify does all of its work", verified)]
    found = json.loads(verified.stdout)["promises"]
    return findings + [Finding(PROMISES[name], each["broken"], each["examples"]) for name, each in found.items()]


def judge_all(target: Target, acknowledged: Path, drained: bool) -> list[Finding]:
    """The verdict at the end of a soak, when no traffic runs any more."""
    judged = [Finding(DRAINED, 0 if drained else 1, []), *judge(target, acknowledged)]
    if target.cache_was_wiped:
        judged.append(_finding_of_run(REBUILT, target.run(*REBUILD)))
    return [*judged, _last_access(target), _visible_leftovers(target)]


def table_counts(target: Target) -> dict[str, Any]:
    """What the tables hold, by the ledger."""
    with duckdb.connect(target.home / "catalog.duckdb", read_only=True) as connection:
        counted = connection.execute(_COUNTS).to_arrow_table().to_pylist()[0]
        failures = connection.execute("SELECT type, COUNT(*) FROM failed_events GROUP BY type ORDER BY type").fetchall()
    return {**counted, "failures_by_type": dict(failures)}


def hidden_leftovers(target: Target) -> int:
    """Files in the making that processes which were killed have left where no reader sees them."""
    return sum(1 for _ in target.settings.lake.rglob(".*"))


def _last_access(target: Target) -> Finding:
    """Whether the cache has each user's latest event of enriched."""
    with duckdb.connect(target.home / "catalog.duckdb", read_only=True) as connection:
        expected = connection.execute(
            "SELECT e.user_id, MAX(LEAST(e.timestamp, e.arrival_timestamp)) FROM enriched_events e GROUP BY e.user_id"
        ).fetchall()
    seen = UserCache(target.settings.cache_redis_url, CACHE_SECONDS).last_accesses([user_id for user_id, _ in expected])
    off = [
        (user_id, str(latest), str(found))
        for user_id, latest in expected
        if (found := seen[user_id][0].replace(tzinfo=None) if user_id in seen else None) != latest
    ]
    return Finding(LAST_ACCESS, len(off), off[:EXAMPLES])


def _visible_leftovers(target: Target) -> Finding:
    """Whether readers of the lake see a file that is neither one of a table nor the dashboard."""
    visible = [
        str(path.relative_to(target.settings.lake))
        for path in target.settings.lake.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(target.settings.lake).parts)
    ]
    odd = [path for path in visible if path != PAGE and not path.endswith(_SUFFIXES)]
    return Finding(LEFTOVERS, len(odd), odd[:EXAMPLES])


def _finding_of_run(promise: str, run: "subprocess.CompletedProcess[str]") -> Finding:
    return Finding(promise, 0, []) if run.returncode == 0 else Finding(promise, 1, run.stderr.splitlines()[-EXAMPLES:])
