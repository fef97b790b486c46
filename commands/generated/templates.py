"""The nested stacks of `infra/` that are written from what is declared: tables, Athena's queries, dashboard, alarms.

`python -m commands.generated.templates` writes them, and so does `./run lint --fix`. They are JSON, which
CloudFormation takes as it takes YAML.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import sqlglot
from sqlglot import exp

from clickstream_assets.catalog import CATALOGUED
from clickstream_assets.dashboard.quicksight import data_set, definition, shown_tables
from resources.aws.athena import in_stack
from resources.aws.cloudwatch import alert_metric
from resources.aws.glue.tables import table_input
from streaming.domain.stack import METRICS
from streaming.domain.tables import LANDING
from streaming.runtime.health.alerts import CONDITIONS
from streaming.settings import ROOT

INFRA = ROOT / "infra"
_ROOT_OF_LAKE = "s3://${LakeBucket}"
_SOURCE = {"Fn::GetAtt": ["Source", "Arn"]}
_ACCOUNT = {"Ref": "AWS::AccountId"}

# What QuickSight calls the owner of each.
_OWNS_SOURCE = (
    "DescribeDataSource", "DescribeDataSourcePermissions", "PassDataSource", "UpdateDataSource", "DeleteDataSource",
    "UpdateDataSourcePermissions",
)  # fmt: skip
_OWNS_SET = (
    "DescribeDataSet", "DescribeDataSetPermissions", "PassDataSet", "DescribeIngestion", "ListIngestions",
    "UpdateDataSet", "DeleteDataSet", "CreateIngestion", "CancelIngestion", "UpdateDataSetPermissions",
)  # fmt: skip
_OWNS_DASHBOARD = (
    "DescribeDashboard", "ListDashboardVersions", "UpdateDashboardPermissions", "QueryDashboard", "UpdateDashboard",
    "DeleteDashboard", "DescribeDashboardPermissions", "UpdateDashboardPublishedVersion",
)  # fmt: skip


def glue_tables() -> dict[str, Any]:
    """The declared tables in the Glue Data Catalog.

    Not those without partitions: publishing writes to the table itself, and an update of the stack would undo it. The
    catalog makes them.
    """
    resources = {
        _logical_id(table.name): {
            "Type": "AWS::Glue::Table",
            "Properties": {
                "CatalogId": _ACCOUNT,
                "DatabaseName": {"Ref": "Database"},
                "TableInput": _in_bucket(table_input(table, _ROOT_OF_LAKE)),
            },
        }
        for table in CATALOGUED
        if table.partition
    }
    return _template("the declared tables in the Glue Data Catalog", ("Database", "LakeBucket"), resources)


def dashboard() -> dict[str, Any]:
    """QuickSight's data source, data sets and dashboard, which belong to one user or group of it."""
    tables = shown_tables()
    source = {
        "Type": "AWS::QuickSight::DataSource",
        "Properties": {
            "AwsAccountId": _ACCOUNT,
            "DataSourceId": {"Ref": "StackName"},
            "Name": {"Ref": "StackName"},
            "Type": "ATHENA",
            "DataSourceParameters": {
                "AthenaParameters": {"WorkGroup": {"Ref": "WorkGroup"}, "RoleArn": {"Ref": "RoleArn"}}
            },
            "Permissions": _owned(_OWNS_SOURCE),
        },
    }
    data_sets = {
        _logical_id(table.name): {
            "Type": "AWS::QuickSight::DataSet",
            "Properties": {
                "AwsAccountId": _ACCOUNT,
                "DataSetId": {"Fn::Sub": f"${{StackName}}-{table.name}"},
                "Permissions": _owned(_OWNS_SET),
                **data_set(table, _SOURCE, {"Ref": "Database"}),
            },
        }
        for table in tables
    }
    page = {
        "Type": "AWS::QuickSight::Dashboard",
        "Properties": {
            "AwsAccountId": _ACCOUNT,
            "DashboardId": {"Ref": "StackName"},
            "Name": {"Ref": "StackName"},
            "Permissions": _owned(_OWNS_DASHBOARD),
            "Definition": definition({t.name: {"Fn::GetAtt": [_logical_id(t.name), "Arn"]} for t in tables}),
        },
    }
    return _template(
        "the dashboard in QuickSight",
        ("StackName", "Owner", "WorkGroup", "RoleArn", "Database"),
        {"Source": source, **data_sets, "Dashboard": page},
    )


