/* What was measured on what, in words, and the table of all rows. */

/* ---- summary ---- */

function tile(title, value, words) {
    return html(
        "div", {class: "tile"}, html("p", null, title), html("p", {class: "value"}, value), html("p", null, words));
}

/* A speed says nothing across models and batch sizes: of each the fastest, and where they are many, none. */
const FASTEST_MAX = 4;
function fastest(lossless) {
    const modelOf = (row) => word(row, "model_hash") ?? say(row, "model"), groups = new Map();
    for (const row of lossless) {
        const key = JSON.stringify([modelOf(row), say(row, "batch")]);
        groups.set(key, [...(groups.get(key) ?? []), row]);
    }
    const models = new Set(lossless.map(modelOf)).size > 1, batches = distinct(lossless, "batch").length > 1;
    if (groups.size > FASTEST_MAX) return [];
    return [...groups.values()].map((rows) => {
        const row = best(rows, (r) => r.decode_tok_s),
              of = [models ? say(row, "model") : "", batches ? `batch ${say(row, "batch")}` : ""].filter(Boolean);
        return tile(["fastest lossless setting", ...of].join(", "), short(row.decode_tok_s, 4) + " tok/s",
            `${settingName(row)}, ${say(row, "device")}`);
    });
}

function drawSummary(root, view) {
    const runs = view.of("run"), timed = runs.filter((row) => has(row, "decode_tok_s", isNumber)),
          lossless = timed.filter((row) => isLossy(row) === false);
    const tiles = html("div", {class: "tiles"});
    const gain = lossless.filter((row) => row.strategy !== "ar" && speedup(row) !== null);
    if (gain.length) {
        const row = best(gain, speedup);
        tiles.append(tile("largest lossless speedup", times(speedup(row)),
            `of medians: ${settingName(row)}, ${say(row, "device")}`));
    }
    fastest(lossless).forEach((each) => tiles.append(each));
    const forced = timed.filter((row) => isForced(row) && speedup(row) !== null);
    if (forced.length) {
        const row = best(forced, speedup);
        tiles.append(tile("largest speedup at forced acceptance", times(speedup(row)),
            `FORCED ${acceptanceWords(row)}: ${settingName(row)}, ${say(row, "model")}, ${say(row, "device")}`));
    }
    const near = timed.filter((row) => has(row, "ceiling_percent", isNumber));
    if (near.length) {
        const row = best(near, (r) => r.ceiling_percent);
        tiles.append(
            tile("nearest to the bandwidth ceiling", isAboveCeiling(row) ? "above" : short(row.ceiling_percent) + " %",
                `${settingName(row)}, ${short(number(row, "gb_s"))} of ${short(number(row, "ceiling_gb_s"))} GB/s${
                    isAboveCeiling(row) ? ": " + ceilingCause(row) : ""}`));
    }
    const checks = view.of("selftest");
    for (const [words, rows] of [["kernels' cases within their limits", checks.filter((row) => row.check === "kernel")],
             ["trials that keep D0 to D2", checks.filter((row) => row.check !== "kernel")]]) {
        const sum = (key) => rows.reduce((total, row) => total + (number(row, key) ?? 0), 0);
        if (rows.length) tiles.append(tile(words, `${sum("cases") - sum("failed")} of ${sum("cases")}`, "self-test"));
    }
    if (runs.length) {
        const promise = runs.filter((row) => isLossy(row) === false),
              kept = promise.filter((row) => row.equals_ar === true);
        const others = [["lossy", "lossy"], ["forced", "with forced acceptance"], ["", "that do not say"]]
                           .map(([kind, words]) => [runs.filter((row) => promiseOf(row) === kind).length, words])
                           .filter(([n]) => n);
        tiles.append(tile("lossless rows whose tokens equal ar's", `${kept.length} of ${promise.length}`,
            others.length ? `beside ${others.map(([n, words]) => `${count(n, "row")} ${words}`).join(", ")}`
                          : "all rows are lossless"));
    }
    root.replaceChildren(tiles);
    const broken = runs.filter((row) => isLossy(row) === false && row.equals_ar === false);
    if (broken.length)
        root.append(html("p", {class: "callout", role: "alert"},
            `${count(broken.length, "lossless row")} with other tokens than ar: `,
            broken.slice(0, 5).map(settingName).join("; ")));
    const failed = checks.filter((row) => (number(row, "failed") ?? 0) > 0);
    if (failed.length)
        root.append(html("p", {class: "callout", role: "alert"}, `The self-test failed: `,
            failed.slice(0, 5)
                .map((row) => `${say(row, "check")} ${say(row, "what")}: ${text(word(row, "detail") ?? "", 160)}`)
                .join("; "),
            failed.length > 5 ? `; and ${failed.length - 5} more` : "", ". Speeds of such a device say nothing."));
    const outliers = runs.filter((row) => (number(row, "decode_outliers") ?? 0) > 0).length,
          loose = runs.filter((row) => (number(row, "decode_spread") ?? 0) > 0.1).length;
    if (outliers || loose)
        note(root,
            `Noise: in ${count(loose, "row")} the slowest and the fastest repetition are more than 10 % apart; ${
                count(outliers, "row")} with outliers (modified z-score above 3.5).`);
    const others = [...view.kinds].filter(([kind]) => !KINDS.has(kind));
    if (others.length)
        note(root,
            `Of kinds that no figure shows, in the table alone: ${
                listed(others.map(([kind, rows]) => `${count(rows.length, "row")} of ${text(kind, 30)}`), 10)}.`);
    if (strayEvents)
        note(root,
            `${count(strayEvents, "decoding event")} without the prompt line that begins a trace: in the table alone.`);
    if (!allRows.length) note(root, "There are no rows in this report.");
    else if (!view.rows.length) note(root, "No row passes the filters.");
}

