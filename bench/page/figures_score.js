/* Figures of what the answers are worth: accuracy over depth, and what it costs in speed. From the rows of `muninn
 * score` and `muninn bench`. */

/* Names of a score row that are the program's own: all others came from the line that was scored. */
const SCORE_OWN = new Set([
    "key", "bench", "line", "num_steps", "lossy_because", "truncated", "run", "logprob", "logprobs", "is_greedy",
    "tokens", "gold", "pred", "pred_norm", "acc", "acc_norm", "text", "exact_match", "finish_reason", "time", "version",
    "commit", "build", "device", "device_id", "driver", "driver_version", "cpu_threads", "model", "model_hash",
    "weight_type", "kv_policy", "kv_type", "score"
]);
const SCORE_METRICS = ["acc", "acc_norm", "exact_match", "is_greedy"];
const SCORE_CONDITIONS =
    ["model", "model_hash", "weight_type", "kv_policy", "kv_type", "device", "device_id", "driver", "commit"];
const SCORE_WORDS = {
    acc: "acc: the choice with the largest log-probability is the right one",
    acc_norm: "acc_norm: the same, each divided by the bytes of the choice",
    exact_match: "exact_match: the greedy answer is the wanted one",
    is_greedy: "is_greedy: every token of the continuation is the most likely one",
};

const SUMMED = Symbol("summed"); /* which no line of a file can have */
/* Right answers and lines that a row stands for: one line, or what a summary counted. Without this metric: null. */
function tallyOf(row, metric) {
    if (row[SUMMED]) return row[SUMMED].metric === metric ? row[SUMMED] : null;
    const value = Object.hasOwn(row, metric) ? row[metric] : null;
    return value === true || value === 1 ? {hits: 1, n: 1} : value === false || value === 0 ? {hits: 0, n: 1} : null;
}
const hasDepth = (row) => has(row, "num_steps", (v) => isNumber(v) && v > 0);
const isScored = (row) =>
    !has(row, "strategy", isText) && hasDepth(row) && SCORE_METRICS.some((m) => tallyOf(row, m) !== null);

/* A summary: the share of n lines. Those of groups, where there are any: the one of all lines would count them twice.
 */
function summed(view) {
    const isShare = (v) => isNumber(v) && v >= 0 && v <= 1, isCount = (v) => isNumber(v) && v >= 1;
    const rows = view.of("score_summary")
                     .filter((row) => SCORE_METRICS.includes(row.metric) && hasDepth(row) &&
                             has(row, "value", isShare) && has(row, "n", isCount));
    const groups = rows.filter((row) => has(row, "group", isText));
    return (groups.length ? groups : rows).map((row) => {
        const tally = {metric: row.metric, hits: Math.round(row.value * row.n), n: row.n};
        const named = ["model", "model_hash", "weight_type", "kv_type", "device"]
                          .filter((key) => has(row, key, isText))
                          .map((key) => [key, row[key]]);
        return {
            ...Object.fromEntries(named),
            num_steps: row.num_steps,
            lossy_because: row.lossy_because,
            group: row.group,
            [SUMMED]: tally
        };
    });
}

/* A row names what it was measured with in `run`. Summaries stand in where there are no lines. */
function scored(view) {
    const rows = view.rows.filter(isScored).map((row) => (has(row, "run", isObject) ? {...row, ...row.run} : row));
    return rows.length ? rows : summed(view);
}

/* Wilson's score interval for a proportion, two-sided 95 %: unlike value +- 2 standard errors it stays within 0 to 1
 * and has a width at 0 and 1. */
const WILSON_Z = 1.959963984540054;
function wilson(hits, n) {
    const z2 = WILSON_Z * WILSON_Z, p = hits / n, middle = (p + z2 / (2 * n)) / (1 + z2 / n);
    const half = (WILSON_Z / (1 + z2 / n)) * Math.sqrt((p * (1 - p)) / n + z2 / (4 * n * n));
    return [Math.max(0, middle - half), Math.min(1, middle + half)];
}

/* Per depth: hits, lines, share and its interval; by depth. */
function accuracyByDepth(rows, metric) {
    return ascending(rows.map((row) => row.num_steps)).map((depth) => {
        const tallies = rows.filter((row) => row.num_steps === depth).map((row) => tallyOf(row, metric));
        const hits = tallies.reduce((sum, one) => sum + one.hits, 0), n = tallies.reduce((sum, one) => sum + one.n, 0);
        return {depth, hits, n, share: hits / n, interval: wilson(hits, n)};
    });
}

