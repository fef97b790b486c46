"""Dagster's own event log in SQLite, with a range of partitions written in one go."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dagster._core.events import ASSET_EVENTS
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.sqlalchemy_compat import db_result
from dagster._serdes import ConfigurableClassData


class BatchedEventLogStorage(SqliteEventLogStorage):
    """Dagster hands over what a run plans and materialises in batches, where DAGSTER_EVENT_BATCH_SIZE allows it.

    Its own class stores a batch event by event, each in several transactions: a backfill of a year of hours took
    minutes, nearly all of them for hours without an event. The tables are Dagster's, unchanged.
    """

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> "BatchedEventLogStorage":
        """`base_dir` is DAGSTER_HOME; the log lies in it where Dagster would put it."""
        return cls(str(Path(config_value["base_dir"]) / "history" / "runs"), inst_data)

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events of one run."""
        of_assets = [event for event in events if event.dagster_event_type in ASSET_EVENTS]
        if of_assets:
            self._store_asset_events(of_assets)
        for event in events:
            if event.dagster_event_type not in ASSET_EVENTS:
                self.store_event(event)

    def _store_asset_events(self, events: Sequence[EventLogEntry]) -> None:
        with self.run_connection(events[0].run_id) as connection:
            connection.execute(SqlEventLogStorageTable.insert(), [self._event_to_row(event) for event in events])
        with self.index_transaction() as connection:
            ids = []
            for event in events:
                with db_result(connection, self.prepare_insert_event(event)) as inserted:
                    ids.append(inserted.inserted_primary_key[0])
            self._store_asset_event_tags(connection, events, ids)
            latest = {event.get_dagster_event().asset_key: (event, id_) for event, id_ in zip(events, ids, strict=True)}
            for event, id_ in latest.values():
                self._store_asset_event(connection, event, id_)
