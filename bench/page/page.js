"use strict";
/* The page of `muninn report`: the filters and the frame that figures are drawn in.
 *
 * The scripts of this folder are put behind each other, in the order of CMakeLists.txt, into one: all names are shared.
 * page.js is the first, rows.js has the rows and what is derived from them, start.js, which draws everything, is the
 * last.
 *
 * To add a figure: one function in one file of this folder, and the file's name in the list `report_scripts` of
 * CMakeLists.txt (in front of table.js; the figures appear in that order). To add a kind of rows: a line in KINDS of
 * rows.js, where the shapes of all kinds are.
 *
 *     figure("convergence", "Convergence", "One paragraph: what is on the axes, what to look for.", (box, view) => {
 *         const rows = view.of("trace").filter((row) => has(row, "kl", isList));     // rows whose `bench` is "trace",
 * as filtered note(box, leftOut(view.of("trace"), rows, "kl"));                            // says what is missing and
 * why; never guess facets(box, conditions(rows, ["device", "model", "num_steps"]), (panel, group, width) => { const p =
 * plot(panel, {width, height: 240, x: {label: "step", domain: [0, 32]}, y: {label: "KL", domain: [0, 8]}}); p.line([[0,
 * 7], [32, 0.1]], "s1");                                       // no tooltip p.dot(4, 2.5, "s1", ["token 'a'", ["step",
 * "4"], ["KL", "2.5"]]);        // a mark with a tooltip, reachable by keyboard p.cell(...) // heat maps: axes {bands:
 * [...]}; ramp(0..1) gives the colour
 *         });
 *     });
 *
 * A figure without data calls note() and returns: what has drawn nothing is left out of the page, its title and its
 * notes are in one line at the end. Marks carry the class `mark`, which the tests count. Classes s1..s7 are categorical
 * colours, q0..q7 ordered ones, for light, dark and paper. The frame does the rest: an anchor (#figure-convergence),
 * files of it as SVG and CSV (save.js: a line per mark, from its tooltip; tipOf(row, lines) adds the row's own values),
 * and a table instead of plots with a single mark. A heat map has a scale of its own in every panel, whose range
 * rampLegend() says there. choose() opens on the entry given: that of bestSetting(rows) where it chooses among
 * settings. The class of rows whose tokens are not ar's is lossyClass(row), "lossy" or "lossy forced"; badgeOf(rows) is
 * the word for them.
 *
 * Nothing in a row is trusted: text reaches the page through text() and textContent alone, never as markup, attribute
 * names or code; a value of the wrong type counts as missing. */

/* ---- elements ---- */

const byId = (id) => document.getElementById(id);

function fill(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes || {}))
        if (typeof value === "function") node.addEventListener(name, value);
        else if (value !== false && value !== null && value !== undefined)
            node.setAttribute(name, value === true ? "" : value);
    for (const child of children.flat(Infinity)) if (child !== null && child !== undefined) node.append(child);
    return node;
}
/* html("p", {class: "note"}, "text"): strings become text nodes; a function is a listener. */
const html = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) =>
    fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

/* Text from outside: cut to a length that can be looked at, with what is invisible or turns the reading direction
 * spelled out. */
const UNSEEN = new RegExp(String.raw`[\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e` +
        String.raw`\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\ufff0-\uffff]|` +
        String.raw`[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]`,
    "g");
function text(value, most = 120) {
    const all = String(value);
    const cut = all.length > most ? all.slice(0, most - 1) + "\u2026" : all;
    return cut.replace(UNSEEN, (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));
}

/* ---- filters: they hold for figures and table alike ---- */

const FILTERS = [
    "device", "device_id", "driver", "model", "weight_type", "kv_policy", "kv_type", "strategy", "num_steps", "batch",
    "prompt_tokens", "new_tokens", "commit", "promise"
];
const OPTIONS_MAX = 200;
const chosen = new Map(); /* key -> identity of the value */

/* A row without the key (a kernel has no strategy) is not what the filter is about. */
const passes = (row) => [...chosen].every(([key, value]) => !Object.hasOwn(row, key) || identity(row, [key]) === value);

