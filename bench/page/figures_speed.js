/* Figures of the device: what it reaches, and what the memory-bound model says it should. */

const STRATEGY_SHAPES = {
    ar: "square",
    "draft-verify": "circle",
    wavefront: "triangle",
    auto: "diamond",
    diffusion: "nabla"
};
const strategyShape = (row) => STRATEGY_SHAPES[row.strategy] ?? "circle";
const strategyClass = (row) => (Object.hasOwn(STRATEGY_SHAPES, row.strategy) ? row.strategy : "s7");
const lossyLegend = (rows) => [...(rows.some((row) => isLossy(row) !== false && !isForced(row))
                                       ? [{css: "ink lossy", kind: "circle", label: "hollow, dashed: LOSSY"}]
                                       : []),
    ...(rows.some(isForced) ? [{css: "ink lossy forced", kind: "circle", label: "pale, dotted: FORCED acceptance"}]
                            : [])];
const strategyLegend = (rows) => [...new Set(rows.map((row) => row.strategy))].map(
    (name) => ({css: strategyClass({strategy: name}), kind: strategyShape({strategy: name}), label: text(name, 30)}));

const POINTS_MAX = 3000;
/* Enough marks for eyes and browser; the fastest settings are among them. */
function thin(box, rows) {
    if (rows.length > POINTS_MAX) note(box, `The ${POINTS_MAX} fastest of ${rows.length} rows are drawn.`);
    return rows.length > POINTS_MAX ? [...rows].sort((a, b) => b.decode_tok_s - a.decode_tok_s).slice(0, POINTS_MAX)
                                    : rows;
}

const KERNEL_CONDITIONS = [
    "device", "device_id", "driver", "driver_version", "cpu_threads", "model", "model_hash", "weight_type", "kv_type",
    "position", "commit", "build"
];

figure("verify", "Verify-cost curve",
    "Time of a pass over n rows divided by the time over one row, t(n)/t(1). Flat is free verification; on the " +
        "dashed line n rows cost as much as n passes of one row.",
    (box, view) => {
        const all = view.of("pass"),
              rows = all.filter(
                  (row) => has(row, "rows", isNumber) && has(row, "t_ratio", isNumber) && has(row, "pass", isText));
        note(box, leftOut(all, rows, "rows, pass or t_ratio"));
        if (!rows.length) return note(box, "No pass was measured among the rows shown; `muninn bench --kernels` does.");
        const names = [...new Set(rows.map((row) => row.pass))], known = ["core", "head", "prelude", "coda"];
        const css = (name) => "s" + (1 + (known.includes(name) ? known.indexOf(name) : 4 + (names.indexOf(name) % 3)));
        legend(box, [
            ...names.map(
                (name) =>
                    ({css: css(name), kind: Object.keys(SHAPES)[names.indexOf(name) % 5], label: text(name, 30)})),
            {css: "reference", label: "n passes of one row"}
        ]);
        facets(box, conditions(rows, KERNEL_CONDITIONS), (panel, group, width) => {
            const xs = fromZero(group.rows.map((row) => row.rows), 8),
                  ys = fromZero(group.rows.map((row) => row.t_ratio));
            const p = plot(
                panel, {width, height: 280, x: {label: "rows n", domain: xs}, y: {label: "t(n) / t(1)", domain: ys}});
            const end = Math.min(xs[1], ys[1]);
            p.line([[1, 1], [end, end]], "reference");
            for (const series of conditions(group.rows, ["pass"])) {
                const points = series.rows.sort((a, b) => a.rows - b.rows);
                p.line(points.map((row) => [row.rows, row.t_ratio]), css(series.first.pass));
                for (const row of points)
                    p.dot(row.rows, row.t_ratio, css(row.pass),
                        [
                            `${text(row.pass, 30)} pass, ${count(row.rows, "row")}`, ["t(n)/t(1)", short(row.t_ratio)],
                            ["time", short(number(row, "us"), 4) + " \u00b5s"],
                            ["bandwidth", short(number(row, "gb_s")) + " GB/s"], ["device", say(row, "device")]
                        ],
                        Object.keys(SHAPES)[names.indexOf(row.pass) % 5]);
            }
        });
    });