def named_queries() -> dict[str, Any]:
    """Queries to start from, in Athena: the examples of the tables, and the federated report.

    Not those of landing, which read it whole: on S3 that is every hour there may be.
    """
    queries: dict[str, Any] = {table.name: _athena(table.example) for table in CATALOGUED if table not in LANDING}
    report = (ROOT / "sql" / "athena" / "latest_search_by_user.sql").read_text()
    own = in_stack(sqlglot.parse_one(report, read="athena"), lambda role: f"${{StackName}}-{role}", "${Database}")
    queries["latest_search_by_user_from_its_sources"] = {"Fn::Sub": own}
    resources = {
        _logical_id(name): {
            "Type": "AWS::Athena::NamedQuery",
            "Properties": {
                "Name": name,
                "Database": {"Ref": "Database"},
                "WorkGroup": {"Ref": "WorkGroup"},
                "QueryString": query,
            },
        }
        for name, query in queries.items()
    }
    return _template("queries to start from, in Athena", ("StackName", "Database", "WorkGroup"), resources)


def alarms() -> dict[str, Any]:
    """An alarm for each alert that Dagster publishes. It stays as it is without news; that is another alarm's."""
    topic = [{"Ref": "AlarmTopic"}]
    resources = {
        _logical_id(condition.name): {
            "Type": "AWS::CloudWatch::Alarm",
            "Properties": {
                "AlarmName": {"Fn::Sub": f"${{StackName}}-{condition.name.replace('_', '-')}"},
                "AlarmDescription": f"{condition.severity.title()}; ./run status says more. {condition.advice}",
                "Namespace": METRICS,
                **alert_metric({"Ref": "StackName"}, condition.name),
                "Statistic": "Maximum",
                "Period": 300,
                "EvaluationPeriods": 1,
                "ComparisonOperator": "GreaterThanThreshold",
                "Threshold": 0,
                "TreatMissingData": "ignore",
                "AlarmActions": topic,
                "OKActions": topic,
            },
        }
        for condition in CONDITIONS
        if not condition.is_aws_own
    }
    return _template("alarms on what Dagster finds in the tables", ("StackName", "AlarmTopic"), resources)


TEMPLATES = {
    "glue_tables.json": glue_tables,
    "named_queries.json": named_queries,
    "dashboard.json": dashboard,
    "alarms.json": alarms,
}


def as_text(template: Mapping[str, Any]) -> str:
    """A template as its file has it."""
    return json.dumps(template, indent=1, ensure_ascii=False) + "\n"


def _template(what: str, parameters: Sequence[str], resources: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"Clickstream: {what}. Written by ./run lint --fix from what the code declares; do not edit.",
        "Parameters": {name: {"Type": "String"} for name in parameters},
        "Resources": resources,
    }


def _athena(query: str) -> str:
    """A query of DuckDB in Athena's dialect, which has no GROUP BY ALL."""
    parsed = sqlglot.parse_one(query, read="duckdb", into=exp.Select)
    group = parsed.args.get("group")
    if group and group.args.get("all"):
        keys = [each.unalias() for each in parsed.selects if not each.find(exp.AggFunc)]
        parsed.set("group", exp.Group(expressions=keys))
    return parsed.sql("athena", pretty=True)


def _logical_id(name: str) -> str:
    return name.title().replace("_", "")


def _in_bucket(value: Any) -> Any:
    """A value whose texts that name the lake's root have it filled in; what else looks like a variable is text."""
    match value:
        case dict():
            return {key: _in_bucket(each) for key, each in value.items()}
        case list():
            return [_in_bucket(each) for each in value]
        case str() if _ROOT_OF_LAKE in value:
            return {"Fn::Sub": re.sub(r"\$\{(?!LakeBucket\})", "${!", value)}
    return value


def _owned(actions: Sequence[str]) -> list[dict[str, Any]]:
    return [{"Principal": {"Ref": "Owner"}, "Actions": [f"quicksight:{action}" for action in actions]}]


if __name__ == "__main__":
    for name, template in TEMPLATES.items():
        (INFRA / name).write_text(as_text(template()))