function currentView() {
    const rows = allRows.filter(passes);
    const kinds = new Map();
    for (const row of rows) {
        const kind = kindOf(row);
        if (!kinds.has(kind)) kinds.set(kind, []);
        kinds.get(kind).push(row);
    }
    return {rows, kinds, of: (kind) => kinds.get(kind) ?? [], has: passes};
}

function option(value, label, selected) {
    return html("option", {value, selected}, label);
}

function makeFilters() {
    const nav = byId("filters");
    for (const key of FILTERS) {
        const values = new Map();
        for (const row of allRows) if (Object.hasOwn(row, key)) values.set(identity(row, [key]), row);
        if (values.size < 2) continue;
        const sorted = [...values].sort(([, a], [, b]) => compareValues(a[key], b[key])).slice(0, OPTIONS_MAX);
        const ids = sorted.map(([id]) => id);
        nav.append(html("label", null, fieldTitle(key),
            html("select", {
                "data-filter": key,
                change: (event) => {
                    const at = event.target.value;
                    if (at === "") chosen.delete(key);
                    else chosen.set(key, ids[Number(at)]);
                    drawAll();
                }
            },
                option("", values.size > OPTIONS_MAX ? `all (first ${OPTIONS_MAX} of ${values.size} listed)` : "all"),
                sorted.map(([, row], i) => option(i, say(row, key))))));
    }
    nav.append(html("button", {type: "button", id: "clear", click: () => {
        chosen.clear();
        for (const select of nav.querySelectorAll("select")) select.value = "";
        drawAll();
    }}, "Show all"));
    nav.append(html("span", {id: "shown", role: "status"}));
    nav.hidden = nav.querySelectorAll("select").length === 0;
}

/* Numbers before words, missing values last. */
function compareValues(a, b) {
    const rank = (v) => (isNumber(v) ? 0 : isText(v) && v !== "" ? 1 : typeof v === "boolean" ? 2 : 3);
    if (rank(a) !== rank(b)) return rank(a) - rank(b);
    return a < b ? -1 : a > b ? 1 : 0;
}

/* ---- figures ---- */

const figures = [];
function figure(id, title, words, draw) {
    figures.push({id, title, words, draw});
}

/* What a figure's own choosers were set to, across redrawings. */
const choices = new Map();

/* A chooser above a figure: `entries` are {id, label}; returns the one chosen. */
function choose(box, name, label, entries, first = entries[0]) {
    const listed = entries.slice(0, OPTIONS_MAX);
    const current =
        listed.find((entry) => entry.id === choices.get(name)) ?? (listed.includes(first) ? first : listed[0]);
    if (listed.length > 1)
        box.append(html("label", {class: "chooser screen"}, label,
            html("select", {
                "data-choice": name,
                change: (event) => {
                    choices.set(name, listed[Number(event.target.value)].id);
                    drawAll();
                }
            },
                listed.map((entry, i) => option(i, entry.label, entry === current)))));
    return current;
}

function note(box, words) {
    if (words) box.append(html("p", {class: "note"}, words));
}

/* Says how many of the rows do not appear, and for want of what. */
function leftOut(rows, kept, key) {
    const n = rows.length - kept.length;
    return n > 0 ? `${count(n, "row")} left out: no ${key}.` : "";
}

const PANELS_MAX = 12, PANEL_MIN = 330, WHOLE_WIDTH = Infinity;
/* One panel per group, side by side where there is room. draw(panel, group, width). Panels in which a plot has a single
 * mark are no pictures: they are rows of one table below the others. */
function facets(box, groups, draw, narrowest = PANEL_MIN) {
    const shown = groups.slice(0, PANELS_MAX), points = [];
    const room = Math.max(260, box.clientWidth || 680), gap = 24;
    const columns = Math.max(1, Math.min(shown.length, Math.floor((room + gap) / (narrowest + gap))));
    const width = Math.min(narrowest === WHOLE_WIDTH ? room : 760, Math.floor((room - gap * (columns - 1)) / columns));
    const grid = html("div", {
        class: columns > 1 && shown.some((group) => group.label.length * 8 > width) ? "facets two-lines" : "facets"
    }); /* plots beside each other begin at one height */
    box.append(grid);
    for (const group of shown) {
        const panel = html("div", {class: "panel"}), badge = group.lossy ? (group.badge ?? "LOSSY") : null;
        panel.style.width = width + "px";
        grid.append(panel);
        if (group.label || badge)
            panel.append(html("h4", null,
                html(
                    "span", null, badge ? html("b", {class: "badge"}, badge) : null, group.label || "these settings")));
        draw(panel, group, width);
        const marks = panel.querySelectorAll(".mark");
        if (marks.length === 1 && marks[0].closest(".plot")) {
            points.push({label: group.label, tip: tips.get(marks[0])});
            panel.remove();
        }
    }
    if (points.length) box.append(pointTable(points));
    if (!grid.children.length) grid.remove();
    if (groups.length > shown.length)
        note(box, `${groups.length - shown.length} more groups are not shown: the filters choose among them.`);
}

