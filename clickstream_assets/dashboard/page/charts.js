"use strict";

/* How each kind of panel is drawn: by Vega where a mark needs a scale or a map, else by plain elements. */

const declared = JSON.parse(document.getElementById("declared").textContent);
const actions = Object.keys(declared.actions);
const views = {};
const config = {
  aria: false, mark: { aria: false }, background: "transparent", font: "system-ui, sans-serif", view: { stroke: null },
  axis: { aria: false, labelColor: "var(--quiet)", titleColor: "var(--quiet)", gridColor: "var(--grid)", domainColor: "var(--line)", tickColor: "var(--line)",
    labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal", labelPadding: 6, labelOverlap: true },
  axisY: { domain: false, ticks: false },
  legend: { aria: false, labelColor: "var(--quiet)", labelFontSize: 12, symbolStrokeColor: "var(--quiet)", symbolStrokeWidth: 1, offset: 6 },
  text: { font: "system-ui, sans-serif", fill: "var(--ink)" },
};

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") made.className = value;
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key === "width") made.style.width = value;
    else if (key === "colour") made.style.background = value;
    else if (value !== false && value !== null) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

const swatch = (action) => element("span", { class: "swatch", colour: `var(--${action.toLowerCase()})`, "aria-hidden": "true" });
const part = (panel, name) => document.querySelector(`#${panel} .${name}`);
const say = (panel, text) => { part(panel, "about").textContent = text; };
const limit = (panel, ...texts) => { part(panel, "limits").textContent = texts.filter(Boolean).join(" "); };

/* Show rows in a panel that Vega draws. `described` is what a person who cannot see it is told; `columns` are those of
   the table below it: a title, and how a row's cell is written. */
async function plot(panel, rows, described, columns, onclick) {
  const figure = part(panel, "figure");
  if (!views[panel]) {
    const canvas = element("div", { class: "canvas" });
    figure.prepend(element("div", { class: "chart", role: "img" }, canvas));  // Vega describes its own element anew
    views[panel] = vegaEmbed(canvas, { ...declared.specs[panel], datasets: { rows } }, {
      actions: false, ast: true, renderer: "svg", defaultStyle: false, config, tooltip: { disableDefaultStyle: true },
    }).then(({ view }) => {
      if (onclick) view.addEventListener("click", (_event, item) => { if (item?.datum) onclick(item.datum); });
      return view;
    });
  }
  figure.querySelector(".chart").setAttribute("aria-label", described);
  tableBelow(figure, rows, columns);
  const view = await views[panel];
  return view.data("rows", rows).resize().runAsync();
}

