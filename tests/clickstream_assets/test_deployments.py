"""The same definitions in both deployments: nothing but resources differs, and loading them needs no network."""

import subprocess
import sys
from typing import Any

import dagster as dg
import pytest

from clickstream_assets.definitions import aws_resources, build_definitions, local_resources
from streaming.settings import ROOT, Settings, load_settings

# Settings that choose resources; anything else that differed would be another platform.
AWS = {"CLICKSTREAM_DEPLOYMENT": "aws", "CLICKSTREAM_LAKE_BUCKET": "clickstream-lake"}


def settings(**environment: str) -> Settings:
    return load_settings({"CLICKSTREAM_HOME": "/nowhere", "CLICKSTREAM_START": "2026-10-01", **environment})


@pytest.fixture(scope="module")
def both() -> tuple[dg.Definitions, dg.Definitions]:
    return build_definitions(settings()), build_definitions(settings(**AWS))


def assets(definitions: dg.Definitions) -> dict[str, Any]:
    """Everything declared of each asset."""
    return {
        spec.key.to_user_string(): (
            [(dep.asset_key, dep.partition_mapping) for dep in spec.deps],
            spec.partitions_def,
            spec.freshness_policy,
            (spec.group_name, spec.kinds, spec.owners, spec.tags, spec.description),
            {key: repr(value) for key, value in spec.metadata.items()},
        )
        for spec in definitions.resolve_all_asset_specs()
    }


def checks(definitions: dg.Definitions) -> dict[str, Any]:
    graph = definitions.resolve_asset_graph()
    specs = [graph.get_check_spec(key) for key in graph.asset_check_keys]
    return {spec.key.to_user_string(): (spec.blocking, spec.description, spec.additional_deps) for spec in specs}


def jobs(definitions: dg.Definitions) -> dict[str, Any]:
    repository = definitions.get_repository_def()
    return {
        job.name: (sorted(job.graph.node_names()), job.description, job.partitions_def, job.tags)
        for job in repository.get_all_jobs()
    }


def schedules(definitions: dg.Definitions) -> dict[str, Any]:
    repository = definitions.get_repository_def()
    return {
        each.name: (each.cron_schedule, each.job_name, each.default_status, sorted(each.required_resource_keys))
        for each in repository.schedule_defs
    }


def sensors(definitions: dg.Definitions) -> dict[str, Any]:
    repository = definitions.get_repository_def()
    return {
        each.name: (each.minimum_interval_seconds, each.default_status, sorted(each.required_resource_keys))
        for each in repository.sensor_defs
    }


@pytest.mark.parametrize("part", [assets, checks, jobs, schedules, sensors], ids=lambda part: part.__name__)
def test_both_deployments_have_the_same(part: Any, both: tuple[dg.Definitions, dg.Definitions]) -> None:
    local, aws = map(part, both)

    assert local
    assert local == aws


def test_every_role_has_an_edge_in_both() -> None:
    local, aws = local_resources(settings()), aws_resources(settings(**AWS))

    assert local.keys() == aws.keys()
    same = {role for role in local if type(local[role]) is type(aws[role])}
    assert same >= {"users_db", "user_cache", "look_ups"}
    assert not same & {"lake", "warehouse", "catalog_database", "delivery", "health"}


@pytest.mark.parametrize("deployment", ["local", "aws"])
def test_loading_needs_no_network(deployment: str) -> None:
    script = """
import socket
def refuse(*_, **__):
    raise AssertionError("a connection while definitions load")
socket.socket.connect = socket.create_connection = refuse
from clickstream_assets.definitions import build_definitions
print(len(build_definitions().resolve_all_asset_specs()))
"""
    environment = {"PATH": "/usr/bin:/bin", "CLICKSTREAM_HOME": "/nowhere", **AWS, "CLICKSTREAM_DEPLOYMENT": deployment}
    loaded = subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert loaded.returncode == 0, loaded.stderr
    assert int(loaded.stdout) > 20