/* Horizontal bars, each with its words above it: long names have room on a telephone. bars: {label, value, low, high,
 * css, tip}; `most` is the value of a full bar, so that several lists can be compared. */
function barList(box, width, bars, unit, most) {
    const high = most || 1, step = 34;
    const root = svg("svg", {
        viewBox: `0 0 ${width} ${bars.length * step + 4}`,
        width,
        height: bars.length * step + 4,
        role: "group",
        "aria-label": unit
    }),
          all = [];
    bars.forEach((bar, i) => {
        const y = i * step, length = (v) => Math.max(1, (v / high) * (width - 4));
        const node = svg(
            "rect", {class: "bar mark " + bar.css, x: 1, y: y + 18, width: length(bar.value).toFixed(1), height: 12});
        addTip(node, bar.tip, all);
        const words = `${short(bar.value, 4)} ${unit}`;
        root.append(svg("text", {x: 1, y: y + 13}, fit(bar.label, width - words.length * LETTER - 12)),
            svg("text", {class: "strong", x: width - 2, y: y + 13, "text-anchor": "end"}, words), node);
        if (bar.low !== undefined && bar.high > bar.low)
            root.append(svg("path", {
                class: "whisker",
                d: `M${length(bar.low).toFixed(1)} ${y + 24}H${length(bar.high).toFixed(1)}M${
                    length(bar.low).toFixed(1)} ${y + 21}v6M${length(bar.high).toFixed(1)} ${y + 21}v6`
            }));
    });
    box.append(root);
}

/* The number of rows in a pass at which a row takes the least time: that is how many a pass should have, as far as its
 * kernels say. Sums are of the kernels that were measured at every number, else they would be of different passes. */
function cheapestRows(rows, counts) {
    const id = (row) => identity(row, [...KERNEL_CONDITIONS, "pass", "kernel", "what", "shape"]);
    const at = counts.map((n) => rows.filter((row) => row.rows === n)), seen = at.map((some) => new Set(some.map(id)));
    const perRow = at.map((some, i) => {
        const common = some.filter((row) => seen.every((ids) => ids.has(id(row))));
        return common.length ? common.reduce((sum, row) => sum + row.us * row.dispatches, 0) / counts[i] : Infinity;
    });
    return counts[perRow.indexOf(Math.min(...perRow))];
}

const BARS_MAX = 40;
figure("kernels", "Where a pass spends its time",
    "Time of each kernel of a pass: one dispatch times the dispatches of that kernel, measured one by one: the " +
        "sum need not be the time of the pass. The tooltip has bandwidth and arithmetic.",
    (box, view) => {
        const all = view.of("kernel"),
              rows = all.filter((row) => has(row, "us", isNumber) && has(row, "dispatches", isNumber) &&
                      has(row, "pass", isText) && has(row, "rows", isNumber));
        note(box, leftOut(all, rows, "us, dispatches, pass or rows"));
        if (!rows.length)
            return note(box, "No kernel was measured among the rows shown; `muninn bench --kernels` does.");
        const counts = ascending(rows.map((row) => row.rows)), cheapest = cheapestRows(rows, counts);
        const entries = counts.map((n) => ({id: n, label: count(n, "row")}));
        const first = entries.find(({id}) => id === cheapest);
        const n = choose(box, "kernels", "Rows in the pass", entries, first).id,
              here = rows.filter((row) => row.rows === n), total = (row) => row.us * row.dispatches;
        const least = n === cheapest && counts.length > 1 ? ", where a row takes the least time" : "";
        note(box, `With ${count(n, "row")} in the pass${least}:`);
        facets(box, conditions(here, [...KERNEL_CONDITIONS, "pass"]), (panel, group, width) => {
            const sorted = [...group.rows].sort((a, b) => total(b) - total(a));
            barList(panel, width, sorted.slice(0, BARS_MAX).map((row) => {
                const name =
                    [word(row, "what"), word(row, "shape")].filter(Boolean).map((part) => text(part, 30)).join(" ") ||
                    say(row, "kernel");
                return {
                    label: (row.dispatches > 1 ? row.dispatches + " \u00d7 " : "") + name,
                    value: total(row),
                    css: "s1",
                    tip: [
                        name, ["kernel", say(row, "kernel")], ["one dispatch", short(row.us, 4) + " \u00b5s"],
                        [
                            "bandwidth",
                            `${short(number(row, "gb_s"))} GB/s${
                                ceilingShare(row) === null ? "" : ", " + ceilingShare(row)}`
                        ],
                        ["arithmetic", short(number(row, "gflop_s")) + " GFLOP/s"]
                    ]
                };
            }),
                "\u00b5s", total(sorted[0]));
        });
    });