/* ---- what was measured on what ---- */

const distinct = (rows, key) => [...new Set(rows.filter((row) => Object.hasOwn(row, key)).map((row) => say(row, key)))];
/* At most a few of many values. */
function listed(values, most = 6) {
    return values.length <= most ? values.join(", ")
                                 : `${values.slice(0, most).join(", ")} and ${values.length - most} more`;
}
function range(rows, key, unit) {
    const values = rows.map((row) => number(row, key)).filter((v) => v !== null);
    if (!values.length) return "";
    const low = best(values, (v) => -v), high = best(values, (v) => v);
    return (short(low) === short(high) ? short(low) : `${short(low)} to ${short(high)}`) + unit;
}
function days(rows) {
    const all = rows.map((row) => word(row, "time"))
                    .filter((t) => t !== null && /^\d{4}-\d\d-\d\d/.test(t))
                    .map((t) => t.slice(0, 10))
                    .sort();
    return !all.length ? "" : all[0] === all[all.length - 1] ? all[0] : `${all[0]} to ${all[all.length - 1]}`;
}

function card(title, pairs) {
    return html("div", {class: "card"}, html("h3", null, title),
        html("dl", null, pairs.filter(([, value]) => value).map(([name,
            value]) => [html("dt", null, name), html("dd", null, value)])));
}

/* Rows that know less of their device or model than others (those of a trace have no device id) are of the one group
 * that agrees with them in all that they know. Where there are several such, nobody knows of which. */
function joined(groups, keys) {
    const known = (group) => keys.filter((key) => (group.first[key] ?? "") !== "");
    const agree = (less, more) => known(less).length < known(more).length &&
        known(less).every((key) => identity(less.first, [key]) === identity(more.first, [key]));
    const whole = groups.filter((group) => !groups.some((other) => agree(group, other)));
    const all = new Map(whole.map((group) => [group, {...group, rows: [...group.rows]}]));
    for (const group of groups.filter((one) => !all.has(one))) {
        const of = whole.filter((other) => agree(group, other));
        if (of.length === 1) all.get(of[0]).rows.push(...group.rows);
        else all.set(group, group);
    }
    return [...all.values()];
}

