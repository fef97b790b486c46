"""QuickSight's definition of the dashboard is one that its API takes, over columns that the tables have."""

from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator

from clickstream_assets.dashboard.data import SHOWN_TABLES
from clickstream_assets.dashboard.panels import PANELS
from clickstream_assets.dashboard.quicksight import GRID_COLUMNS, data_set, definition, shown_tables
from streaming.domain.tables import Table

ARNS = {name: f"arn:aws:quicksight:eu-central-1:123456789012:dataset/{name}" for name in SHOWN_TABLES}
DEFINITION = definition(ARNS)


def found(content: Any, key: str) -> list[Any]:
    """Every value of a key, however deep."""
    match content:
        case dict():
            here = [content[key]] if key in content else []
            return here + [each for value in content.values() for each in found(value, key)]
        case list():
            return [each for value in content for each in found(value, key)]
    return []


def complaints(operation: str, **parameters: Any) -> str:
    """What QuickSight's service model has against a request."""
    model = botocore.session.get_session().get_service_model("quicksight")
    shape = model.operation_model(operation).input_shape
    report: str = ParamValidator().validate({"AwsAccountId": "123456789012", **parameters}, shape).generate_report()
    return report


def test_the_service_model_takes_it() -> None:
    assert complaints("CreateDashboard", DashboardId="clickstream", Name="Clickstream", Definition=DEFINITION) == ""
    assert "Sheets" in complaints("CreateDashboard", DashboardId="c", Name="C", Definition={"Sheets": 1})


@pytest.mark.parametrize("table", shown_tables(), ids=lambda table: table.name)
def test_a_data_set_has_the_columns_that_panels_show(table: Table) -> None:
    made = data_set(table, "arn:aws:quicksight:eu-central-1:123456789012:datasource/clickstream", "clickstream")
    assert complaints("CreateDataSet", DataSetId=table.name, **made) == ""
    types = {each["Name"]: each["Type"] for each in found(made, "InputColumns")[0]}
    used = {each["ColumnName"] for each in found(DEFINITION, "Column") if each["DataSetIdentifier"] == table.name}
    assert used <= types.keys()
    assert types["date"] == "DATETIME"
    assert {types[name] for name in table.column_names if name in ("events", "users", "viewers")} <= {"INTEGER"}


def test_maps_know_what_places_are() -> None:
    tagged = {
        each["ColumnName"]: each
        for table in shown_tables()
        for each in found(data_set(table, "", ""), "TagColumnOperation")
    }
    assert tagged["region"]["Tags"] == [{"ColumnGeographicRole": "STATE"}]
    assert {"city", "latitude", "longitude"} <= tagged.keys()


def test_every_panel_is_a_visual_with_a_place_of_its_own() -> None:
    names = [panel.name for panel in PANELS]
    assert found(DEFINITION["Sheets"], "VisualId") == names
    elements = found(DEFINITION["Sheets"], "Elements")[0]
    cells = [
        (row, column)
        for each in elements
        for row in range(each["RowIndex"], each["RowIndex"] + each["RowSpan"])
        for column in range(each["ColumnIndex"], each["ColumnIndex"] + each["ColumnSpan"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(column for _, column in cells) < GRID_COLUMNS
    assert [each["ElementId"] for each in elements] == names


def test_every_column_is_one_of_its_table() -> None:
    columns = found(DEFINITION, "Column")
    assert len(columns) > 20
    for column in columns:
        table = SHOWN_TABLES[column["DataSetIdentifier"]]
        assert column["ColumnName"] in {*table.column_names, "date"}


def test_fields_that_are_sorted_by_are_fields() -> None:
    declared = {each["FieldId"] for wells in found(DEFINITION, "FieldWells") for each in _fields(wells)}
    assert {each["FieldId"] for each in found(DEFINITION, "FieldSort")} <= declared
    assert len(declared) == sum(len(list(_fields(wells))) for wells in found(DEFINITION, "FieldWells"))


def _fields(wells: Any) -> list[dict[str, Any]]:
    kinds = ("NumericalMeasureField", "CategoricalDimensionField", "DateDimensionField", "NumericalDimensionField")
    return [each for kind in (*kinds, "CalculatedMeasureField") for each in found(wells, kind)]