figure("bandwidth", "Speed against bandwidth",
    "Decoding speed over the bandwidth it draws. A point near the ceiling (measured by a read kernel on the same " +
        "device) cannot get faster by better kernels; one that reads fewer bytes per token stands higher at the same " +
        "bandwidth. The thin lines are equal bytes per token.",
    (box, view) => {
        const all = view.of("run"),
              rows = all.filter((row) => has(row, "gb_s", isNumber) && has(row, "decode_tok_s", isNumber));
        note(box, leftOut(all, rows, "gb_s or decode_tok_s"));
        if (!rows.length) return note(box, "No setting with a bandwidth among those shown.");
        const drawn = thin(box, rows);
        legend(
            box, [...strategyLegend(drawn), ...lossyLegend(drawn), {css: "ceiling", label: "measured read bandwidth"}]);
        facets(box,
            conditions(drawn,
                [
                    "device", "device_id", "driver", "driver_version", "cpu_threads", "model", "model_hash",
                    "weight_type"
                ]),
            (panel, group, width) => {
                const ceilings =
                    ascending(group.rows.map((row) => number(row, "ceiling_gb_s")).filter((v) => v !== null && v > 0));
                if (!ceilings.length) note(panel, "No ceiling_gb_s in these rows.");
                const xs = fromZero([...group.rows.map((row) => row.gb_s), ...ceilings], 6),
                      ys = fromZero(group.rows.map((row) => row.decode_tok_s));
                const p = plot(panel,
                    {width, height: 320, x: {label: "GB/s", domain: xs}, y: {label: "tokens per second", domain: ys}});
                equalBytes(p, group.rows, xs, ys);
                const top = ceilings[ceilings.length - 1];
                if (top) {
                    p.line([[top, 0], [top, ys[1]]], "ceiling");
                    const right = p.x(top) > (p.left + p.right) / 2;
                    p.words(p.x(top) + (right ? -5 : 5), p.top + 11, `${short(top)} GB/s`, "small halo",
                        right ? "end" : "start");
                }
                for (const row of group.rows)
                    p.dot(row.gb_s, row.decode_tok_s, strategyClass(row) + lossyClass(row), settingTip(row),
                        strategyShape(row));
            });
    });

/* Lines of equal bytes per token through the span of what was measured. */
function equalBytes(p, rows, xs, ys) {
    const sizes = rows.map((row) => number(row, "weight_bytes_per_token")).filter((v) => v !== null && v > 0);
    if (!sizes.length) return;
    const low = Math.min(...sizes), high = Math.max(...sizes), power = 10 ** Math.floor(Math.log10(low));
    const steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]
                      .map((m) => m * power)
                      .filter((b) => b >= low * 0.7 && b <= high * 1.4);
    let last = -Infinity;
    for (const bytes of steps.filter((_, i) => i % Math.ceil(steps.length / 6) === 0)) {
        const x = Math.min(xs[1], (ys[1] * bytes) / 1e9), y = (x * 1e9) / bytes;
        p.line([[0, 0], [x, y]], "hair");
        const end = p.x(x) - 4, room = megabytes(bytes).length * LETTER;
        if (end - room < last && p.y(y) < p.top + 14) continue; /* its words would be in those of the line before */
        p.words(end, Math.max(p.y(y) + 12, p.top + 26), megabytes(bytes), "small faint", "end");
        last = end;
    }
}

