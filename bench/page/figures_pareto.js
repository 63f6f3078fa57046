/* What speed costs: every setting by its speed and by what its answers are worth, accuracy where lines were scored,
 * agreement with plain decoding everywhere. A setting is worth a look when none is both faster and better; those are
 * joined by a line. */

/* Drafts were drawn, not compared: the speed is what such an acceptance would bring, the text means nothing. */
const isForcedDraw = (row) =>
    row.class === "forced" || isForced(row) || row.lossy_because === "forced acceptance";

/* Of points {x, y}: those that no other one beats in both, from slow to fast. */
function paretoFront(points) {
    const front = [];
    for (const point of [...points].sort((a, b) => b.x - a.x || b.y - a.y))
        if (!front.length || point.y > front[front.length - 1].y) front.push(point);
    return front.reverse();
}

/* Accuracy of a lossless setting: it answers as ar does, so it is that of the scored lines with the same weights and
 * depth. */
const ACCURACY_OF = ["model_hash", "weight_type", "num_steps"];
function accuracies(view, metric, by, value) {
    const found = new Map(),
          rows = scored(view).filter((row) => tallyOf(row, metric) !== null && (row.kv_policy ?? "full") === "full");
    for (const group of conditions(rows.filter((row) => by === "" || identity(row, [by]) === value), ACCURACY_OF))
        found.set(group.id, accuracyByDepth(group.rows, metric)[0]);
    return found;
}

/* The axes that speed can be held against; each finds its points. */
function paretoAxes(view, runs) {
    const agreed = runs.filter((row) => has(row, "agreement", isNumber)), scores = scored(view), axes = [];
    for (const metric of SCORE_METRICS) {
        const known = accuracies(view, metric, "", null),
              rows = runs.filter((row) => isLossy(row) === false && known.has(identity(row, ACCURACY_OF)));
        if (rows.length)
            axes.push({
                id: metric,
                label: `accuracy (${metric})`,
                rows,
                distinct: new Set(rows.map((row) => known.get(identity(row, ACCURACY_OF)).share)).size,
                scores: scores.filter((row) => tallyOf(row, metric) !== null)
            });
    }
    if (agreed.length) axes.push({id: "agreement", label: "agreement with ar", rows: agreed});
    return axes;
}

/* Only the lines of one task, where they have tasks. */
function chooseTask(box, scores) {
    const by = scoreGroupings(scores)[0] ?? "";
    if (by === "") return {by, value: null};
    const all = {id: "all", label: "all lines", value: null};
    const tasks = conditions(scores.filter((row) => Object.hasOwn(row, by)),
        [by]).sort((a, b) => compareValues(a.first[by], b.first[by]));
    const {value} = choose(box, "pareto-task", fieldTitle(by),
        [all, ...tasks.map((group) => ({id: group.id, label: say(group.first, by), value: group.id}))]);
    return {by: value === null ? "" : by, value};
}

/* Marks that would cover each other stand above each other: of places [x, y] in pixels, how many pixels each is lifted,
 * by the first of `lifts` that has room. Where none has, it lies on others. The rightmost keep their places. */
const APART = 11;
function liftsOf(places, lifts) {
    const taken = [], chosen = places.map(() => 0);
    for (const i of places.map((_, k) => k).sort((a, b) => places[b][0] - places[a][0])) {
        const [x, y] = places[i];
        const isFree = (lift) => taken.every(([a, b]) => Math.hypot(a - x, b - (y - lift)) >= APART - 1);
        chosen[i] = lifts.find(isFree) ?? 0;
        taken.push([x, y - chosen[i]]);
    }
    return chosen;
}
const LIFTS = Array.from({length: 7}, (_, i) => i * APART), FORCED_LIFTS = [0, APART, -APART];

