"""The same panels as QuickSight's definition of a dashboard, as `quicksight.create_dashboard` takes it.

Every table is a data set whose identifier is its name, columns as declared and `date`. Filters cross data sets by the
name of their column, so the event type filters those that have an `event_name`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from clickstream_assets.dashboard.data import SHOWN_TABLES
from clickstream_assets.dashboard.panels import ACTIONS, PANELS, Kind, Panel
from streaming.domain.tables import Table

SHEET = "overview"
# QuickSight's grid has 36 columns; a tile takes six, so that six stand in a row.
GRID_COLUMNS = 36
TILE_SPAN = 6
ROWS = {Kind.TILE: 4, Kind.TABLE: 16}
PANEL_ROWS = 11
MOST_BARS = 10
# What maps need to know of columns, by their names.
PLACES = {"country": "COUNTRY", "region": "STATE", "city": "CITY", "latitude": "LATITUDE", "longitude": "LONGITUDE"}
COLUMN_TYPES = {"VARCHAR": "STRING", "BIGINT": "INTEGER", "DATE": "DATETIME", "TIMESTAMP": "DATETIME"}
Definition = dict[str, Any]


def shown_tables() -> list[Table]:
    """The tables that panels show, each once."""
    return [SHOWN_TABLES[name] for name in dict.fromkeys(panel.table for panel in PANELS)]


def data_set(table: Table, data_source_arn: Any, database: Any) -> Definition:
    """A table as a data set that asks Athena whenever it is looked at, but for its identity and its owners.

    Args:
        data_source_arn, database: text, or what a template has in its place.
    """
    columns = (*table.columns, *table.partition_columns)
    relation = {
        "DataSourceArn": data_source_arn,
        "Catalog": "AwsDataCatalog",
        "Schema": database,
        "Name": table.name,
        "InputColumns": [{"Name": each.name, "Type": COLUMN_TYPES.get(each.type, "DECIMAL")} for each in columns],
    }
    roles = [
        {"TagColumnOperation": {"ColumnName": each.name, "Tags": [{"ColumnGeographicRole": PLACES[each.name]}]}}
        for each in columns
        if each.name in PLACES
    ]
    logical: Definition = {"Alias": table.name, "Source": {"PhysicalTableId": "table"}}
    return {
        "Name": table.name,
        "ImportMode": "DIRECT_QUERY",
        "PhysicalTableMap": {"table": {"RelationalTable": relation}},
        "LogicalTableMap": {"shown": logical | ({"DataTransforms": roles} if roles else {})},
    }


def definition(data_set_arns: Mapping[str, Any]) -> Definition:
    """The dashboard over data sets.

    Args:
        data_set_arns: the ARN of each table's data set, by the table's name.

    Raises:
        KeyError: a table that a panel shows has none.
    """
    return {
        "DataSetIdentifierDeclarations": [
            {"Identifier": table.name, "DataSetArn": data_set_arns[table.name]} for table in shown_tables()
        ],
        "Sheets": [
            {
                "SheetId": SHEET,
                "Name": "Clickstream",
                "Visuals": [_visual(panel) for panel in PANELS],
                "Layouts": [{"Configuration": {"GridLayout": {"Elements": list(_layout())}}}],
            }
        ],
        "FilterGroups": [
            _for_visuals(
                _time_range(),
                [panel for panel in PANELS if panel.by_date],
            ),
            _for_visuals(
                _category("event-types", "events_by_type", "event_name", list(ACTIONS)),
                [panel for panel in PANELS if panel.by_event_type],
            ),
            *(
                _for_visuals(_category("us-only", panel.table, "country", ["US"]), [panel], "SINGLE_DATASET")
                for panel in PANELS
                if panel.kind is Kind.STATES
            ),
        ],
    }


def _visual(panel: Panel) -> Definition:
    """One visual: which of QuickSight's it is, and what stands in its field wells."""
    values = _values(panel)
    dimensions = [_dimension(panel, name) for name in panel.dimension]
    configuration: Definition
    match panel.kind:
        case Kind.TILE:
            kind, configuration = "KPIVisual", {"FieldWells": {"Values": values}}
        case Kind.DONUT:
            kind = "PieChartVisual"
            configuration = _wells("PieChart", Category=dimensions, Values=values)
            configuration["DonutOptions"] = {"ArcOptions": {"ArcThickness": "MEDIUM"}}
        case Kind.STATES:
            kind, configuration = "FilledMapVisual", _wells("FilledMap", Geospatial=dimensions, Values=values)
        case Kind.POINTS:
            kind = "GeospatialMapVisual"
            places = [_dimension(panel, name) for name in ("latitude", "longitude")]
            configuration = _wells("GeospatialMap", Geospatial=places, Values=values)
        case Kind.HEAT:
            kind = "HeatMapVisual"
            configuration = _wells("HeatMap", Rows=dimensions[:1], Columns=dimensions[1:], Values=values)
        case Kind.TABLE:
            kind, configuration = "TableVisual", _wells("Table", GroupBy=dimensions, Values=values)
            configuration["SortConfiguration"] = {"RowSort": _most_first(panel)}
        case Kind.TIME | Kind.BARS | Kind.FUNNEL:
            kind, configuration = "BarChartVisual", _bars(panel, dimensions, values)
    visual = {"VisualId": panel.name, "Title": _text(panel.title), "ChartConfiguration": configuration}
    if panel.note:
        visual["Subtitle"] = _text(panel.note)
    return {kind: visual}