/* What single points say: a line each, a column per value that differs or is there at all. */
function pointTable(points) {
    const names = [...new Set(points.flatMap(({tip}) => tip.filter(Array.isArray).map(([name]) => name)))],
          said = points.map(({tip}) => new Map(tip.filter(Array.isArray)));
    const labelled = points.some(({label}) => label);
    const line = ({label, tip}, i) => {
        const row = html("tr", {class: "mark point", tabindex: "-1", "aria-label": tipWords(tip)},
            labelled ? html("th", {scope: "row"}, label) : null,
            html("td", null, tip.filter((part) => !Array.isArray(part)).join("; ")),
            names.map((name) => html("td", null, said[i].get(name) ?? "")));
        tips.set(row, tip);
        return row;
    };
    return html("div", {class: "scroll points", tabindex: 0, role: "region", "aria-label": "Single points"},
        html("table", null,
            html("thead", null,
                html("tr", null, labelled ? html("th", {scope: "col"}, "group") : null,
                    html("th", {scope: "col"}, "point"), names.map((name) => html("th", {scope: "col"}, name)))),
            html("tbody", null, points.map(line))));
}

/* Why there is no figure; null when there is one. */
function drawFigure(parent, f, view) {
    const box = html("div", {class: "drawing"}),
          link = html("a", {class: "anchor screen", href: "#figure-" + f.id, "aria-label": "link to this figure"}, "#"),
          node = html("figure", {id: "figure-" + f.id}),
          head = html("div", {class: "head"}, html("h3", null, f.title, link), saveButtons(node, f.id));
    node.append(html("figcaption", null, head, html("p", null, f.words)), box);
    parent.append(node);
    try {
        f.draw(box, view);
    } catch (error) { /* a bug of one figure leaves the others and the table alone, and is not hidden */
        console.error(error);
        note(box, `This figure could not be drawn: ${text(error)}`);
        return null;
    }
    if (box.querySelector(".mark, table, canvas")) return null;
    const why = [...box.querySelectorAll(".note")].map((p) => p.textContent).join(" ");
    node.remove();
    return why || "It has nothing to draw.";
}

function drawFigures(root, view) {
    const missing = [];
    root.replaceChildren(html("h2", null, figures.length === 1 ? "Figure" : "Figures"));
    for (const f of figures) {
        const why = drawFigure(root, f, view);
        if (why !== null) missing.push([f.title, why]);
    }
    if (missing.length)
        root.append(html("details", {id: "left-out", class: "note"},
            html("summary", null,
                `${
                    figures.length > missing.length
                        ? "Left out, for want of rows"
                        : "No figure: none has rows to show"}: ${missing.map(([title]) => title).join(", ")}.`),
            html("dl", null, missing.map(([title, why]) => [html("dt", null, title), html("dd", null, why)]))));
}

let drawnWidth = 0;
function drawAll() {
    const view = currentView(), root = byId("figures"),
          before = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.choice
                                                                            : undefined;
    hideTip();
    drawnWidth = document.documentElement.clientWidth;
    if (about.comparison) drawCompared(byId("summary"), view);
    else drawSummary(byId("summary"), view);
    drawMeasured(byId("measured"), view);
    drawFigures(root, view);
    drawTable(byId("table"), about.comparison ? pairView(view) : view);
    byId("shown").textContent =
        chosen.size ? `${view.rows.length} of ${count(allRows.length, "row")}` : count(allRows.length, "row");
    if (before)
        for (const select of root.querySelectorAll("select"))
            if (select.dataset.choice === before) select.focus();
}