figure("prediction", "Predicted against measured speedup",
    "Prediction: the memory-bound model. Time per token is proportional to the weight bytes read per token, so " +
        "speedup = (weight bytes per token of ar with a full cache) / (weight bytes per token of the setting). On " +
        "the dashed line the model is right; below it, something other than reading weights takes time: the verify " +
        "cost of many rows, the cache, dispatches.",
    (box, view) => {
        const all = view.of("run").filter((row) => row.strategy !== "ar"),
              rows = all.filter((row) => speedup(row) !== null && predictedSpeedup(row) !== null);
        note(box, leftOut(all, rows, "weight_bytes_per_token, or no ar row with a full cache to compare with"));
        if (!rows.length) return note(box, "No setting with both speedups among those shown.");
        const drawn = thin(box, rows);
        legend(box,
            [...strategyLegend(drawn), ...lossyLegend(drawn), {css: "reference", label: "prediction = measurement"}]);
        facets(box,
            conditions(drawn,
                [
                    "device", "device_id", "driver", "driver_version", "cpu_threads", "model", "model_hash",
                    "weight_type"
                ]),
            (panel, group, width) => {
                const xs = fromZero(group.rows.map(predictedSpeedup), 6), ys = fromZero(group.rows.map(speedup));
                const p = plot(panel, {
                    width,
                    height: 320,
                    x: {label: "predicted speedup", domain: xs},
                    y: {label: "measured speedup", domain: ys}
                });
                const end = Math.min(xs[1], ys[1]);
                p.line([[0, 0], [end, end]], "reference");
                for (const row of group.rows)
                    p.dot(predictedSpeedup(row), speedup(row), strategyClass(row) + lossyClass(row),
                        settingTip(row, [["predicted speedup", times(predictedSpeedup(row))]]), strategyShape(row));
            });
    });

figure("devices", "Devices side by side",
    "The fastest setting of every strategy on every device, lossless, forced and lossy apart; one panel per " +
        "model and condition. Whiskers reach from the slowest to the fastest repetition.",
    (box, view) => {
        const all = view.of("run"), rows = all.filter((row) => has(row, "decode_tok_s", isNumber));
        note(box, leftOut(all, rows, "decode_tok_s"));
        if (!rows.length) return note(box, "No setting with a speed among those shown.");
        legend(box, [...strategyLegend(rows).map((entry) => ({...entry, kind: "square"})), ...lossyLegend(rows)]);
        const machine = ["device", "device_id", "driver", "driver_version", "cpu_threads", "commit", "build"],
              same = CONDITIONS.filter(
                  (key) => !machine.includes(key) && key !== "kv_policy" && !FORCED_KEYS.includes(key));
        facets(box, conditions(rows, same), (panel, group, width) => {
            const most =
                group.rows.reduce((a, row) => Math.max(a, row.decode_tok_s, ...(list(row, "decode_samples") ?? [])), 0);
            facets(panel,
                conditions(group.rows, machine)
                    .map((here) => ({...here, label: here.label || say(here.first, "device")})),
                (inner, here, innerWidth) => {
                    const bars = conditions(here.rows, ["strategy", "promise"])
                                     .map((kind) => {
                                         const row = best(kind.rows, (r) => r.decode_tok_s),
                                               samples = list(row, "decode_samples");
                                         return {
                                             label: (badgeOf([row]) ? badgeOf([row]) + " " : "") + settingName(row),
                                             value: row.decode_tok_s,
                                             css: strategyClass(row) + lossyClass(row),
                                             lossy: isLossy(row) !== false,
                                             tip: settingTip(row, [["fastest of", count(kind.rows.length, "setting")]]),
                                             low: samples ? Math.min(...samples) : undefined,
                                             high: samples ? Math.max(...samples) : undefined
                                         };
                                     })
                                     .sort((a, b) => a.lossy - b.lossy || b.value - a.value);
                    barList(inner, innerWidth, bars.slice(0, BARS_MAX), "tok/s", most);
                    if (bars.length > BARS_MAX) note(inner, `${bars.length - BARS_MAX} more bars are not shown.`);
                });
        }, WHOLE_WIDTH);
    });
