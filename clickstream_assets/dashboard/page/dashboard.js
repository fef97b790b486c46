"use strict";

/* The page: its filters, what every panel shows of them, and where it is served, newer data in place. */

const isServed = document.documentElement.hasAttribute("data-served");
const PRESETS = [["1 day", 1], ["7 days", 7], ["30 days", 30], ["90 days", 90], ["All", Infinity]];
const REFRESH_MILLISECONDS = 15_000;
const LIVE_MILLISECONDS = 2_000;
const HOUR = 3_600_000;

const state = { days: Infinity, from: 0, to: 0, types: new Set(actions) };
let content;
let customers;

const table = (name) => content.tables[name];
const range = () => ({ from: state.from, to: state.to });
const isAllTypes = () => state.types.size === actions.length;
const chosenColumns = () => actions.filter((action) => state.types.has(action)).map((action) => declared.actions[action]);
const typesText = () => (isAllTypes() ? "all event types" : actions.filter((action) => state.types.has(action)).join(", "));
const placeText = (...parts) => parts.filter(Boolean).join(", ") || "Unknown place";

/* Distinct users do not add up over days, so only the table's own spans are shown as such. */
function usersTile() {
  const users = table("daily_active_users");
  const column = { 1: "users", 7: "users_7_days", 30: "users_30_days" }[daysOf(range())];
  const distinct = column && total(users, { from: state.to, to: state.to }, [column]);
  const line = timeline(users, "users");
  if (distinct) return tile("users", big(distinct), "distinct, seen in these days", line);  // a day without events has no row
  const mean = total(users, range(), ["users"]) / daysOf(range());
  const firstSeen = total(table("new_and_returning_users"), range(), ["new_users"]);
  tile("users", big(mean), `a day on average; ${WHOLE.format(firstSeen)} seen for the first time`, line);
}

function timeline(source, ...measures) {
  const days = daysOf(range());
  const sums = new Float64Array(days);
  eachRow(source, range(), (row) => { for (const measure of measures) sums[(source.start - state.from) / DAY + source.at[row]] += source.sums[measure][row]; });
  return [...sums];
}

/* How whole days compare with as many before them. The newest day is whole once events of its last hour are in. */
function comparison(count) {
  const isCut = state.to === content.lastDay && Number(content.until.slice(11, 13)) < 23;
  const whole = { from: state.from, to: isCut ? state.to - DAY : state.to };
  const earlier = before(whole);
  if (whole.from > whole.to || earlier.from < content.firstDay) return "";
  const [now, then] = [count(whole), count(earlier)];
  if (!then) return "";
  const days = daysOf(whole);
  const span = days === 1 ? "the day before" : `the ${days} days before`;
  const change = now / then - 1;
  const shown = Math.abs(change) < 0.0005 ? ["", "unchanged"] : change > 0 ? ["up", `▲ ${SHARE.format(change)}`] : ["down", `▼ ${SHARE.format(-change)}`];
  return [element("span", { class: shown[0] }, shown[1]), ` from ${span}${isCut ? ", whole days" : ""}`];
}

function tiles() {
  const regions = table("events_by_region");
  const counted = (period) => total(regions, period, chosenColumns());
  tile("events", big(counted(range())), comparison(counted) || typesText(), timeline(regions, ...chosenColumns()));
  usersTile();
  const bought = (period) => total(regions, period, ["purchases"]);
  tile("purchases", big(bought(range())), comparison(bought) || "whatever types are selected", timeline(regions, "purchases"));
  const earned = (period) => total(regions, period, ["revenue"]) / 100;
  tile("revenue", money(earned(range())), comparison(earned) || "whatever types are selected", timeline(regions, "revenue"));
  const funnelTable = table("hourly_funnel");
  const buyers = timeline(funnelTable, "buyers");
  const line = timeline(funnelTable, "viewers").map((viewers, day) => (viewers ? buyers[day] / viewers : 0));
  tile("conversion", share(total(funnelTable, range(), ["buyers"]), total(funnelTable, range(), ["viewers"])), "of viewers carted, then bought, the same day", line);
}