const GROUPS_MAX = 60;
/* Members of the lines that tell groups of them apart: `task` first, then by name. */
function scoreGroupings(rows) {
    const names = new Map();
    for (const row of rows)
        for (const name of Object.keys(row))
            if (!SCORE_OWN.has(name) && (isText(row[name]) || isNumber(row[name])))
                names.set(name, (names.get(name) ?? new Set()).add(row[name]));
    const fits = [...names].filter(([, values]) => values.size > 1 && values.size <= GROUPS_MAX).map(([name]) => name);
    return fits.sort((a, b) => (b === "task") - (a === "task") || compareValues(a, b));
}

function chooseMetric(box, name, rows) {
    const entries =
        SCORE_METRICS.map((id) => ({id, label: id, n: rows.filter((row) => tallyOf(row, id) !== null).length}))
            .filter((entry) => entry.n > 0);
    return choose(box, name, "Metric", entries).id;
}

/* The groups of a member by name, as many as stand beside that of all lines. */
function chooseScorePanels(box, rows, by) {
    if (by === "") return [];
    const groups = conditions(rows.filter((row) => Object.hasOwn(row, by)),
        [by]).map((group) => ({...group, label: say(group.first, by), lossy: false}));
    groups.sort((a, b) => a.label.localeCompare(b.label, "en", {numeric: true}));
    const parts = [];
    for (let i = 0; i < groups.length; i += PANELS_MAX - 1) {
        const part = groups.slice(i, i + PANELS_MAX - 1);
        parts.push({id: String(i), part, label: `${part[0].label} to ${part[part.length - 1].label}`});
    }
    return choose(box, "accuracy-part", "Panels", parts).part;
}

const SHAPE_NAMES = Object.keys(SHAPES);
function drawAccuracy(panel, group, width, {metric, series, x}) {
    const p = plot(panel, {
        width,
        height: 220,
        title: `${metric} over depth`,
        x: x.axis,
        y: {label: metric, domain: [0, 1], format: (v) => short(100 * v) + " %"}
    });
    series.forEach((kind, i) => {
        const points = accuracyByDepth(group.rows.filter((row) => identity(row, SCORE_CONDITIONS) === kind.id), metric),
              css = `s${1 + (i % 7)}${kind.lossy ? " lossy" : ""}`;
        if (!points.length) return;
        p.band(points.map((point) => [x.at(point.depth), ...point.interval]), css);
        p.line(points.map((point) => [x.at(point.depth), point.share]), css);
        for (const {depth, hits, n, share, interval} of points)
            p.dot(x.at(depth), share, css,
                [
                    `${group.label}, R ${depth}`, ...(kind.label ? [kind.label] : []),
                    ...(kind.lossy ? ["LOSSY: " + text(word(kind.first, "lossy_because"))] : []),
                    [metric, `${percent(share)}, ${hits} of ${n}`],
                    ["95 % interval", `${percent(interval[0])} to ${percent(interval[1])}`]
                ],
                SHAPE_NAMES[i % SHAPE_NAMES.length]);
    });
}

figure("accuracy", "Accuracy over depth",
    "Share of the scored lines that were answered right, over the recurrence steps r (logarithmic), one panel per " +
        "task. " +
        "The bands are 95 % Wilson score intervals for a proportion: they know the number of lines, not how the " +
        "lines " +
        "were chosen. The same lines are asked at every depth, so neighbouring depths are not independent.",
    (box, view) => {
        const all = scored(view);
        if (!all.length) return note(box, "No score among the rows shown; `muninn score --results` writes them.");
        const metric = chooseMetric(box, "accuracy-metric", all),
              rows = all.filter((row) => tallyOf(row, metric) !== null);
        const names = scoreGroupings(rows), whole = {id: "", label: "none"};
        const by = names.length
            ? choose(box, "accuracy-group", "One panel per", [...names.map((id) => ({id, label: text(id, 30)})), whole])
                  .id
            : "";
        note(box, SCORE_WORDS[metric] + ".");
        note(box, leftOut(all, rows, metric));
        const depths = ascending(rows.map((row) => row.num_steps)),
              x = logAxis("recurrence steps r", depths, 2, depths.length <= 8 ? depths : null);
        const series =
            conditions(rows, SCORE_CONDITIONS)
                .map((kind) => ({...kind, lossy: kind.rows.every((row) => has(row, "lossy_because", isText))}));
        if (series.length > 1)
            legend(box,
                series.map(
                    (kind, i) =>
                        ({css: `s${1 + (i % 7)}`, kind: SHAPE_NAMES[i % SHAPE_NAMES.length], label: kind.label})));
        const panels = chooseScorePanels(box, rows, by);
        facets(box, [...panels, {label: "all lines", rows, lossy: false}],
            (panel, group, width) => drawAccuracy(panel, group, width, {metric, series, x}), 300);
    });
