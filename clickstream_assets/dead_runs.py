"""Runs whose process is gone: killed with the machine, with its code server, or in the middle of `./run materialize`.

Dagster would take them for running for good, and a job that runs is not asked for again.
"""

from datetime import UTC, datetime, timedelta

import dagster as dg
import psutil

UNDER_WAY = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
# A run that has no process after this time will not get one.
STARTS_WITHIN = timedelta(minutes=5)


@dg.sensor(minimum_interval_seconds=30, default_status=dg.DefaultSensorStatus.RUNNING)
def fail_dead_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Runs that are under way in a process that is gone have failed, and may be tried again."""
    failed = fail_dead(context.instance)
    return dg.SkipReason(f"failed: {', '.join(failed)}" if failed else "every run under way has its process")


def fail_dead(instance: dg.DagsterInstance) -> list[str]:
    """Fail the runs of this machine that are under way in a process that is gone; their ids."""
    records = instance.get_run_records(dg.RunsFilter(statuses=UNDER_WAY))
    dead = [record.dagster_run for record in records if _is_dead(record, instance)]
    for run in dead:
        instance.report_run_failed(run, "Its process is gone.")
    return [run.run_id for run in dead]


def _is_dead(record: dg.RunRecord, instance: dg.DagsterInstance) -> bool:
    """Whether the newest process that said it works on a run has ended, or none has said so in time."""
    of_engine = instance.get_records_for_run(record.dagster_run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
    for entry in reversed([each.event_log_entry for each in of_engine.records]):
        event = entry.dagster_event
        if event and (pid := event.engine_event_data.metadata.get("pid")):
            return not _was_alive(int(str(pid.value)), entry.timestamp)
    return datetime.now(UTC) - record.create_timestamp > STARTS_WITHIN


def _was_alive(pid: int, moment: float) -> bool:
    """Whether the process that had an id at a moment (seconds since 1970) still runs, and not another with its id."""
    try:
        process = psutil.Process(pid)
        return process.create_time() <= moment and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
