"""The generated templates of infra/ are what the code declares."""

from typing import Any

import pytest

from clickstream_assets.catalog import CATALOGUED
from clickstream_assets.dashboard.quicksight import shown_tables
from commands.generated.templates import INFRA, TEMPLATES, as_text, dashboard, glue_tables
from resources.aws.glue.tables import table_input


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_file_is_what_lint_writes(name: str) -> None:
    assert (INFRA / name).read_text() == as_text(TEMPLATES[name]()), "./run lint --fix writes it anew"


def test_every_table_with_partitions_stands_in_the_catalog_as_declared() -> None:
    tables = [each["Properties"]["TableInput"] for each in glue_tables()["Resources"].values()]
    wanted = [table_input(table, "s3://shop") for table in CATALOGUED if table.partition]
    assert [substituted(each, "shop") for each in tables] == wanted


def test_no_update_of_the_stack_undoes_a_publication() -> None:
    """A table without partitions is published by its own entry, which CloudFormation would write over."""
    tables = [each["Properties"]["TableInput"] for each in glue_tables()["Resources"].values()]
    assert [each["Name"] for each in tables if not each["PartitionKeys"]] == []


def test_every_table_that_is_shown_has_a_data_set() -> None:
    resources = dashboard()["Resources"]
    kinds = [each["Type"].rpartition(":")[2] for each in resources.values()]
    assert kinds == ["DataSource", *["DataSet"] * len(shown_tables()), "Dashboard"]
    declared = resources["Dashboard"]["Properties"]["Definition"]["DataSetIdentifierDeclarations"]
    for each in declared:
        data_set = resources[each["DataSetArn"]["Fn::GetAtt"][0]]["Properties"]
        assert data_set["DataSetId"] == {"Fn::Sub": "${StackName}-" + each["Identifier"]}


def substituted(value: Any, bucket: str) -> Any:
    """What CloudFormation makes of it for a bucket."""
    match value:
        case {"Fn::Sub": str(text)}:
            return text.replace("${LakeBucket}", bucket).replace("${!", "${")
        case dict():
            return {key: substituted(each, bucket) for key, each in value.items()}
        case list():
            return [substituted(each, bucket) for each in value]
    return value
