/* Figures of the recurrence, from the records of `muninn trace`: convergence, exits, trajectories. */

const CRITERIA = ["latent-diff", "cosine", "entropy-diff", "kl", "minp-kl", "argmax-stability"];
const ENDS = {
    "fixed-point": ["s1", "circle", "fixed point"],
    orbit: ["s2", "diamond", "orbit"],
    slider: ["s4", "triangle", "slider"],
    unsettled: ["s7", "square", "unsettled"]
};
const endOf = (row) =>
    (has(row, "class", isText) && Object.hasOwn(ENDS, row.class) ? ENDS[row.class] : ["s7", "star", "not said"]);

/* A record is drawn when it has a number of every step for each of these. */
const isTraced = (row) => has(row, "position", isNumber) &&
    ["change", "kl", "entropy"].every((key) => has(row, key, isList) && row[key].length === row.change.length);
const traced = (view) => view.of("trace").filter(isTraced);

/* Text of a token with its blanks visible; a byte that is no character shows as it was written. */
const tokenText = (value, most = 14) =>
    (isText(value) && value !== "" ? text(value.replaceAll(" ", "\u2423"), most) : "\u2205");
const exitOf = (row, criterion) => (Object.hasOwn(row, "exits") && row.exits !== null &&
            typeof row.exits === "object" && has(row.exits, criterion, isNumber)
        ? row.exits[criterion]
        : null);

/* One trace after the other: which is drawn is chosen above the figure. Rows by position. */
function chooseTrace(box, name, rows) {
    const entries = conditions(rows, ["trace"]).map((group) => {
        group.rows.sort((a, b) => a.position - b.position);
        const words = group.rows.slice(0, 40).map((row) => (isText(row.text) ? row.text : "")).join("");
        return {
            id: group.id,
            rows: group.rows,
            label: `${say(group.first, "model")}, R ${say(group.first, "num_steps")}: ${text(words, 50)}`
        };
    });
    return choose(box, name, "Trace", entries, entries.find((entry) => entry.rows === tellingTrace(entries))).rows;
}

/* Which of several traces shows most of a model: one with the states of a full cache before others, then the one with
 * the most steps of tokens. Of equals the first. entries: {rows}. Returns rows. */
function tellingTrace(entries) {
    const heads = allRows.filter((row) => kindOf(row) === "trace_header");
    const isFull = (rows) => { /* the header alone knows */
        const head = heads.find((row) => row.trace === rows[0].trace);
        return !head || (word(head, "kv_policy") ?? "full") === "full";
    };
    const steps = (rows) => rows.reduce((sum, row) => sum + (number(row, "num_steps") ?? 0), 0);
    return entries.map(({rows}) => rows).reduce((a, b) =>
        (isFull(a) === isFull(b) ? steps(b) > steps(a) : isFull(b)) ? b : a);
}

const TOKENS_MAX = 40, STEPS_MAX = 64;
/* As many tokens as one picture holds; the others are chosen. */
function chooseTokens(box, name, rows) {
    const parts = [];
    for (let i = 0; i < rows.length; i += TOKENS_MAX) {
        const part = rows.slice(i, i + TOKENS_MAX);
        parts.push(
            {id: String(i), rows: part, label: `positions ${part[0].position} to ${part[part.length - 1].position}`});
    }
    return choose(box, name, "Tokens", parts).rows;
}

function tokenTip(row, step) {
    const at = (key) => (has(row, key, isList) ? row[key][step - 1] ?? null : null),
          best = Array.isArray(row.top1_text) ? row.top1_text[step - 1] : undefined;
    return [
        `${tokenText(row.text, 40)} at position ${row.position}, step ${step}`,
        ["relative change", short(at("change"))], ["KL to the last step", short(at("kl"))],
        ["entropy", short(at("entropy"))], ["best next token", `${tokenText(best, 40)}, ${percent(at("top1_p"))}`],
        ["leaves by", CRITERIA.filter((c) => exitOf(row, c) === step).join(", ") || "no criterion at this step"]
    ];
}

/* Colours by the logarithm, over at most eight decades below the largest value. */
function decades(values) {
    const above = values.filter((v) => v > 0), high = Math.log10(above.length ? best(above, (v) => v) : 1),
          low = Math.max(high - 8, above.length ? Math.log10(best(above, (v) => -v)) : high - 1);
    const span = high - low || 1;
    return {low: 10 ** low, high: 10 ** high, at: (v) => (v > 0 ? Math.max(0, (Math.log10(v) - low) / span) : 0)};
}