/* Hours where the page holds them and they can be told apart, else days. */
function timeStep() {
  const isHourly = daysOf(range()) <= 3 && state.from >= table("events_by_hour").start;
  return isHourly ? { step: HOUR, unit: "hour", write: (start) => `${MOMENT.format(start)} UTC` } : { step: DAY, unit: "day", write: (start) => DATE.format(start) };
}

function eventsOverTime() {
  const { step, unit, write } = timeStep();
  const source = table(step === HOUR ? "events_by_hour" : "events_by_type");
  const rows = [];
  for (const [start, sums] of sumsByTime(source, range(), "events", step)) {
    let low = 0;
    for (const event_name of actions) {
      const events = sums.get(source.keys.event_name.indexOf(event_name));
      if (!events || !state.types.has(event_name)) continue;
      rows.push({ start, end: start + step * 0.88, when: write(start), event_name, events, low, high: low + events });
      low += events;
    }
  }
  rows.sort((one, other) => one.start - other.start || one.low - other.low);
  say("time", `By ${unit}, ${typesText()}`);
  const all = rows.reduce((sum, row) => sum + row.events, 0);
  plot("time", rows, `Bars: ${WHOLE.format(all)} events by ${unit} and type, ${rangeText(range())}.`,
    [[unit, (row) => row.when, true], ["type", (row) => row.event_name, true], ["events", (row) => WHOLE.format(row.events)]]);
  key("time", actions.filter((action) => state.types.has(action)).map((action) => [`var(--${action.toLowerCase()})`, action]));
}

function revenueOverTime() {
  const { step, unit, write } = timeStep();
  const source = table(step === HOUR ? "events_by_hour" : "events_by_region");
  const rows = [...sumsByTime(source, range(), "revenue", step)]
    .map(([start, sums]) => ({ start, end: start + step * 0.88, when: write(start), low: 0, high: [...sums.values()].reduce((sum, cents) => sum + cents, 0) / 100 }))
    .map((row) => ({ ...row, revenue: row.high }))
    .sort((one, other) => one.start - other.start);
  say("sales", `By ${unit}; purchases, whatever types are selected`);
  const all = rows.reduce((sum, row) => sum + row.revenue, 0);
  plot("sales", rows, `Bars: revenue of ${MONEY.format(all)} by ${unit}, ${rangeText(range())}.`, [[unit, (row) => row.when, true], ["revenue", (row) => MONEY.format(row.revenue)]]);
}

function eventTypes() {
  const source = table("events_by_type");
  const found = sumsByKey(source, range(), ["events"]);
  const chosen = actions.map((event_name, order) => ({ event_name, order, events: found.find((row) => row.event_name === event_name)?.events ?? 0 })).filter((row) => state.types.has(row.event_name));
  const all = chosen.reduce((sum, row) => sum + row.events, 0);
  const rows = chosen.map((row) => ({ ...row, share: all ? row.events / all : 0 }));
  say("types", "Select a type to see it alone");
  const told = rows.map((row) => `${row.event_name} ${share(row.events, all)}`).join(", ");
  plot("types", rows, `Donut: ${told} of ${WHOLE.format(all)} events.`, [["type", (row) => row.event_name, true], ["events", (row) => WHOLE.format(row.events)], ["share", (row) => share(row.events, all)]], (datum) => alone(datum.event_name));
  let legend = part("types", "figure").querySelector(".legend");
  if (!legend) part("types", "figure").querySelector(".chart").after(legend = element("ul", { class: "legend" }));
  if (legend.contains(document.activeElement)) legend.focused = document.activeElement.dataset.type;
  legend.replaceChildren(...rows.map((row) => element("li", {}, element("button", { type: "button", "data-type": row.event_name, title: "This type alone, or all again", onclick: () => alone(row.event_name) },
    swatch(row.event_name), element("span", {}, row.event_name), element("span", { class: "number" }, WHOLE.format(row.events)), element("span", { class: "share" }, share(row.events, all))))));
  if (legend.focused) legend.querySelector(`[data-type="${legend.focused}"]`)?.focus();
  legend.focused = null;
}

