"""The dashboard's page in a real browser: its numbers are those of flattened events, and everyone can use it."""

import re
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from clickstream_assets.catalog import CATALOGUED
from clickstream_assets.dashboard.data import opened
from clickstream_assets.dashboard.web_page import MOST_BYTES, render
from resources.catalog import DuckDBCatalog
from resources.lake import DirectoryLake
from resources.warehouse import DuckDBWarehouse
from tests.browser import chromium, note_complaints
from tests.clickstream_assets.aggregates import event
from tests.clickstream_assets.dashboard_tables import ACTIONS, LAST_DAY, make_large_tables, make_tables, shop_events

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(240)]

DAYS = 40
A4_WIDTH = 703  # pixels between the margins
FIRST_DAY = LAST_DAY - timedelta(days=DAYS - 1)
Ask = Callable[..., list[tuple[Any, ...]]]
OpenPage = Callable[..., Page]


class Filter(NamedTuple):
    """What is chosen, as it stands in the page's address, and as SQL has it."""

    address: str
    first: date = FIRST_DAY
    last: date = LAST_DAY
    types: tuple[str, ...] = ACTIONS

    @property
    def where(self) -> str:
        types = ", ".join(f"'{each}'" for each in self.types)
        return f"{self.dates} AND event_name IN ({types})"

    @property
    def dates(self) -> str:
        return f"event_timestamp::DATE BETWEEN DATE '{self.first}' AND DATE '{self.last}'"


FILTERS = [
    Filter(""),
    Filter("#days=7", LAST_DAY - timedelta(days=6)),
    Filter("#days=1&types=Search", LAST_DAY, types=("Search",)),
    Filter("#days=30&types=ViewContent,Purchase", LAST_DAY - timedelta(days=29), types=("ViewContent", "Purchase")),
    Filter("#from=2026-10-20&to=2026-10-22", date(2026, 10, 20), date(2026, 10, 22)),
]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> DirectoryLake:
    folder = tmp_path_factory.mktemp("shop")
    lake = DirectoryLake(folder / "lake")
    make_tables(lake, DuckDBWarehouse(200_000_000, folder / "duckdb"), shop_events(DAYS, 60))
    return lake


@pytest.fixture(scope="module")
def ask(lake: DirectoryLake) -> Iterator[Ask]:
    """Asks the catalog, whose flattened events are where every aggregate comes from."""
    catalog = DuckDBCatalog(lake.root.parent / "catalog.duckdb", lake)
    catalog.refresh(CATALOGUED)
    with duckdb.connect(catalog.file, read_only=True) as connection:
        yield lambda statement: connection.execute(statement).fetchall()


@pytest.fixture(scope="module")
def address(lake: DirectoryLake) -> str:
    return _written(lake, lake.root.parent / "dashboard.html")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def open_page(browser: Browser, address: str) -> Iterator[OpenPage]:
    """Opens the page; whatever it logs as a warning or error, or asks of anyone, fails the test."""
    complaints: list[str] = []
    context = browser.new_context(viewport={"width": 1440, "height": 900}, timezone_id="America/Los_Angeles")

    def open_page(at: str = "", url: str = address, **media: Any) -> Page:
        page = context.new_page()
        page.set_default_timeout(20_000)
        note_complaints(page, complaints, lambda asked: asked.startswith(url), ("error", "warning"))
        if media:
            page.emulate_media(**media)
        page.goto(url + at)
        page.wait_for_selector("html[data-ready]")
        return page

    yield open_page
    context.close()
    assert complaints == []


