"use strict";
/* The page of `muninn report`: the rows, what is derived from them, the filters, and the frame that figures are drawn in.
 *
 * The scripts of this folder are put behind each other, in the order of CMakeLists.txt, into one: all names are shared. page.js is the first,
 * start.js, which draws everything, the last.
 *
 * To add a figure: one function in one file of this folder, and the file's name in the list `report_scripts` of CMakeLists.txt (in front of
 * table.js; the figures appear in that order).
 *
 *     figure("convergence", "Convergence", "One paragraph: what is on the axes, what to look for.", (box, view) => {
 *         const rows = view.of("trace").filter((row) => has(row, "kl", isList));     // rows whose `bench` is "trace", as filtered
 *         note(box, leftOut(view.of("trace"), rows, "kl"));                            // says what is missing and why; never guess
 *         facets(box, conditions(rows, ["device", "model", "num_steps"]), (panel, group, width) => {
 *             const p = plot(panel, {width, height: 240, x: {label: "step", domain: [0, 32]}, y: {label: "KL", domain: [0, 8]}});
 *             p.line([[0, 7], [32, 0.1]], "s1");                                       // no tooltip
 *             p.dot(4, 2.5, "s1", ["token 'a'", ["step", "4"], ["KL", "2.5"]]);        // a mark with a tooltip, reachable by keyboard
 *             p.cell(...)                                                              // heat maps: axes {bands: [...]}; ramp(0..1) gives the colour
 *         });
 *     });
 *
 * A figure without data calls note() and returns. Marks carry the class `mark`, which the tests count. Classes s1..s7 are categorical colours,
 * q0..q7 ordered ones, for light, dark and paper.
 *
 * Nothing in a row is trusted: text reaches the page through text() and textContent alone, never as markup, attribute names or code; a value of
 * the wrong type counts as missing. */

/* ---- elements ---- */

const byId = (id) => document.getElementById(id);

function fill(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes || {}))
        if (typeof value === "function") node.addEventListener(name, value);
        else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value === true ? "" : value);
    for (const child of children.flat(Infinity)) if (child !== null && child !== undefined) node.append(child);
    return node;
}
/* html("p", {class: "note"}, "text"): strings become text nodes; a function is a listener. */
const html = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

/* Text from outside: cut to a length that can be looked at, with what is invisible or turns the reading direction spelled out. */
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\ufff0-\uffff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;
function text(value, most = 120) {
    const all = String(value);
    const cut = all.length > most ? all.slice(0, most - 1) + "\u2026" : all;
    return cut.replace(UNSEEN, (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));
}

/* ---- rows ---- */

const about = JSON.parse(byId("about").textContent);
const allRows = JSON.parse(byId("rows").textContent);

const isNumber = (v) => typeof v === "number" && Number.isFinite(v);
const isText = (v) => typeof v === "string";
const isList = (v) => Array.isArray(v) && v.length > 0 && v.every(isNumber);
const has = (row, key, test) => Object.hasOwn(row, key) && test(row[key]);
const number = (row, key) => (has(row, key, isNumber) ? row[key] : null);
const word = (row, key) => (has(row, key, isText) ? row[key] : null);
const list = (row, key) => (has(row, key, isList) ? row[key] : null);

/* A model is its content, under whatever name: all rows of one content are called as the first of them is. */
const modelNames = new Map();
for (const row of allRows)
    if (word(row, "model_hash") && word(row, "model") !== null) {
        if (!modelNames.has(row.model_hash)) modelNames.set(row.model_hash, row.model);
        row.model = modelNames.get(row.model_hash);
    }

/* Rows of the first version have no `bench`: they are settings. */
const kindOf = (row) => word(row, "bench") ?? (has(row, "strategy", isText) ? "run" : "other");

/* true: not the tokens of ar, by design; null: a setting that does not say. Passes and kernels make no promise. */
const isLossy = (row) => (has(row, "lossless", (v) => typeof v === "boolean") ? !row.lossless : kindOf(row) === "run" ? null : false);
const lossyLabel = (row) => {
    const lossy = isLossy(row);
    return lossy === false ? null : lossy === null ? "lossless or not: the row does not say" : "LOSSY: " + text(word(row, "lossy_because") || "no reason given");
};
/* Hollow marks and dashed lines, wherever a row is shown. */
const lossyClass = (row) => (isLossy(row) === false ? "" : " lossy");