const STRIP = 0.2; /* of the picture's height, for forced rows */
function drawPareto(panel, width, points, forced, label) {
    const low = points.reduce((a, point) => Math.min(a, point.low ?? point.y), 1),
          floor = Math.max(0, Math.min(0.9, Math.floor((low - 0.02) * 10) / 10)), span = 1 - floor;
    const bottom = forced.length ? floor - STRIP * span : floor,
          xs = fromZero([...points, ...forced].map((point) => point.x), 6);
    const picture = (box, top, height) => plot(box, {
        width,
        height,
        title: label,
        x: {label: "tok/s", domain: xs},
        y: {label, domain: [bottom, top], ticks: niceTicks(floor, 1, 6), format: (v) => percent(v)}
    });
    /* Room above the top line for the marks that are lifted over it, at the same height of a percent. */
    const top = 1 + 0.04 * span, flat = picture(html("div"), top, 330);
    const places = points.map(({x, y}) => [flat.x(x), flat.y(y)]), lifts = liftsOf(places, LIFTS);
    const room =
        places.reduce((most, [, y], i) => Math.max(most, lifts[i] && lifts[i] + APART / 2 - (y - flat.top)), 0);
    const p = picture(panel, top + (room / (flat.bottom - flat.top)) * (top - bottom), 330 + room);
    if (label === "agreement with ar") p.line([[xs[0], 1], [xs[1], 1]], "reference");
    const front = paretoFront(points),
          steps = front.flatMap(({x, y}, i) => (i ? [[front[i - 1].x, y], [x, y]] : [[x, y]]));
    if (front.length > 1) p.line(steps, "ink thin");
    for (const [i, {x, y, row, low: from, high}] of points.entries()) {
        /* One bar per accuracy is enough: that of its fastest setting. */
        if (from !== undefined && !points.some((other) => other.y === y && other.low === from && other.x > x))
            p.line([[x, from], [x, high]], strategyClass(row));
        const interval = from === undefined ? [] : [["95 % interval", `${percent(from)} to ${percent(high)}`]];
        p.dot(x, y, strategyClass(row) + lossyClass(row),
            settingTip(row,
                [[label, percent(y)], ...interval, ["R", say(row, "num_steps")], ["weights", say(row, "weight_type")]]),
            strategyShape(row), 4.5, lifts[i]);
    }
    if (!forced.length) return;
    const middle = floor - 0.55 * STRIP * span;
    p.line([[xs[0], floor - 0.12 * STRIP * span], [xs[1], floor - 0.12 * STRIP * span]], "reference");
    p.words(p.left + 4, p.y(floor - 0.12 * STRIP * span) + 13, "forced", "small faint");
    const forcedLifts = liftsOf(forced.map(({x}) => [p.x(x), p.y(middle)]), FORCED_LIFTS);
    for (const [i, {x, row}] of forced.entries())
        p.dot(x, middle, strategyClass(row) + " lossy",
            settingTip(row,
                [
                    ["forced acceptance", isForced(row) ? acceptanceWords(row) : "not said"],
                    "its text means nothing: only the speed does"
                ]),
            "star", 5, forcedLifts[i]);
}

figure("pareto", "Speed against accuracy or agreement",
    "Every setting by its decoding speed and by what its answers are worth. Agreement: share of the tokens that are " +
        "those of ar with a full cache; lossless settings stand on the dashed line at the top. Accuracy: of the " +
        "scored lines with the same weights and depth, for lossless settings (they answer as ar does), with 95 % " +
        "Wilson score intervals; the cache type of the scores may be another one. The line joins the settings that " +
        "none beats in both. Marks that would cover each other stand above each other, with a thin line to their " +
        "place.",
    (box, view) => {
        const all = view.of("run"), runs = all.filter((row) => has(row, "decode_tok_s", isNumber)),
              axes = paretoAxes(view, runs);
        if (!axes.length)
            return note(box, "No setting with a speed and an agreement or an accuracy among the rows shown.");
        const spread = axes.find((axis) => axis.scores && axis.distinct > 1) ?? axes[axes.length - 1];
        const axis = choose(box, "pareto-axis", "Up", axes, spread),
              task = axis.scores ? chooseTask(box, axis.scores) : null,
              known = task ? accuracies(view, axis.id, task.by, task.value) : null;
        note(box,
            leftOut(all, axis.rows,
                axis.scores ? "accuracy for their weights and depth, or lossy" : "decode_tok_s or agreement"));
        const drawn = thin(box, known ? axis.rows.filter((row) => known.has(identity(row, ACCURACY_OF))) : axis.rows),
              forced = axis.scores ? [] : drawn.filter(isForcedDraw);
        legend(box, [
            ...strategyLegend(drawn.filter((row) => !isForcedDraw(row))),
            ...lossyLegend(drawn.filter((row) => !isForcedDraw(row))),
            ...(forced.length ? [{css: "ink lossy", kind: "star", label: "forced acceptance: a speed without a text"}]
                              : []),
            {css: "ink thin", label: "not beaten in both"}
        ]);
        const apart = known ? ["weight_type", "kv_type", "kv_policy", "num_steps", ...FORCED_KEYS]
                            : ["kv_policy", ...FORCED_KEYS];
        facets(box,
            conditions(drawn, CONDITIONS.filter((key) => !apart.includes(key)))
                .map((group) => ({...group, lossy: false})),
            (panel, group, width) => {
                const points = group.rows.filter((row) => axis.scores || !isForcedDraw(row)).map((row) => {
                    const point = known ? known.get(identity(row, ACCURACY_OF)) : null;
                    return point
                        ? {x: row.decode_tok_s, y: point.share, low: point.interval[0], high: point.interval[1], row}
                        : {x: row.decode_tok_s, y: row.agreement, row};
                });
                drawPareto(panel, width, points,
                    group.rows.filter((row) => !axis.scores && isForcedDraw(row))
                        .map((row) => ({x: row.decode_tok_s, row})),
                    axis.label);
            },
            420);
    });