@pytest.mark.parametrize("chosen", FILTERS, ids=lambda chosen: chosen.address or "all")
def test_every_panel_has_the_numbers_of_the_events(chosen: Filter, open_page: OpenPage, ask: Ask) -> None:
    page = open_page(chosen.address)
    events = "FROM flattened_events WHERE"

    assert [_number(page, "events")] == [row[0] for row in ask(f"SELECT COUNT(*) {events} {chosen.where}")]
    (purchases, revenue) = ask(
        f"SELECT COUNT(*), COALESCE(SUM(price), 0) {events} {chosen.dates} AND event_name = 'Purchase'"
    )[0]
    assert _number(page, "purchases") == purchases
    assert _number(page, "revenue") == pytest.approx(float(revenue), abs=0.51)

    assert _rows(page, "types", "event_name", "events") == _sorted(
        ask(f"SELECT event_name, COUNT(*) {events} {chosen.where} GROUP BY 1")
    )
    step = "hour" if (chosen.last - chosen.first).days < 3 else "day"
    start = f"epoch_ms(date_trunc('{step}', event_timestamp)::TIMESTAMP)"
    assert _rows(page, "time", "start", "event_name", "events") == _sorted(
        ask(f"SELECT {start}, event_name, COUNT(*) {events} {chosen.where} GROUP BY 1, 2")
    )
    sold = ask(f"SELECT {start}, SUM(price)::DOUBLE {events} {chosen.dates} AND event_name = 'Purchase' GROUP BY 1")
    assert [row for row in _rows(page, "sales", "start", "revenue") if row[1]] == _sorted(sold)
    assert _rows(page, "states", "region", "events") == _sorted(
        ask(f"SELECT region, COUNT(*) {events} {chosen.where} AND country = 'US' AND region IS NOT NULL GROUP BY 1")
    )
    places = "concat_ws(', ', city, region, country)"
    assert _rows(page, "cities", "place", "events") == _sorted(
        ask(f"SELECT {places}, COUNT(*) {events} {chosen.where} AND latitude IS NOT NULL GROUP BY 1")
    )
    regions = ask(
        f"SELECT region || country, COUNT(*) {events} {chosen.where} "
        "AND region IS NOT NULL GROUP BY region, country ORDER BY 2 DESC"
    )
    shown = _bars(page, "regions")
    assert [number for _, number in shown] == [f"{count:,}" for _, count in regions[:10]]
    assert set(shown) <= {(name, f"{count:,}") for name, count in regions}
    for panel, name in {
        "products": "COALESCE('Product ' || product_id, 'Unknown product')",
        "pixels": "pixel_id",
    }.items():
        top = ask(
            f"SELECT {name} || COUNT(*) || ' sold', SUM(price)::DOUBLE AS revenue {events} {chosen.dates} "
            f"AND event_name = 'Purchase' GROUP BY {name} ORDER BY revenue DESC LIMIT 10"
        )
        assert _bars(page, panel) == [(text, f"{value:,.2f}") for text, value in top]
    assert _first_customers(page) == [
        tuple(f"{value:,}" for value in row)
        for row in ask(
            f"SELECT COUNT(*) FILTER (event_name = 'Search'), COUNT(*) FILTER (event_name = 'ViewContent'), "
            "COUNT(*) FILTER (event_name = 'AddToCart'), COUNT(*) FILTER (event_name = 'Purchase') "
            f"{events} {chosen.dates} GROUP BY user_id "
            f"ORDER BY COUNT(*) FILTER ({chosen.where}) DESC, user_id = (SELECT 0) LIMIT 1"
        )
    ]


def test_a_period_is_compared_with_the_one_before_it(open_page: OpenPage, ask: Ask) -> None:
    page = open_page("#days=7")
    now, then = ask(
        f"SELECT COUNT(*) FILTER (day > DATE '{LAST_DAY}' - 7), COUNT(*) FILTER (day <= DATE '{LAST_DAY}' - 7) "
        f"FROM (SELECT event_timestamp::DATE AS day FROM flattened_events) WHERE day > DATE '{LAST_DAY}' - 14"
    )[0]
    sold, sold_then = ask(
        f"SELECT SUM(price) FILTER (day > DATE '{LAST_DAY}' - 7), SUM(price) FILTER (day <= DATE '{LAST_DAY}' - 7) "
        "FROM (SELECT event_timestamp::DATE AS day, price FROM flattened_events WHERE event_name = 'Purchase') "
        f"WHERE day > DATE '{LAST_DAY}' - 14"
    )[0]
    for tile, share in {"events": now / then - 1, "revenue": float(sold / sold_then) - 1}.items():
        change = f"{'▲' if share > 0 else '▼'} {abs(share):.1%}" if abs(share) >= 0.0005 else "unchanged"
        assert page.locator(f"#{tile} .about").inner_text() == f"{change} from the 7 days before"
    assert "before" not in open_page("#days=30").locator("#events .about").inner_text()  # it lies before the tables