/* The best next token in the cells of a map, once where it begins: it holds until the next one. Black or white by the
 * colours under it. */
function drawPredictions(p, row, steps, colourAt) {
    const texts = Array.isArray(row.top1_text) ? row.top1_text : [], textAt = (step) => texts[step - 1];
    const known = steps.filter((step) => isText(textAt(step)));
    for (let i = 0, next = 0; i < known.length; i = next) {
        while (next < known.length && textAt(known[next]) === textAt(known[i])) next++;
        const words = fit(tokenText(textAt(known[i]), 24), (next - i) * p.stepX - 3);
        if (words.length * LETTER > (next - i) * p.stepX + 4 || p.stepY < 13) continue; /* not even a letter has room */
        /* A letter and a sign that there are more say nothing. */
        if (words.length < 3 && words.endsWith("\u2026")) continue;
        const under = known.slice(i, Math.min(next, i + Math.ceil((words.length * LETTER) / p.stepX))).map(colourAt);
        const place = {x: (p.x(known[i]) - p.stepX / 2 + 2).toFixed(1), y: (p.y(row.position) + 4).toFixed(1)};
        const node = svg("text", {class: "predicted small", ...place}, words);
        /* Words lie across cells of several colours: an edge of the other ink keeps them apart from all. */
        const ink = inkOn(under.reduce((a, b) => a + b, 0) / under.length);
        node.style.fill = ink;
        node.style.stroke = ink === "#000" ? "#fff" : "#000";
        p.root.append(node);
    }
}

figure("convergence", "Convergence, token by token",
    "Down: the tokens. Across: recurrence steps. The first map shows how far the state moved in a step, relative " +
        "to its size; the second how far the prediction still was from the last step's (KL, in nats). Dark is " +
        "converged; the colours are logarithmic. In the cells stands the best next token, once where it changes. A " +
        "frame marks the step at which the criterion would let the token leave.",
    (box, view) => {
        const all = view.of("trace"), rows = traced(view);
        note(box, leftOut(all, rows, "change, kl and entropy of every step"));
        if (!rows.length) return note(box, "No trace among the rows shown; `muninn trace` makes them.");
        const shown = chooseTokens(box, "convergence-tokens", chooseTrace(box, "convergence-trace", rows));
        const first = {id: "own", label: "latent-diff and kl"},
              chosenExit = choose(
                  box, "convergence-exit", "Exit by", [first, ...CRITERIA.map((id) => ({id, label: id}))], first);
        const n = shown.reduce((most, row) => Math.max(most, row.change.length), 0), every = Math.ceil(n / STEPS_MAX),
              steps = Array.from({length: n}, (_, i) => i + 1).filter((s) => s % every === 0 || s === n);
        if (every > 1) note(box, `Every ${every}th step is drawn.`);
        const labels = new Map(shown.map((row) => [row.position, `${row.position} ${tokenText(row.text)}`]));
        facets(box,
            [
                {key: "change", label: "relative change", exit: "latent-diff"},
                {key: "kl", label: "KL to the last step", exit: "kl"}
            ],
            (panel, map, width) => {
                const criterion = chosenExit.id === "own" ? map.exit : chosenExit.id,
                      scale = decades(shown.flatMap((row) => row[map.key]));
                rampLegend(panel, short(scale.low), short(scale.high), "\u00b7 framed: exit by " + criterion);
                const p = plot(panel, {
                    width,
                    height: 46 + 20 * shown.length,
                    title: map.label,
                    x: {bands: steps, label: "step"},
                    y: {bands: shown.map((row) => row.position), format: (v) => labels.get(v)}
                });
                for (const row of shown)
                    for (const step of steps) {
                        const exit = exitOf(row, criterion),
                              here = exit !== null && exit <= step && exit > step - every;
                        if (step <= row.change.length)
                            p.cell(step, row.position, scale.at(row[map.key][step - 1]), "", tokenTip(row, step),
                                here ? "top" : "");
                    }
                for (const row of shown)
                    drawPredictions(p, row, steps.filter((step) => step <= row.change.length),
                        (step) => scale.at(row[map.key][step - 1]));
            },
            420);
    });

