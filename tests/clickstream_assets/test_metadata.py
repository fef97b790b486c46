import pytest

from clickstream_assets.catalog import CATALOGUED
from clickstream_assets.metadata import preview, table_metadata
from streaming.domain.tables import Table


def test_a_preview_shows_what_clients_sent_without_links_and_images() -> None:
    shown = preview([{"user_id": "![x](http://example.com/x.png)", "name": "a|b\n<b>`c`"}]).value
    assert str(shown).splitlines() == [
        r"| user\_id | name |",
        "| --- | --- |",
        r"| \!\[x\]\(http\:\/\/example\.com\/x\.png\) | a\|b \<b\>\`c\` |",
    ]


@pytest.mark.parametrize("table", CATALOGUED, ids=lambda table: table.name)
def test_a_table_says_what_it_and_its_columns_are(table: Table) -> None:
    metadata = table_metadata(table)
    assert (metadata["about"], metadata["grain"]) == (table.description, table.grain)
    assert metadata["example"].value == f"```sql\n{table.example}\n```"
    shown = [
        (each.name, each.type, each.description, each.tags.get("unit", ""))
        for each in metadata["dagster/column_schema"].columns
    ]
    assert shown == [(each.name, each.type, each.description, each.unit) for each in table.columns]
    assert all((table.description, table.example, *(column.description for column in table.columns)))