def _bars(panel: Panel, dimensions: list[Definition], values: list[Definition]) -> Definition:
    """Bars for a funnel too: QuickSight's takes one measure by a category, and these are three."""
    colours = [_dimension(panel, panel.colour)] if panel.colour else []
    configuration = _wells("BarChart", Category=dimensions[:1], Values=values, Colors=colours)
    if panel.kind is Kind.TIME:
        return configuration | {"Orientation": "VERTICAL", "BarsArrangement": "STACKED"}
    if panel.kind is Kind.BARS:
        limit = {"ItemsLimit": MOST_BARS, "OtherCategories": "EXCLUDE"}
        configuration["SortConfiguration"] = {"CategorySort": _most_first(panel), "CategoryItemsLimit": limit}
    return configuration | {"Orientation": "HORIZONTAL"}


def _wells(chart: str, **wells: list[Definition]) -> Definition:
    return {"FieldWells": {f"{chart}AggregatedFieldWells": {name: fields for name, fields in wells.items() if fields}}}


def _values(panel: Panel) -> list[Definition]:
    if panel.over_days == "ratio":
        part, whole = panel.measures
        return [
            {"CalculatedMeasureField": {"FieldId": panel.name, "Expression": f"sum({{{part}}}) / sum({{{whole}}})"}}
        ]
    function = {"SimpleNumericalAggregation": "AVERAGE" if panel.over_days == "mean" else "SUM"}
    return [
        {"NumericalMeasureField": {**_field(panel, measure), "AggregationFunction": function}}
        for measure in panel.measures
    ]


def _dimension(panel: Panel, name: str) -> Definition:
    """A dimension by its declared type."""
    column_type = next(column.type for column in SHOWN_TABLES[panel.table].columns if column.name == name)
    match column_type:
        case "VARCHAR":
            return {"CategoricalDimensionField": _field(panel, name)}
        case "TIMESTAMP":
            return {"DateDimensionField": {**_field(panel, name), "DateGranularity": "HOUR"}}
        case "DATE":
            return {"DateDimensionField": {**_field(panel, name), "DateGranularity": "DAY"}}
    return {"NumericalDimensionField": _field(panel, name)}


def _field(panel: Panel, name: str) -> Definition:
    return {"FieldId": f"{panel.name}.{name}", "Column": {"DataSetIdentifier": panel.table, "ColumnName": name}}


def _most_first(panel: Panel) -> list[Definition]:
    measure = "events" if "events" in panel.measures else panel.measures[0]
    return [{"FieldSort": {"FieldId": f"{panel.name}.{measure}", "Direction": "DESC"}}]


def _time_range() -> Definition:
    picker = {"DefaultDateTimePickerOptions": {"Type": "DATE_RANGE"}}
    return {
        "TimeRangeFilter": {
            "FilterId": "dates",
            "Column": {"DataSetIdentifier": "events_by_type", "ColumnName": "date"},
            "NullOption": "NON_NULLS_ONLY",
            "TimeGranularity": "DAY",
            "DefaultFilterControlConfiguration": {"Title": "Dates", "ControlOptions": picker},
        }
    }


def _category(name: str, table: str, column: str, values: list[str]) -> Definition:
    chosen = {"MatchOperator": "CONTAINS", "CategoryValues": values, "NullOption": "NON_NULLS_ONLY"}
    return {
        "CategoryFilter": {
            "FilterId": name,
            "Column": {"DataSetIdentifier": table, "ColumnName": column},
            "Configuration": {"FilterListConfiguration": chosen},
        }
    }


def _for_visuals(filtering: Definition, panels: list[Panel], crossing: str = "ALL_DATASETS") -> Definition:
    (told,) = filtering.values()
    scope = {"SheetId": SHEET, "Scope": "SELECTED_VISUALS", "VisualIds": [panel.name for panel in panels]}
    return {
        "FilterGroupId": told["FilterId"],
        "Filters": [filtering],
        "ScopeConfiguration": {"SelectedSheets": {"SheetVisualScopingConfigurations": [scope]}},
        "CrossDataset": crossing,
        "Status": "ENABLED",
    }


def _layout() -> Iterator[Definition]:
    """Panels from left to right, as wide as the page has them."""
    column = row = height = 0
    for panel in PANELS:
        span = TILE_SPAN if panel.kind is Kind.TILE else panel.width * GRID_COLUMNS // 12
        if column + span > GRID_COLUMNS or (panel.kind is not Kind.TILE and height == ROWS[Kind.TILE]):
            column, row, height = 0, row + height, 0
        rows = ROWS.get(panel.kind, PANEL_ROWS)
        yield {
            "ElementId": panel.name,
            "ElementType": "VISUAL",
            "ColumnIndex": column,
            "ColumnSpan": span,
            "RowIndex": row,
            "RowSpan": rows,
        }
        column, height = column + span, max(height, rows)


def _text(text: str) -> Definition:
    return {"Visibility": "VISIBLE", "FormatText": {"PlainText": text}}