function funnelPanel() {
  const [viewers, carters, buyers] = ["viewers", "carters", "buyers"].map((measure) => total(table("hourly_funnel"), range(), [measure]));
  say("funnel", `${share(buyers, viewers)} of viewers bought; all event types`);
  funnel("funnel", [
    { title: "Viewers", users: viewers, action: "ViewContent" },
    { title: "Carters", users: carters, action: "AddToCart", passed: "of viewers put something in a cart" },
    { title: "Buyers", users: buyers, action: "Purchase", passed: "of carters bought" },
  ]);
}

const regionRows = () => sumsByKey(table("events_by_region"), range(), chosenColumns()).map((row) => ({ ...row, events: chosenColumns().reduce((sum, column) => sum + row[column], 0) })).filter((row) => row.events);
const heldText = (source, noun, rest) => (source.total > firstKeys(source).length ? `Holds the top ${WHOLE.format(firstKeys(source).length)} of ${WHOLE.format(source.total)} ${noun} of the whole period; all others make ${rest}.` : "");
const firstKeys = (source) => Object.values(source.keys)[0];

function statesAndRegions() {
  const source = table("events_by_region");
  const found = regionRows();
  const all = found.reduce((sum, row) => sum + row.events, 0);
  const rest = found.find((row) => row.isRest)?.events ?? 0;
  const inStates = found.filter((row) => row.country === "US" && row.region);
  const without = found.find((row) => row.country === "US" && !row.region && !row.isRest)?.events ?? 0;
  const named = inStates.reduce((sum, row) => sum + row.events, 0);
  const rows = inStates.map((row) => ({ region: row.region, events: row.events, share: row.events / named })).sort((one, other) => other.events - one.events);
  say("states", `${WHOLE.format(named)} events with a state, ${typesText()}`);
  const told = rows.slice(0, 3).map((row) => `${row.region} ${WHOLE.format(row.events)}`).join(", ");
  plot("states", rows, `Map of ${rows.length} US states by events; most in ${told || "none"}.`, [["state", (row) => row.region, true], ["events", (row) => WHOLE.format(row.events)], ["share", (row) => share(row.events, named)]]).then(stateClasses);
  limit("states", without && `${WHOLE.format(without)} US events have no state.`, heldText(source, "regions", `${WHOLE.format(rest)} events`));
  const top = found.filter((row) => !row.isRest && row.region).sort((one, other) => other.events - one.events || one.key - other.key).slice(0, 10);
  say("regions", `Events, ${typesText()}`);
  bars("regions", top, "events", WHOLE.format, (row) => [row.region, row.country ?? ""]);
  const unknown = found.filter((row) => !row.isRest && !row.region).reduce((sum, row) => sum + row.events, 0);
  const shown = top.reduce((sum, row) => sum + row.events, 0);
  limit("regions", `${share(shown, all)} of all events.`, unknown && `${WHOLE.format(unknown)} have no region.`, heldText(source, "regions", `${WHOLE.format(rest)} events`));
}

/* Sixths of the states; where many are alike, fewer classes. */
function stateClasses(view) {
  const ends = view.scale("color").quantiles();
  const shown = ends.map((end, index) => [`var(--shade-${index + 1})`, end < 1 ? "none" : `to ${WHOLE.format(Math.floor(end))}`]).filter(([, text], index, all) => text !== all[index + 1]?.[1]);
  key("states", [...shown, ["var(--shade-6)", "more"]]);
}