const FIELDS = new Map(Object.entries({
    device: "device", device_id: "device id", driver: "driver", driver_version: "driver version", build: "build", cpu_threads: "CPU threads", model: "model", model_hash: "model hash", weight_type: "weights", kv_policy: "cache", kv_type: "cache type",
    strategy: "strategy", num_steps: "R", draft_steps: "K", lookahead: "L", max_inflight: "W", batch: "batch", prompt_tokens: "prompt tokens", new_tokens: "new tokens",
    prompts: "prompts", prompt_set: "prompt set", stop_at_eos: "stops at end", temperature: "temperature", seed: "seed", forced_acceptance: "forced acceptance", commit: "commit",
    version: "version", lossless: "lossless", bench: "kind", position: "position", pass: "pass",
}));
const fieldTitle = (key) => FIELDS.get(key) ?? text(key, 30);

/* Everything but strategy, K, L and W: rows that agree in these may be compared. */
const CONDITIONS = ["device", "device_id", "driver", "driver_version", "cpu_threads", "model", "model_hash", "weight_type", "kv_policy", "kv_type", "num_steps", "batch", "prompt_tokens", "new_tokens", "prompts", "prompt_set",
    "stop_at_eos", "temperature", "seed", "forced_acceptance", "commit", "build"];

const identity = (row, keys) => JSON.stringify(keys.map((key) => (Object.hasOwn(row, key) ? row[key] : null)));
const say = (row, key) => {
    const value = Object.hasOwn(row, key) ? row[key] : null;
    const shown = value === null || value === "" || (Array.isArray(value) && value.length === 0) ? "none" : typeof value === "object" ? JSON.stringify(value) : value === true ? "yes" : value === false ? "no" : value;
    return text(shown, 40);
};
const SAYS_ITSELF = new Set(["device", "driver", "model", "weight_type"]); /* needs no name in front */

/* Groups of rows equal in `keys`; each is labelled by those keys in which the groups differ. */
function conditions(rows, keys = CONDITIONS) {
    const groups = new Map();
    for (const row of rows) {
        const id = identity(row, keys);
        if (!groups.has(id)) groups.set(id, {id, rows: [], first: row});
        groups.get(id).rows.push(row);
    }
    const all = [...groups.values()];
    const differ = keys.filter((key) => all.some((group) => identity(group.first, [key]) !== identity(all[0].first, [key])));
    for (const group of all) {
        group.label = differ.map((key) => (SAYS_ITSELF.has(key) ? "" : fieldTitle(key) + " ") + say(group.first, key)).join(", ");
        group.lossy = group.rows.every((row) => isLossy(row) !== false); /* of a mixed group the marks say which */
    }
    return all;
}

/* ---- speedup, measured and predicted ---- */

/* The ar row with a full cache under equal conditions; found once, over all rows, so that a filter does not take it away. */
const BASELINE = CONDITIONS.filter((key) => key !== "kv_policy" && key !== "forced_acceptance");
const baselines = new Map();
for (const row of allRows) if (kindOf(row) === "run" && row.strategy === "ar" && row.kv_policy === "full" && isLossy(row) === false) baselines.set(identity(row, BASELINE), row);
const baselineOf = (row) => baselines.get(identity(row, BASELINE)) ?? null;

function ratio(a, b) {
    return a !== null && b !== null && b > 0 ? a / b : null;
}
/* As the row says, else from its ar row; null without one. */
function speedup(row) {
    if (number(row, "speedup") !== null) return row.speedup;
    const base = baselineOf(row);
    return base ? ratio(number(row, "decode_tok_s"), number(base, "decode_tok_s")) : null;
}
/* Reading weights is all that takes time, at a bandwidth that does not depend on the setting. */
function predictedSpeedup(row) {
    const base = baselineOf(row);
    return base ? ratio(number(base, "weight_bytes_per_token"), number(row, "weight_bytes_per_token")) : null;
}

/* ---- numbers for people ---- */

function short(value, digits = 3) {
    if (value === null || value === undefined) return "?";
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size >= 1e15 || size < 1e-4) return value.toExponential(digits - 1);
    return String(Number(value.toPrecision(Math.max(digits, Math.min(15, Math.floor(Math.log10(size)) + 1)))));
}
const times = (value) => (value === null ? "?" : value.toFixed(2) + "\u00d7");
const percent = (value) => (value === null ? "?" : short(100 * value) + " %");
const megabytes = (value) => (value === null ? "?" : short(value / 1e6) + " MB");
const count = (n, one, many = one + "s") => `${n} ${n === 1 ? one : many}`;

function settingName(row) {
    const parts = [text(row.strategy, 30)];
    if (number(row, "draft_steps")) parts.push("K " + row.draft_steps);
    if (number(row, "lookahead")) parts.push("L " + row.lookahead);
    if (number(row, "max_inflight")) parts.push("W " + row.max_inflight);
    return parts.join(" ");
}