const CARDS_MAX = 24;
function drawMeasured(root, view) {
    const cards = html("div", {class: "cards"});
    const add = (keys, make) => {
        const named = view.rows.filter((row) => Object.hasOwn(row, keys[0]) && row[keys[0]] !== "");
        const groups = joined(conditions(named, keys), keys);
        cards.append(...groups.slice(0, CARDS_MAX).map(make));
        if (groups.length > CARDS_MAX)
            cards.append(html("p", {class: "note"}, `${groups.length - CARDS_MAX} more are not listed.`));
    };
    add(["device", "device_id", "driver", "driver_version"], ({rows, first}) => card(say(first, "device"), [
        ["device id", word(first, "device_id") ?? ""],
        ["driver", word(first, "driver") === null ? "" : say(first, "driver")],
        ["device line", word(first, "banner") === null ? "" : text(first.banner, 300)],
        ["CPU threads", listed(distinct(rows, "cpu_threads").filter((v) => v !== "none"))],
        ["read bandwidth", range(rows, "ceiling_gb_s", " GB/s")], ["measured", days(rows)],
        [
            "program",
            [
                listed(distinct(rows, "version")),
                distinct(rows, "commit").length ? "commit " + listed(distinct(rows, "commit")) : ""
            ].filter(Boolean)
                .join(", ")
        ],
        ["rows", String(rows.length)]
    ]));
    add(["model", "model_hash"], ({rows, first}) => card(say(first, "model"), [
        ["hash", word(first, "model_hash") === null ? "" : say(first, "model_hash")],
        ["parameters", number(first, "n_parameters") === null ? "" : short(first.n_parameters / 1e6) + " million"],
        ["weights on the device", number(first, "weight_bytes") === null ? "" : megabytes(first.weight_bytes)],
        ["weight types", listed(distinct(rows, "weight_type"))], ["caches", listed(distinct(rows, "kv_policy"))],
        ["R", listed(distinct(rows, "num_steps"))],
        ["K", listed(distinct(rows, "draft_steps").filter((v) => v !== "0"), 12)],
        ["L", listed(distinct(rows, "lookahead").filter((v) => v !== "0"), 12)],
        ["forced acceptance", listed([...new Set(rows.filter(isForced).map(acceptanceWords))])],
        ["strategies", listed(distinct(rows, "strategy"))], ["new tokens", listed(distinct(rows, "new_tokens"))],
        ["prompts", listed(distinct(rows, "prompt_set"))], ["repetitions", range(rows, "repetitions", "")],
        ["command", listed(distinct(rows, "command"), 3)]
    ]));
    root.replaceChildren(...(cards.children.length ? [html("h2", null, "What was measured on what"), cards] : []));
    const floors = view.of("floor");
    for (const row of floors.slice(0, CARDS_MAX))
        note(root,
            `${say(row, "device")}: a dispatch that does next to nothing takes ${
                short(number(row, "us"))} \u00b5s, a submit and its wait ${short(number(row, "submit_us"))} \u00b5s.`);
}

/* ---- the table ---- */