figure("exits", "Tokens by exit step",
    "How many tokens each criterion would let go at each step, at its default threshold. What never leaves takes " +
        "all steps.",
    (box, view) => {
        const rows = traced(view).filter((row) => CRITERIA.some((c) => exitOf(row, c) !== null));
        if (!rows.length) return note(box, "No trace with exits among the rows shown.");
        const shown = chooseTrace(box, "exits-trace", rows),
              n = Math.min(STEPS_MAX, shown.reduce((most, row) => Math.max(most, row.change.length), 0)),
              bands = [...Array.from({length: n}, (_, i) => i + 1), "never"];
        const counts = CRITERIA.map(
            (c) => bands.map((band) => shown.filter((row) => (exitOf(row, c) ?? "never") === band).length));
        const domain = fromZero(counts.flat(), 3);
        facets(box, CRITERIA.map((label, i) => ({label, counts: counts[i]})), (panel, group, width) => {
            const p = plot(panel,
                {width, height: 130, title: group.label, x: {bands, label: "step"}, y: {domain, label: "tokens"}});
            group.counts.forEach((v, i) => v &&
                    p.bar(bands[i], v, "s1",
                        [group.label, ["step", String(bands[i])], ["tokens", `${v} of ${shown.length}`]]));
        }, 300);
    });

figure("trajectories", "Latent trajectories",
    "The states of all steps on the two directions in which they vary most. Every line is a token; it begins at " +
        "the initial state and ends at the mark, whose shape says how the trajectory ends (the rule is in `muninn " +
        "trace --help`).",
    (box, view) => {
        const isPath = (path) =>
            Array.isArray(path) && path.length > 1 && path.every((place) => isList(place) && place.length >= 2);
        const all = view.of("trace"),
              rows = all.filter((row) => has(row, "position", isNumber) && has(row, "path", isPath));
        note(box, leftOut(all, rows, "path"));
        if (!rows.length) return note(box, "No trace with a path among the rows shown.");
        const shown = chooseTrace(box, "trajectories-trace", rows), kinds = [...new Set(shown.map(endOf))];
        legend(box, [
            ...kinds.map(([css, kind,
                label]) => ({css, kind, label: `${label} (${shown.filter((row) => endOf(row)[2] === label).length})`})),
            {css: "ink", kind: "square", label: "initial state"}
        ]);
        const summary = view.of("trace_summary").find((row) => row.trace === shown[0].trace),
              parts = summary && typeof summary.pca === "object" && summary.pca !== null
            ? list(summary.pca, "explained")
            : null;
        const axis = (i) =>
            `component ${i + 1}` + (parts && parts.length > i ? `, ${percent(parts[i])} of the variance` : "");
        const places = shown.flatMap((row) => row.path), bounds = (i) => {
            const low = places.reduce((a, b) => Math.min(a, b[i]), Infinity),
                  high = places.reduce((a, b) => Math.max(a, b[i]), -Infinity), pad = 0.05 * (high - low) || 1;
            return [low - pad, high + pad];
        };
        facets(box, [{label: ""}], (panel, _, width) => {
            const p = plot(panel, {
                width,
                height: 460,
                title: "trajectories",
                x: {domain: bounds(0), label: axis(0)},
                y: {domain: bounds(1), label: axis(1)}
            });
            for (const row of shown) p.line(row.path, endOf(row)[0] + " thin");
            const starts = new Set();
            for (const row of shown) {
                const id = JSON.stringify(row.path[0].slice(0, 2));
                if (!starts.has(id)) p.dot(row.path[0][0], row.path[0][1], "ink", ["initial state"], "square", 3.5);
                starts.add(id);
            }
            for (const row of shown) {
                const [css, shape, label] = endOf(row), end = row.path[row.path.length - 1],
                                   period = number(row, "period");
                p.dot(end[0], end[1], css,
                    [
                        `${tokenText(row.text, 40)} at position ${row.position}`,
                        ["ends as", label + (period ? ` of period ${period}` : "")],
                        [
                            "last relative change",
                            short(has(row, "change", isList) ? row.change[row.change.length - 1] : null)
                        ],
                        ["leaves by", CRITERIA.map((c) => `${c} ${exitOf(row, c) ?? "never"}`).join(", ")]
                    ],
                    shape);
            }
        });
    });