/* What a tooltip says of a setting. */
function settingTip(row, extra = []) {
    const lines = [settingName(row)];
    if (lossyLabel(row)) lines.push(lossyLabel(row));
    if (row.equals_ar === false && isLossy(row) === false) lines.push("tokens DIFFER from ar");
    lines.push(...extra);
    const add = (name, value) => value !== null && lines.push([name, value]);
    add("decode", number(row, "decode_tok_s") === null ? null : short(row.decode_tok_s, 4) + " tok/s");
    add("speedup over ar", speedup(row) === null ? null : times(speedup(row)));
    add("acceptance", number(row, "drafted") ? percent(number(row, "acceptance_rate")) : null);
    add("tokens per round", number(row, "mean_acceptance_length") ? short(row.mean_acceptance_length) : null);
    add("weights read per token", number(row, "weight_bytes_per_token") === null ? null : megabytes(row.weight_bytes_per_token));
    add("bandwidth", number(row, "gb_s") === null ? null : short(row.gb_s) + " GB/s" + (number(row, "ceiling_percent") === null ? "" : ", " + short(row.ceiling_percent) + " % of the ceiling"));
    add("cache", say(row, "kv_policy"));
    add("device", Object.hasOwn(row, "device") ? say(row, "device") : null);
    return lines;
}

/* ---- filters: they hold for figures and table alike ---- */

const FILTERS = ["device", "device_id", "driver", "model", "weight_type", "kv_policy", "kv_type", "strategy", "num_steps", "batch", "prompt_tokens", "new_tokens", "commit", "lossless"];
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
    return {rows, kinds, of: (kind) => kinds.get(kind) ?? []};
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
        nav.append(html("label", null, fieldTitle(key), html("select", {"data-filter": key, change: (event) => {
            const at = event.target.value;
            if (at === "") chosen.delete(key);
            else chosen.set(key, ids[Number(at)]);
            drawAll();
        }}, option("", values.size > OPTIONS_MAX ? `all (first ${OPTIONS_MAX} of ${values.size} listed)` : "all"), sorted.map(([, row], i) => option(i, say(row, key))))));
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
    const current = listed.find((entry) => entry.id === choices.get(name)) ?? (listed.includes(first) ? first : listed[0]);
    if (listed.length > 1)
        box.append(html("label", {class: "chooser screen"}, label, html("select", {"data-choice": name, change: (event) => {
            choices.set(name, listed[Number(event.target.value)].id);
            drawAll();
        }}, listed.map((entry, i) => option(i, entry.label, entry === current)))));
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
/* One panel per group, side by side where there is room. draw(panel, group, width). */
function facets(box, groups, draw, narrowest = PANEL_MIN) {
    const shown = groups.slice(0, PANELS_MAX);
    const room = Math.max(260, box.clientWidth || 680), gap = 24;
    const columns = Math.max(1, Math.min(shown.length, Math.floor((room + gap) / (narrowest + gap))));
    const width = Math.min(narrowest === WHOLE_WIDTH ? room : 760, Math.floor((room - gap * (columns - 1)) / columns));
    const grid = html("div", {class: columns > 1 && shown.some((group) => group.label.length * 8 > width) ? "facets two-lines" : "facets"}); /* plots beside each other begin at one height */
    box.append(grid);
    for (const group of shown) {
        const panel = html("div", {class: "panel"});
        panel.style.width = width + "px";
        grid.append(panel);
        if (group.label || group.lossy) panel.append(html("h4", null, html("span", null, group.lossy ? html("b", {class: "badge"}, "LOSSY") : null, group.label || "these settings")));
        draw(panel, group, width);
    }
    if (groups.length > shown.length) note(box, `${groups.length - shown.length} more groups are not shown: the filters choose among them.`);
}

function drawFigure(parent, f, view) {
    const box = html("div", {class: "drawing"});
    parent.append(html("figure", {id: "figure-" + f.id}, html("figcaption", null, html("h3", null, f.title), html("p", null, f.words)), box));
    try {
        f.draw(box, view);
    } catch (error) { /* a bug of one figure leaves the others and the table alone, and is not hidden */
        console.error(error);
        note(box, `This figure could not be drawn: ${text(error)}`);
    }
}

let drawnWidth = 0;
function drawAll() {
    const view = currentView(), root = byId("figures"), before = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.choice : undefined;
    hideTip();
    drawnWidth = document.documentElement.clientWidth;
    drawSummary(byId("summary"), view);
    drawMeasured(byId("measured"), view);
    root.replaceChildren(html("h2", null, "Figures"));
    for (const f of figures) drawFigure(root, f, view);
    drawTable(byId("table"), view);
    byId("shown").textContent = chosen.size ? `${view.rows.length} of ${count(allRows.length, "row")}` : count(allRows.length, "row");
    if (before) for (const select of root.querySelectorAll("select")) if (select.dataset.choice === before) select.focus();
}