function tableBelow(figure, rows, columns) {
  let details = figure.querySelector("details");
  if (!details) {
    details = element("details", { class: "as-table" }, element("summary", {}, "Show as table"));
    details.addEventListener("toggle", () => details.fill());
    figure.append(details);
  }
  details.fill = () => {
    details.querySelector(".scroll")?.remove();
    if (details.open) details.append(element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${figure.closest(".panel").querySelector("h2").textContent}: numbers` }, plainTable(columns, rows)));
  };
  details.fill();
}

/* What stands for what, below a chart: pairs of a colour and a text. */
function key(panel, pairs) {
  const figure = part(panel, "figure");
  let list = figure.querySelector(".key-line");
  if (!list) figure.querySelector(".chart").after(list = element("ul", { class: "key-line", "aria-hidden": "true" }));
  list.replaceChildren(...pairs.map(([colour, text]) => element("li", {}, element("span", { class: "swatch", colour }), text)));
}

function plainTable(columns, rows) {
  const head = element("tr", {}, ...columns.map(([title, , isText]) => element("th", { scope: "col", class: isText ? "text" : null }, title)));
  const body = rows.map((row) => element("tr", {}, ...columns.map(([, cell, isText]) => element("td", { class: isText ? "text" : null }, cell(row)))));
  return element("table", {}, element("thead", {}, head), element("tbody", {}, ...body));
}

function bars(panel, rows, measure, write, name) {
  const most = Math.max(...rows.map((row) => row[measure]), 1);
  const items = rows.map((row) => {
    const [main, more] = name(row);
    return element("li", {},
      element("span", { class: "name", title: main }, main, ...(more ? [element("small", {}, more)] : [])),
      element("span", { class: "number" }, write(row[measure])),
      element("span", { class: "track", "aria-hidden": "true" }, element("span", { class: "bar", width: `${(100 * row[measure]) / most}%` })));
  });
  part(panel, "figure").replaceChildren(rows.length ? element("ol", { class: "bars" }, ...items) : nothing());
}

function funnel(panel, steps) {
  const most = steps[0].users || 1;
  const items = steps.flatMap((step, index) => {
    const shown = element("li", { class: "step" },
      element("span", {}, step.title),
      element("span", { class: "number" }, WHOLE.format(step.users)),
      element("span", { class: "track", "aria-hidden": "true" }, element("span", { class: "bar", width: `${(100 * step.users) / most}%`, colour: `var(--${step.action.toLowerCase()})` })));
    if (!index) return [shown];
    const passed = element("li", { class: "passed" }, element("span", { "aria-hidden": "true" }, "↓"), element("span", {}, element("b", {}, share(step.users, steps[index - 1].users)), ` ${step.passed}`));
    return [passed, shown];
  });
  part(panel, "figure").replaceChildren(element("ol", { class: "steps" }, ...items));
}

function tile(name, value, about, line = []) {
  const article = document.getElementById(name);
  article.querySelector(".value").replaceChildren(value);
  article.querySelector(".about").replaceChildren(...[about].flat());
  article.querySelector(".spark")?.remove();
  if (line.length > 1) article.append(sparkline(line));
}

function sparkline(values) {
  const most = Math.max(...values, 1e-9);
  const points = values.map((value, index) => `${((100 * index) / (values.length - 1)).toFixed(2)},${(30 - (28 * value) / most).toFixed(2)}`);
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "spark");
  svg.setAttribute("viewBox", "0 0 100 30");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  for (const [className, path] of [["under", `M0,30 L${points.join(" L")} L100,30 Z`], ["", `M${points.join(" L")}`]]) {
    const drawn = document.createElementNS("http://www.w3.org/2000/svg", "path");
    if (className) drawn.setAttribute("class", className);
    drawn.setAttribute("d", path);
    svg.append(drawn);
  }
  return svg;
}

const nothing = () => element("p", { class: "nothing" }, "Nothing in this selection.");

/* A table that is searched, sorted by its headings, and shown by pages. It keeps all of that when its rows change. */
class SortedTable {
  constructor(panel, columns, search) {
    this.columns = columns;
    this.search = search;
    this.sortedBy = columns.find(([title]) => title === "events");
    this.isDescending = true;
    this.page = 0;
    this.field = element("input", { type: "search", placeholder: "Search name or id", "aria-label": "Search customers", oninput: () => { this.page = 0; this.draw(); } });
    this.previous = element("button", { type: "button", class: "quiet", onclick: () => this.turn(-1) }, "Previous");
    this.next = element("button", { type: "button", class: "quiet", onclick: () => this.turn(1) }, "Next");
    this.where = element("span", { role: "status" });
    this.heads = columns.map((column) => element("th", { scope: "col", class: column[2] ? "text" : null }, element("button", { type: "button", onclick: () => this.sort(column) }, column[0])));
    this.body = element("tbody");
    const table = element("table", {}, element("thead", {}, element("tr", {}, ...this.heads)), this.body);
    part(panel, "figure").replaceChildren(
      element("div", { class: "tools" }, this.field, element("span", { class: "pages" }, this.where, this.previous, this.next)),
      element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Customers" }, table));
  }

  show(rows, rest) {
    this.rows = rows;
    this.rest = rest;
    this.draw();
  }

  sort(column) {
    this.isDescending = this.sortedBy === column ? !this.isDescending : !column[2];
    this.sortedBy = column;
    this.page = 0;
    this.draw();
  }

  turn(pages) {
    this.page += pages;
    this.draw();
  }

  draw() {
    const wanted = this.field.value.trim().toLowerCase();
    const value = this.sortedBy[3];
    const direction = this.isDescending ? -1 : 1;
    const found = this.rows.filter((row) => this.search(row).includes(wanted)).sort((one, other) => {
      const [first, second] = [value(one), value(other)];
      if (first === second) return one.key - other.key;
      if (first === null || second === null) return first === null ? 1 : -1;
      if (typeof first !== typeof second) return typeof first === "number" ? -direction : direction;
      return direction * (typeof first === "string" ? first.localeCompare(second, "en") : first - second);
    });
    this.page = Math.max(0, Math.min(this.page, Math.ceil(found.length / 15) - 1));
    const first = this.page * 15;
    const shown = found.slice(first, first + 15);
    this.where.textContent = found.length ? `${first + 1}–${first + shown.length} of ${WHOLE.format(found.length)}` : "none found";
    this.previous.disabled = !this.page;
    this.next.disabled = first + 15 >= found.length;
    this.heads.forEach((head, index) => {
      if (this.columns[index] === this.sortedBy) head.setAttribute("aria-sort", this.isDescending ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    const line = (row, className) => element("tr", { class: className }, ...this.columns.map(([, cell, isText]) => element("td", { class: isText ? "text" : null }, cell(row))));
    this.body.replaceChildren(...shown.map((row) => line(row, null)), ...(this.rest && !wanted ? [line(this.rest, "rest")] : []));
  }
}