function cities() {
  const source = table("events_by_city");
  const found = sumsByKey(source, range(), chosenColumns()).map((row) => ({ ...row, events: chosenColumns().reduce((sum, column) => sum + row[column], 0) })).filter((row) => row.events);
  const rows = found.filter((row) => row.latitude !== null && !row.isRest).map((row) => ({ place: placeText(row.city, row.region, row.country), events: row.events, latitude: row.latitude, longitude: row.longitude })).sort((one, other) => other.events - one.events);
  const all = found.reduce((sum, row) => sum + row.events, 0);
  const placed = rows.reduce((sum, row) => sum + row.events, 0);
  say("cities", `${WHOLE.format(placed)} events in ${WHOLE.format(rows.length)} places, ${typesText()}`);
  const told = rows.slice(0, 3).map((row) => `${row.place} ${WHOLE.format(row.events)}`).join("; ");
  plot("cities", rows, `World map of ${WHOLE.format(rows.length)} places by events; most in ${told || "none"}.`, [["place", (row) => row.place, true], ["events", (row) => WHOLE.format(row.events)]]);
  const rest = found.find((row) => row.isRest)?.events ?? 0;
  const nowhere = all - placed - rest;
  limit("cities", nowhere && `${WHOLE.format(nowhere)} events have no place.`, heldText(source, "places", `${WHOLE.format(rest)} events, not on the map`));
}

function revenueBy(panel, noun, name) {
  const source = table(declared.panels[panel].table);
  const found = sumsByKey(source, range(), ["revenue", "purchases"]).map((row) => ({ ...row, revenue: row.revenue / 100 })).filter((row) => row.revenue || row.purchases);
  const top = found.filter((row) => !row.isRest).sort((one, other) => other.revenue - one.revenue || one.key - other.key).slice(0, 10);
  const all = found.reduce((sum, row) => sum + row.revenue, 0);
  const rest = found.find((row) => row.isRest)?.revenue ?? 0;
  say(panel, "Top 10; purchases, whatever types are selected");
  bars(panel, top, "revenue", MONEY.format, (row) => [name(row), `${WHOLE.format(row.purchases)} sold`]);
  limit(panel, `${share(top.reduce((sum, row) => sum + row.revenue, 0), all)} of all revenue.`, heldText(source, noun, MONEY.format(rest)));
}

function retention() {
  const source = table("cohort_retention");
  const found = sumsByKey(source, null, ["users"]).filter((row) => Date.parse(row.cohort_week) >= source.start - 6 * DAY).filter((row) => row.week >= 0);
  const sizes = new Map(found.filter((row) => row.week === 0).map((row) => [row.cohort_week, row.users]));
  const rows = found.filter((row) => sizes.has(row.cohort_week)).map((row) => {
    const of = sizes.get(row.cohort_week);
    return { cohort_week: `${SHORT_DATE.format(Date.parse(row.cohort_week))} · ${WHOLE.format(of)} users`, begins: row.cohort_week, week: row.week, users: row.users, of, share: row.users / of, retained: `${Math.round((100 * row.users) / of)}%` };
  }).sort((one, other) => one.begins.localeCompare(other.begins) || one.week - other.week);
  const { style } = part("retention", "figure");
  style.setProperty("--columns", new Set(rows.map((row) => row.week)).size);
  style.setProperty("--rows", sizes.size);
  say("retention", "Whole period: follows neither dates nor event types");
  plot("retention", rows, `Heat map: ${sizes.size} weeks of new users, and how many were seen again in each week after.`, [["first week", (row) => row.cohort_week, true], ["week", (row) => WHOLE.format(row.week)], ["users", (row) => WHOLE.format(row.users)], ["of", (row) => WHOLE.format(row.of)], ["retained", (row) => share(row.users, row.of)]]);
}