/* [key, title, kind of value, minor: left out on paper] */
const COLUMNS = {
    run: [
        ["strategy", "strategy"], ["draft_steps", "K"], ["lookahead", "L"], ["max_inflight", "W"],
        ["lookup", "lookup", true], ["branches", "branches", true],
        ["num_steps", "R"],
        ["kv_policy", "cache"], ["decode_tok_s", "tok/s"], [speedup, "speedup"], ["lossless", "lossless"],
        ["equals_ar", "equals ar"], ["acceptance_rate", "acceptance"], ["mean_acceptance_length", "tokens/ round"],
        ["gamma", "tokens/ R steps", true],
        ["weight_bytes_per_token", "MB/ token"], ["gb_s", "GB/s"], ["ceiling_percent", "% of ceiling"],
        ["decode_spread", "spread"], ["ttft_ms", "first token ms"], ["inter_token_p50_ms", "p50 ms", true],
        ["inter_token_p95_ms", "p95 ms"], ["inter_token_p99_ms", "p99 ms", true], ["joules_per_token", "J/ token"],
        ["power_w", "W", true], ["clock_mhz", "MHz", true], ["device_peak_bytes", "device MB", true],
        ["host_peak_bytes", "host MB", true], ["prefill_tok_s", "prefill tok/s", true],
        ["agreement", "agree- ment", true], ["batch", "batch", true], ["prompt_tokens", "prompt", true],
        ["new_tokens", "new", true], ["kv_type", "cache type", true], ["weight_type", "weights", true],
        ["model", "model", true], ["device", "device", true], ["driver", "driver", true], ["commit", "commit", true],
        ["build", "build", true], ["time", "time", true]
    ],
    pass: [
        ["pass", "pass"], ["rows", "rows"], ["position", "position"], ["dispatches", "dispatches"], ["us", "\u00b5s"],
        ["t_ratio", "t(n)/t(1)"], ["us_spread", "spread"], ["gb_s", "GB/s"], ["ceiling_percent", "% of ceiling"],
        ["weight_type", "weights"], ["model", "model", true], ["device", "device", true], ["commit", "commit", true],
        ["time", "time", true]
    ],
    pair: [
        ["setting", "setting"], ["ratio", "B / A"], ["low", "95 % from"], ["high", "to"], ["verdict", "B is"],
        ["rate_a", "A per s"], ["rate_b", "B per s"], ["samples_a", "samples A"], ["samples_b", "samples B"],
        ["a_is", "A"], ["b_is", "B"]
    ],
    kernel: [
        ["kernel", "kernel"], ["what", "what"], ["pass", "pass"], ["shape", "shape"], ["rows", "rows"],
        ["dispatches", "dispatches"], ["us", "\u00b5s"], ["t_ratio", "t(n)/t(1)"], ["gb_s", "GB/s"],
        ["gflop_s", "GFLOP/s"], ["ceiling_percent", "% of ceiling"], ["weight_type", "weights"],
        ["model", "model", true], ["device", "device", true], ["commit", "commit", true], ["time", "time", true]
    ],
    pipeline: [
        ["kernel"], ["what"], ["passes"], ["rows"], ["matrix_type", "matrix"], ["threads"],
        ["subgroup_size", "subgroup"], ["shared_bytes", "shared bytes"], ["registers"],
        ["scalar_registers", "scalar registers"], ["spills"], ["scratch_bytes", "scratch bytes"],
        ["code_bytes", "code bytes"], ["instructions"], ["waves"], ["weight_type", "weights"], ["model", "model", true],
        ["device", "device", true], ["commit", "commit", true], ["time", "time", true]
    ],
    selftest: [
        ["check"], ["what"], ["num_steps", "R"], ["matrix_units", "matrix units"], ["cases"], ["failed"],
        ["nmse", "NMSE"], ["limit"], ["compared"], ["differ"], ["drafted"], ["accepted"], ["detail", "first failure"],
        ["weight_type", "weights"], ["kv_type", "cache type", true], ["model", "model"], ["device", "device", true],
        ["commit", "commit", true], ["time", "time", true]
    ],
    quantisation: [
        ["weight_type", "weights"], ["kv_type", "cache type"], ["num_steps", "R"], ["kl_mean", "KL, nats"],
        ["kl_low", "95 % from"], ["kl_high", "to"], ["kl_p99", "99 % below"], ["kl_max", "largest"],
        ["top1_agreement", "same best token"], ["logit_error_max", "largest logit error"], ["positions"], ["texts"],
        ["model"], ["text_set", "texts from", true], ["device", "device", true], ["commit", "commit", true],
        ["time", "time", true]
    ],
};
const COLUMNS_MAX = 24, PAGE = 200;
const sorting = {key: null, down: false};
let tableKind = null, search = "", shownRows = PAGE;

