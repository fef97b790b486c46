"use strict";

/* The data: columns of sums by key and day, unpacked once and added up anew for every filter. */

const DAY = 86_400_000;

async function unpack(packed) {
  const bytes = Uint8Array.from(atob(packed), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const content = await new Response(stream).json();
  for (const table of Object.values(content.tables)) {
    table.start = Date.parse(table.since);
    runningSums(table.key);
    runningSums(table.at);
  }
  content.lastDay = Date.parse(content.until.slice(0, 10));
  content.firstDay = content.tables.events_by_type.start;
  return content;
}

function runningSums(values) {
  for (let row = 1; row < values.length; row++) values[row] += values[row - 1];
}

/* Sums of `measures` over a range of days, by key; `rest` is what all keys that the page does not hold add up to. */
function sumsByKey(table, range, measures) {
  const names = Object.keys(table.keys);
  const held = names.length ? table.keys[names[0]].length : 1;
  const sums = measures.map(() => new Float64Array(held + 1));
  const lastAt = new Int32Array(held + 1).fill(-1);
  eachRow(table, range, (row, key) => {
    measures.forEach((measure, index) => { sums[index][key] += table.sums[measure][row]; });
    lastAt[key] = table.at[row];
  });
  const rows = [];
  for (let key = 0; key <= held; key++) {
    if (lastAt[key] < 0) continue;
    const row = { key, isRest: key === held && names.length > 0, lastDay: table.start + lastAt[key] * DAY };
    names.forEach((name) => { row[name] = key < held ? table.keys[name][key] : null; });
    measures.forEach((measure, index) => { row[measure] = sums[index][key]; });
    rows.push(row);
  }
  return rows;
}

/* Sums by day or hour: a map from the start of each, in milliseconds, to the sums of each key. */
function sumsByTime(table, range, measure, step) {
  const found = new Map();
  eachRow(table, range, (row, key) => {
    const start = table.start + table.at[row] * step;
    if (!found.has(start)) found.set(start, new Map());
    const keys = found.get(start);
    keys.set(key, (keys.get(key) ?? 0) + table.sums[measure][row]);
  }, step);
  return found;
}

function total(table, range, measures) {
  let sum = 0;
  eachRow(table, range, (row) => { for (const measure of measures) sum += table.sums[measure][row]; });
  return sum;
}

function eachRow(table, range, visit, step = DAY) {
  const first = range ? (range.from - table.start) / step : -Infinity;
  const last = range ? (range.to + DAY - table.start) / step - 1 : Infinity;
  for (let row = 0; row < table.at.length; row++) {
    if (table.at[row] >= first && table.at[row] <= last) visit(row, table.key[row]);
  }
}

const daysOf = (range) => Math.round((range.to - range.from) / DAY) + 1;
const before = (range) => ({ from: range.from - daysOf(range) * DAY, to: range.from - DAY });

/* One way to write each kind of value. */
const WHOLE = new Intl.NumberFormat("en-US");
const SHORT = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 2 });
const MONEY = new Intl.NumberFormat("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const SHARE = new Intl.NumberFormat("en-US", { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });
const DATE = new Intl.DateTimeFormat("en-US", { dateStyle: "medium", timeZone: "UTC" });
const SHORT_DATE = new Intl.DateTimeFormat("en-US", { month: "short", day: "numeric", timeZone: "UTC" });
const MOMENT = new Intl.DateTimeFormat("en-US", { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone: "UTC" });
const isoDay = (moment) => new Date(moment).toISOString().slice(0, 10);
const share = (part, whole) => (whole ? SHARE.format(part / whole) : "–");
const big = (value) => (Math.abs(value) >= 10_000_000 ? SHORT.format(value) : WHOLE.format(Math.round(value)));
const money = (value) => (Math.abs(value) >= 1_000_000 ? SHORT.format(value) : value >= 10_000 ? WHOLE.format(Math.round(value)) : MONEY.format(value));
const rangeText = (range) => (range.from === range.to ? DATE.format(range.from) : `${DATE.format(range.from)} – ${DATE.format(range.to)}`);