function customersTable() {
  const source = table("actions_by_customer");
  const columns = Object.values(declared.actions);
  const counted = (row) => ({ ...row, revenue: row.revenue / 100, events: chosenColumns().reduce((sum, column) => sum + row[column], 0) });
  const found = sumsByKey(source, range(), [...columns, "revenue"]).map(counted).filter((row) => row.events);
  const count = (measure) => [(row) => WHOLE.format(row[measure]), false, (row) => row[measure]];
  const beyond = source.total - firstKeys(source).length;
  customers ??= new SortedTable("customers", [
    ["customer", (row) => (row.isRest ? "All others" : row.name ?? "Unknown"), true, (row) => row.name],
    ["id", (row) => (row.isRest ? "" : row.user_id), true, (row) => (Number.isNaN(Number(row.user_id)) ? row.user_id : Number(row.user_id))],
    ["searches", ...count("searches")], ["views", ...count("views")], ["carts", ...count("add_to_carts")], ["purchases", ...count("purchases")],
    ["events", ...count("events")],
    ["revenue", (row) => MONEY.format(row.revenue), false, (row) => row.revenue],
    ["last seen", (row) => DATE.format(row.lastDay), false, (row) => row.lastDay],
  ], (row) => `${row.name ?? ""} ${row.user_id}`.toLowerCase());
  customers.show(found.filter((row) => !row.isRest), found.find((row) => row.isRest));
  say("customers", `Who was active, ${rangeText(range())}; ${typesText()}`);
  limit("customers", heldText(source, "customers", `the last line, ${WHOLE.format(beyond)} customers`));
}

function draw() {
  document.getElementById("period").textContent = `${rangeText(range())} · newest event ${MOMENT.format(Date.parse(`${content.until}Z`))} UTC`;
  controls();
  for (const show of [tiles, eventsOverTime, eventTypes, funnelPanel, revenueOverTime, statesAndRegions, cities, retention, customersTable]) show();
  revenueBy("products", "products", (row) => (row.product_id === null ? "Unknown product" : `Product ${row.product_id}`));
  revenueBy("pixels", "pixels", (row) => row.pixel_id ?? "Unknown pixel");
  if (!isServed) tile("live", SHORT_DATE.format(content.lastDay), `${content.until.slice(0, 4)}, ${content.until.slice(11, 16)} UTC. A copy; the served page has the live rate.`);
}

/* Filters. What is chosen stands in the address, so that it can be shared, and outlives a reload. */

function controls() {
  const days = daysOf({ from: content.firstDay, to: content.lastDay });
  document.getElementById("presets").querySelectorAll("button").forEach((button) => {
    const wanted = Number(button.dataset.days);
    button.setAttribute("aria-pressed", String(state.days === wanted));
    button.title = wanted > days && wanted < Infinity ? `The tables hold ${days} days` : "";
  });
  document.getElementById("chips").querySelectorAll("button").forEach((button) => {
    const isShown = state.types.has(button.dataset.type);
    button.setAttribute("aria-pressed", String(isShown));
    button.title = isShown && state.types.size === 1 ? "Show all types" : `${isShown ? "Hide" : "Show"} ${button.dataset.type}`;
  });
  for (const name of ["from", "to"]) {
    const field = document.getElementById(name);
    field.min = isoDay(content.firstDay);
    field.max = isoDay(content.lastDay);
    field.value = isoDay(state[name]);
  }
}

function chooseDays(days) {
  state.days = days;
  state.to = content.lastDay;
  state.from = Math.max(content.firstDay, state.to - (days - 1) * DAY);
}

function chooseDates() {
  const [from, to] = ["from", "to"].map((name) => Date.parse(document.getElementById(name).value));
  if (Number.isNaN(from) || Number.isNaN(to)) return;
  chooseFrom(Math.min(from, to), Math.max(from, to));
  changed();
}

/* Whole days that the tables hold: an address may be older than they are. */
function chooseFrom(from, to) {
  const held = (moment) => Math.min(Math.max(Math.floor(moment / DAY) * DAY, content.firstDay), content.lastDay);
  Object.assign(state, { days: 0, from: held(from), to: held(to) });
}

function alone(type) {
  state.types = state.types.size === 1 && state.types.has(type) ? new Set(actions) : new Set([type]);
  changed();
}

function toggleType(type) {
  if (!state.types.delete(type)) state.types.add(type);
  if (!state.types.size) state.types = new Set(actions);
  changed();
}