const titleOf = ([key, title]) => title ?? fieldTitle(key);
const columnId = ([key]) => (typeof key === "function" ? "speedup" : key);
/* Zero where a strategy has no such figure. */
const ZERO_IS_NONE = new Set(
    ["draft_steps", "lookahead", "max_inflight", "lookup", "branches", "mean_acceptance_length"]);
/* Not every system shows them, and rows of older versions have none. */
const OPTIONAL = new Set([
    "shared_bytes", "registers", "scalar_registers", "spills", "scratch_bytes", "code_bytes", "instructions", "waves",
    "subgroup_size", "nmse", "limit", "compared", "differ", "drafted", "accepted",
    "ttft_ms", "inter_token_p50_ms", "inter_token_p95_ms", "inter_token_p99_ms", "joules_per_token", "power_w",
    "clock_mhz", "device_peak_bytes", "host_peak_bytes"
]);
function cellValue(row, [key]) {
    if (typeof key === "function") return key(row);
    if (key === "weight_bytes_per_token" && number(row, "weight_mb_per_token") !== null)
        return row.weight_mb_per_token * 1e6; /* of older versions */
    if (!Object.hasOwn(row, key) || (ZERO_IS_NONE.has(key) && row[key] === 0) ||
        (key === "acceptance_rate" && row.drafted === 0))
        return null;
    return row[key];
}

/* Rows of a kind this page does not know: their plain values, as they are called. */
function columnsOf(kind, rows) {
    if (Object.hasOwn(COLUMNS, kind))
        return COLUMNS[kind].filter(
            (column) => !OPTIONAL.has(columnId(column)) || rows.some((row) => cellValue(row, column) !== null));
    const keys = new Set();
    for (const row of rows.slice(0, 50))
        for (const key of Object.keys(row))
            if (key !== "key" && keys.size < COLUMNS_MAX && (row[key] === null || typeof row[key] !== "object"))
                keys.add(key);
    return [...keys].map((key) => [key]);
}

function cellWords(row, column) {
    const value = cellValue(row, column), id = columnId(column);
    if (value === null) return "";
    if (id === "speedup") return times(value);
    if (id === "lossless")
        return value === true ? "yes" : `${badgeOf([row])} ${isForced(row) ? acceptanceWords(row) : ""}`;
    if (id === "ceiling_percent" && isAboveCeiling(row)) return "above";
    if ((id.endsWith("_peak_bytes") || id === "weight_bytes_per_token") && isNumber(value))
        return short(value / 1e6, 4);
    if (id.startsWith("inter_token_") && isNumber(value) && value < 0.005) return "0";
    if (id === "acceptance_rate" || id === "decode_spread" || id === "us_spread")
        return isNumber(value) ? percent(value) : text(value, 30);
    if (isNumber(value)) return Number.isInteger(value) ? String(value) : short(value, 4);
    return say(row, column[0]);
}

function tableRow(row, columns) {
    const lossy = kindOf(row) === "run" && isLossy(row) !== false, badge = badgeOf([row]);
    return html("tr", {class: lossy ? lossyClass(row).trim() : false}, columns.map((column) => {
        const value = cellValue(row, column), words = cellWords(row, column), id = columnId(column);
        const node =
            html("td", {class: [isNumber(value) ? "number" : "", column[2] ? "minor" : ""].join(" ").trim() || false},
                id === "lossless" && lossy ? html("b", {class: "badge"}, badge) : words);
        if (id === "lossless" && lossy)
            node.append(" ",
                isForced(row) ? `acceptance ${acceptanceWords(row)}`
                              : text(word(row, "lossy_because") ?? "not said", 60));
        if (id === "ceiling_percent" && isAboveCeiling(row)) node.title = `above the ceiling: ${ceilingCause(row)}`;
        if (id === "equals_ar" && value === false && isLossy(row) === false)
            node.replaceChildren(html("b", {class: "badge"}, "DIFFERS"));
        return node;
    }));
}

