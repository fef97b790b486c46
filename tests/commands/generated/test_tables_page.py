"""docs/tables.md is what the code declares."""

import re

import pytest

from clickstream_assets.catalog import CATALOGUED
from clickstream_assets.schedules import SCHEDULES
from commands.generated.tables_page import PAGE, tables_page
from streaming.domain.tables import Table
from streaming.settings import ROOT


@pytest.fixture(scope="module")
def sections() -> dict[str, str]:
    """The page's sections by their headings."""
    head, *sections = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)
    return {heading: text for heading, _, text in (section.partition("\n") for section in sections)} | {"": head}


def test_the_page_is_what_lint_writes() -> None:
    assert PAGE.read_text() == tables_page(), "./run lint --fix writes it anew"


@pytest.mark.parametrize("table", CATALOGUED, ids=lambda table: table.name)
def test_a_section_says_all_there_is_to_know(table: Table, sections: dict[str, str]) -> None:
    section = sections[table.name]
    facts = dict(re.findall(r"^- (.+?): (.+)$", section, re.MULTILINE))
    assert facts.keys() >= {"grain", "partition", "files", "written"}
    assert table.description in section
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(table.column_names)
    assert " ".join(table.example.split()) in " ".join(section.split())
    assert f"(#{table.name})" in sections[""]


def test_how_often_comes_from_the_schedules(sections: dict[str, str]) -> None:
    [schedule] = (each for each in SCHEDULES if each.name == "aggregate_due_days")
    assert schedule.cron_schedule == "*/15 * * * *"
    assert "`aggregate_due_days` every 15 minutes" in sections["events_by_type"]
    assert "depends on: flattened events of its day and all before it" in sections["new_and_returning_users"]


def test_the_shop_s_table_is_named_with_its_columns(sections: dict[str, str]) -> None:
    declared = (ROOT / "sql" / "mysql" / "schema.sql").read_text()
    columns = re.findall(r"^    ([a-z_]+) [A-Z]", declared, re.MULTILINE)
    assert columns
    assert all(f"`{column}`" in sections["Elsewhere"] for column in columns)