function changed() {
  const told = new URLSearchParams();
  if (state.days) { if (state.days < Infinity) told.set("days", state.days); } else { told.set("from", isoDay(state.from)); told.set("to", isoDay(state.to)); }
  if (!isAllTypes()) told.set("types", [...state.types].join(","));
  history.replaceState(null, "", `#${told}`);
  draw();
  document.getElementById("status").textContent = `${rangeText(range())}, ${typesText()}: ${document.querySelector("#events .value").textContent} events.`;
}

function restore() {
  const told = new URLSearchParams(location.hash.slice(1));
  const types = (told.get("types") ?? "").split(",").filter((type) => actions.includes(type));
  if (types.length) state.types = new Set(types);
  const [from, to] = [Date.parse(told.get("from")), Date.parse(told.get("to"))];
  if (from <= to) chooseFrom(from, to);
  else chooseDays(PRESETS.map(([, days]) => days).find((days) => days === Number(told.get("days"))) ?? Infinity);
}

function buildControls() {
  document.getElementById("presets").append(...PRESETS.map(([title, days]) => element("button", { type: "button", "data-days": String(days), onclick: () => { chooseDays(days); changed(); } }, title)));
  document.getElementById("chips").append(...actions.map((type) => element("button", { type: "button", "data-type": type, onclick: () => toggleType(type) }, swatch(type), type)));
  for (const name of ["from", "to"]) document.getElementById(name).addEventListener("change", chooseDates);
  document.querySelector(".filters").addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("reset").addEventListener("click", () => { state.types = new Set(actions); chooseDays(Infinity); changed(); });
  document.getElementById("live-title").textContent = isServed ? "Live" : "Data until";
}

/* Light or dark: as the system has it until the reader says otherwise; paper is always light. */

function themes() {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const paper = matchMedia("print");
  const button = document.getElementById("theme");
  const remembered = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
  const wanted = () => remembered() ?? (system.matches ? "dark" : "light");
  const show = () => {
    document.documentElement.dataset.theme = paper.matches ? "light" : wanted();
    button.textContent = wanted() === "dark" ? "Light theme" : "Dark theme";
  };
  button.addEventListener("click", () => {
    try { localStorage.setItem("theme", wanted() === "dark" ? "light" : "dark"); } catch { /* not remembered */ }
    show();
  });
  system.addEventListener("change", show);
  paper.addEventListener("change", show);
  show();
}

/* Newer data and the live rate, where the page is served. */

async function refresh() {
  const answer = await fetch("data", { headers: { accept: "text/plain" } });
  if (!answer.ok) return;
  const packed = await answer.text();
  if (packed === refresh.shown) return;
  refresh.shown = packed;
  content = await unpack(packed);
  if (state.days) chooseDays(state.days);
  draw();
}

async function showRate() {
  const answer = await fetch("live");
  if (!answer.ok) throw new Error(answer.statusText);
  const { rates } = await answer.json();
  const rate = rates.at(-1);
  const pulse = element("span", { class: "pulse", "aria-hidden": "true" });
  if (rate === undefined) tile("live", "–", "the collector does not answer");
  else tile("live", element("span", {}, pulse, `${WHOLE.format(Math.round(rate * 10) / 10)}/s`), "events accepted a second", withoutBursts(rates));
}

/* A short burst, as of a backlog, reaches the top of the line and leaves the rest its height. */
function withoutBursts(rates) {
  const usual = [...rates].sort((one, other) => one - other)[Math.floor(0.9 * rates.length)];
  return usual ? rates.map((rate) => Math.min(rate, 1.25 * usual)) : rates;
}

function repeat(task, milliseconds, failed) {
  const again = () => task().catch(failed).finally(() => setTimeout(again, milliseconds));
  again();
}

async function start() {
  themes();
  buildControls();
  refresh.shown = document.getElementById("data").textContent;
  content = await unpack(refresh.shown);
  restore();
  draw();
  await Promise.all(Object.values(views));
  document.documentElement.dataset.ready = "yes";
  if (isServed) {
    const unreachable = () => tile("live", "–", "the platform does not answer");
    repeat(refresh, REFRESH_MILLISECONDS, unreachable);
    repeat(showRate, LIVE_MILLISECONDS, unreachable);
  }
}

start();