/* All words must be in the row, in any column. */
function found(rows, columns) {
    const words = search.toLowerCase().split(/\s+/).filter(Boolean);
    if (!words.length) return rows;
    return rows.filter((row) => {
        const all = columns.map((column) => cellWords(row, column)).join("\n").toLowerCase();
        return words.every((w) => all.includes(w));
    });
}

function drawTable(root, view) {
    const kinds = [...view.kinds.keys()].sort((a, b) => (a === "run" ? -1 : b === "run" ? 1 : 0));
    if (!view.kinds.has(tableKind)) tableKind = kinds[0] ?? null;
    const controls = html("div", {class: "controls screen"});
    if (kinds.length > 1)
        controls.append(html("label", null, "Rows ", html("select", {id: "table-kind", change: (event) => {
            tableKind = kinds[Number(event.target.value)];
            sorting.key = null;
            shownRows = PAGE;
            drawTable(root, view);
        }}, kinds.map((kind, i) => option(i, KINDS.get(kind) ?? text(kind, 30), kind === tableKind)))));
    controls.append(html("label", null, "Find ", html("input", {
        type: "search",
        id: "search",
        value: search,
        placeholder: "words, in any column",
        input: (event) => {
            search = event.target.value;
            shownRows = PAGE;
            update();
        }
    })));
    const body = html("tbody"), status = html("p", {class: "note", id: "table-status", role: "status"}),
          more = html("button", {
              type: "button",
              id: "more",
              class: "screen",
              click: () => {
                  shownRows += PAGE;
                  update();
              }
          },
              `Show ${PAGE} more`);
    const rows = tableKind === null ? [] : view.of(tableKind), columns = columnsOf(tableKind, rows);
    const heads = columns.map((column) => html("th", {scope: "col", class: column[2] ? "minor" : false},
                                  html("button", {
                                      type: "button",
                                      "data-column": columnId(column),
                                      click: () => {
                                          const same = sorting.key === columnId(column);
                                          /* Of what was measured the largest comes first, of what was set the smallest.
                                           */
                                          sorting.down = same ? !sorting.down
                                                              : !FIELDS.has(columnId(column)) &&
                                                  rows.some((row) => isNumber(cellValue(row, column)));
                                          sorting.key = columnId(column);
                                          update();
                                      }
                                  },
                                      titleOf(column))));
    function update() {
        const column = columns.find((c) => columnId(c) === sorting.key), order = [...found(rows, columns)];
        if (column) {
            const direction = sorting.down ? -1 : 1, missing = (v) => v === null || v === "";
            order.sort((a, b) => {
                const x = cellValue(a, column), y = cellValue(b, column);
                return missing(x) || missing(y) ? missing(x) - missing(y) : direction * compareValues(x, y);
            });
        }
        heads.forEach((head, i) => head.setAttribute("aria-sort",
                          columns[i] !== column ? "none"
                              : sorting.down    ? "descending"
                                                : "ascending"));
        body.replaceChildren(...order.slice(0, shownRows).map((row) => tableRow(row, columns)));
        status.textContent =
            order.length > shownRows ? `${shownRows} of ${count(order.length, "row")}` : count(order.length, "row");
        more.hidden = order.length <= shownRows;
    }
    update();
    root.replaceChildren(html("h2", null, about.comparison ? "All pairs" : "All rows"), controls, status,
        html("div", {class: "scroll", tabindex: 0, role: "region", "aria-label": "Table of rows"},
            html("table", null, html("thead", null, html("tr", null, heads)), body)),
        more);
}