def test_users_are_shown_where_days_can_tell_them_and_as_an_average_elsewhere(open_page: OpenPage, ask: Ask) -> None:
    for days in (1, 7, 30):
        since = LAST_DAY - timedelta(days=days - 1)
        page = open_page(f"#days={days}")
        distinct = f"SELECT COUNT(DISTINCT user_id) FROM flattened_events WHERE event_timestamp >= DATE '{since}'"
        assert _number(page, "users") == ask(distinct)[0][0]
        assert "distinct" in page.locator("#users .about").inner_text()
    page = open_page()
    mean = ask("SELECT AVG(users) FROM daily_active_users")[0][0]
    assert _number(page, "users") == round(mean)
    everyone = ask("SELECT COUNT(DISTINCT user_id) FROM flattened_events")[0][0]
    assert page.locator("#users .about").inner_text() == f"a day on average; {everyone} seen for the first time"


@pytest.fixture(scope="module")
def quiet_address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A shop without events on the day before yesterday, some of whose users have no numbers."""
    folder = tmp_path_factory.mktemp("quiet")
    lake = DirectoryLake(folder / "lake")
    austin = {"country": "US", "region": "Texas", "city": "Austin", "latitude": 30.27, "longitude": -97.74}
    events = [event(user, day * 1440, **austin) for day in (0, -1, -3, -8) for user in ("10", "9a", "2", "ada")]
    make_tables(lake, DuckDBWarehouse(200_000_000, folder / "duckdb"), events)
    return _written(lake, folder / "dashboard.html")


def test_a_week_that_ends_without_events_has_users_all_the_same(open_page: OpenPage, quiet_address: str) -> None:
    page = open_page("#from=2026-11-12&to=2026-11-18", quiet_address)
    assert _number(page, "events") == 8
    assert _number(page, "users") == 1  # eight in seven days
    assert page.locator("#users .about").inner_text() == "a day on average; 4 seen for the first time"


def test_ids_that_are_no_numbers_come_after_those_that_are(open_page: OpenPage, quiet_address: str) -> None:
    panel = open_page(url=quiet_address).locator("#customers")
    for expected in (["2", "10", "9a", "ada"], ["ada", "9a", "10", "2"]):
        panel.get_by_role("columnheader").get_by_text("id", exact=True).click()
        assert panel.locator("tbody td:nth-child(2)").all_inner_texts() == expected


@pytest.mark.parametrize(
    ("chosen_days", "day"),
    [("#from=2020-01-01&to=2020-01-31", FIRST_DAY), ("#from=2030-01-01&to=2030-01-31", LAST_DAY)],
)
def test_an_address_of_days_that_the_tables_lack_shows_the_nearest(
    chosen_days: str, day: date, open_page: OpenPage, ask: Ask
) -> None:
    chosen = Filter(chosen_days, day, day)
    page = open_page(chosen_days)
    assert _number(page, "events") == ask(f"SELECT COUNT(*) FROM flattened_events WHERE {chosen.where}")[0][0]
    assert page.get_by_label("From", exact=True).input_value() == f"{day}"


def test_the_funnel_and_retention_are_those_of_the_users(open_page: OpenPage, ask: Ask) -> None:
    page = open_page("#days=30")
    day = "e.user_id = s.user_id AND e.event_timestamp::DATE = s.day"
    first = f"SELECT MIN(e.event_timestamp) FROM flattened_events e WHERE {day} AND e.event_name ="
    told = ask(
        "WITH seen AS (SELECT user_id, event_timestamp::DATE AS day, MIN(event_timestamp) AS viewed "
        "FROM flattened_events WHERE event_name = 'ViewContent' GROUP BY 1, 2), "
        f"carted AS (SELECT s.*, ({first} 'AddToCart' AND e.event_timestamp >= s.viewed) AS carted FROM seen s) "
        f"SELECT COUNT(*), COUNT(carted), COUNT(({first} 'Purchase' AND e.event_timestamp >= s.carted)) "
        f"FROM carted s WHERE day >= DATE '{LAST_DAY - timedelta(days=29)}'"
    )[0]
    assert page.locator("#funnel .number").all_inner_texts() == [f"{count:,}" for count in told]
    assert page.locator("#conversion .value").inner_text() == f"{told[2] / told[0]:.1%}"

    monday = "date_trunc('week', event_timestamp)"
    weeks = ask(
        f"WITH firsts AS (SELECT user_id, MIN({monday}) AS cohort FROM flattened_events GROUP BY 1) "
        f"SELECT strftime(cohort, '%Y-%m-%d'), datediff('week', cohort, {monday}), COUNT(DISTINCT user_id) "
        "FROM flattened_events JOIN firsts USING (user_id) GROUP BY 1, 2"
    )
    assert _rows(page, "retention", "begins", "week", "users") == _sorted(weeks)


def test_filters_are_chosen_by_keyboard_by_click_and_by_date(open_page: OpenPage, ask: Ask) -> None:
    page = open_page()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    _tab_to(page, "7 days")
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#days=7"
    _tab_to(page, "Search")
    page.keyboard.press("Space")
    expect(page.get_by_title("Show Search")).to_have_attribute("aria-pressed", "false")
    expect(page.get_by_title("Hide Purchase")).to_have_attribute("aria-pressed", "true")
    chosen = Filter("", LAST_DAY - timedelta(days=6), types=ACTIONS[1:])
    assert _number(page, "events") == ask(f"SELECT COUNT(*) FROM flattened_events WHERE {chosen.where}")[0][0]
    assert page.get_by_role("status").first.inner_text().endswith("events.")

    page.get_by_role("button", name="Reset").click()
    page.locator("#types .chart path[fill='var(--purchase)']").click()
    expect(page).to_have_url(re.compile("#types=Purchase$"))
    assert _number(page, "events") == _number(page, "purchases")
    page.locator("#types .legend button").click()
    assert page.evaluate("location.hash") == ""

    page.get_by_label("From", exact=True).fill("2026-11-02")
    page.get_by_label("to", exact=True).fill("2026-11-03")
    chosen = Filter("", date(2026, 11, 2), date(2026, 11, 3))
    assert _number(page, "events") == ask(f"SELECT COUNT(*) FROM flattened_events WHERE {chosen.where}")[0][0]
    page.reload()
    page.wait_for_selector("html[data-ready]")
    assert page.get_by_label("From", exact=True).input_value() == "2026-11-02"


def test_customers_are_searched_sorted_and_turned_by_keyboard(open_page: OpenPage, ask: Ask) -> None:
    page = open_page()
    panel = page.locator("#customers")
    panel.get_by_role("button", name="purchases").press("Enter")
    assert panel.locator("th[aria-sort=descending]").inner_text().lower().startswith("purchases")
    most = ask("SELECT SUM(purchases) FROM actions_by_customer GROUP BY user_id ORDER BY 1 DESC LIMIT 15")
    assert panel.locator("tbody tr td:nth-child(6)").all_inner_texts() == [str(row[0]) for row in most]
    panel.get_by_role("button", name="purchases").press("Enter")
    assert panel.locator("th[aria-sort=ascending]").count() == 1
    total = ask("SELECT COUNT(DISTINCT user_id) FROM actions_by_customer")[0][0]
    panel.get_by_role("button", name="Next").press("Enter")
    assert panel.get_by_role("status").inner_text() == f"16–30 of {total}"
    panel.get_by_role("searchbox").fill("hopper")
    named = ask("SELECT COUNT(DISTINCT user_id) FROM actions_by_customer WHERE name LIKE '%Hopper%'")[0][0]
    assert panel.get_by_role("status").inner_text() == f"1–15 of {named}"
    assert panel.locator("tbody tr").first.locator("td").first.inner_text() == "Grace <b>Hopper</b>"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nobody_is_shut_out(theme: str, open_page: OpenPage) -> None:
    page = open_page(color_scheme=theme)
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    for summary in page.locator("summary").all():
        summary.click()
    found = Axe().run(page, options={"resultTypes": ["violations"]})
    assert [(each["id"], each["nodes"][0]["target"]) for each in found.response["violations"]] == []
    charts = page.locator(".chart")
    assert charts.count() == 6
    assert all(len(text or "") > 20 for text in (chart.get_attribute("aria-label") for chart in charts.all()))
    assert all(chart.locator("table tbody tr").count() for chart in page.locator(".figure:has(.chart)").all())


def test_it_fits_a_phone(open_page: OpenPage) -> None:
    page = open_page()
    page.set_viewport_size({"width": 380, "height": 800})
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth") == 380
    right = "(found) => found.getBoundingClientRect().right"
    assert page.locator("#to").evaluate(right) <= page.locator("#cities").evaluate(right)


def test_it_is_printed_on_light_paper_without_its_controls(open_page: OpenPage) -> None:
    page = open_page(color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.locator(".filters").is_hidden()
    assert page.locator("#theme").is_hidden()
    page.wait_for_function("document.documentElement.dataset.theme === 'light'")
    assert page.locator("#time svg").is_visible()


def test_what_is_printed_stays_within_its_card(open_page: OpenPage) -> None:
    page = open_page()
    page.evaluate("Promise.all(Object.values(views)).then((all) => all.forEach((view) => view.finalize()))")
    page.set_viewport_size({"width": A4_WIDTH, "height": 1123})  # which charts do not hear of, as with paper
    page.emulate_media(media="print")
    leaving = """() => [...document.querySelectorAll("main svg, main table")].filter((drawn) => {
      const [box, card] = [drawn, drawn.closest(".panel, .tile")].map((each) => each.getBoundingClientRect());
      const isAcross = box.left < card.left || box.right > card.right;
      return box.width && (isAcross || box.top < card.top || box.bottom > card.bottom);
    }).map((drawn) => `${drawn.tagName} of ${drawn.closest(".panel, .tile").id}`)"""
    assert page.evaluate(leaving) == []
    assert page.evaluate("document.documentElement.scrollWidth") == A4_WIDTH


def test_a_theme_is_remembered(open_page: OpenPage) -> None:
    page = open_page(color_scheme="light")
    page.get_by_role("button", name="Dark theme").click()
    page.reload()
    page.wait_for_selector("html[data-ready]")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_a_burst_does_not_flatten_the_live_rate(open_page: OpenPage) -> None:
    page = open_page()
    assert page.evaluate("withoutBursts([900, ...Array(19).fill(4)])") == [5, *[4] * 19]
    assert page.evaluate("withoutBursts([0, 0, 3])") == [0, 0, 3]


def test_what_a_page_cannot_hold_is_added_up_and_said(tmp_path: Path, open_page: OpenPage) -> None:
    lake = DirectoryLake(tmp_path / "lake")
    make_large_tables(lake, customers=100_000, cities=10_000, days=400, rows_a_day=1_500)
    address = _written(lake, tmp_path / "large.html")
    assert (tmp_path / "large.html").stat().st_size <= MOST_BYTES < 2_000_000

    page = open_page(url=address)
    customers = page.locator("#customers")
    assert re.search(r"top [\d,]+ of 100,000 customers", customers.locator(".limits").inner_text())
    assert re.search(r"top [\d,]+ of 10,000 places", page.locator("#cities .limits").inner_text())
    with opened(lake, 450_000_000) as connection:
        statement = "SELECT SUM(searches), SUM(views), SUM(add_to_carts), SUM(purchases) FROM actions_by_customer"
        totals = connection.execute(statement).fetchall()[0]
    columns = ["searches", "views", "add_to_carts", "purchases"]
    rows = page.evaluate("(columns) => sumsByKey(content.tables.actions_by_customer, null, columns)", columns)
    assert tuple(sum(row[column] for row in rows) for column in columns) == totals


def _written(lake: DirectoryLake, file: Path) -> str:
    with opened(lake, 450_000_000) as connection:
        file.write_bytes(render(connection))
    return file.as_uri()


def _number(page: Page, tile: str) -> float:
    return float(page.locator(f"#{tile} .value").inner_text().replace(",", ""))


def _rows(page: Page, panel: str, *fields: str) -> list[tuple[Any, ...]]:
    """What the panel's view holds."""
    read = (
        "async ([panel, fields]) => (await views[panel]).data('rows').map((row) => fields.map((field) => row[field]))"
    )
    return _sorted(tuple(row) for row in page.evaluate(read, [panel, fields]))


def _bars(page: Page, panel: str) -> list[tuple[str, str]]:
    names = page.locator(f"#{panel} .bars .name").all_inner_texts()
    numbers = page.locator(f"#{panel} .bars .number").all_inner_texts()
    return list(zip(names, numbers, strict=True))


def _first_customers(page: Page) -> list[tuple[str, ...]]:
    cells = page.locator("#customers tbody tr").first.locator("td").all_inner_texts()
    return [tuple(cells[2:6])]


def _sorted(rows: Any) -> list[tuple[Any, ...]]:
    return sorted(tuple(row) for row in rows)


def _tab_to(page: Page, name: str) -> None:
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent.trim()") == name:
            return
    raise AssertionError(f"{name} is not reached by the keyboard")
