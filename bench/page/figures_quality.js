/* Figures of what other weight and cache types do to predictions, from the rows of `muninn divergence`. */

const QUALITY_SERIES = ["weight_type", "kv_type"];
const QUALITY_PANELS =
    ["model", "model_hash", "reference_weight_type", "reference_kv_type", "text_set", "device", "device_id", "driver"];
const atDepth = (row) => has(row, "num_steps", (v) => isNumber(v) && v > 0);
const qualityName = (row) => `${say(row, "weight_type")}, cache ${say(row, "kv_type")}`;

/* The reference but for one group of matrices: shown beside its like. */
const isGroup = (row) =>
    has(row, "weight_type", (v) => isText(v) && v.startsWith(word(row, "reference_weight_type") + "+"));
const QUALITY_SHOWN = [
    {id: "whole", label: "types of all matrices", fits: (row) => !isGroup(row)},
    {id: "groups", label: "one group of matrices in another type", fits: isGroup},
    {id: "all", label: "both", fits: () => true}
];
function chooseShown(box, name, rows) {
    const entries = QUALITY_SHOWN.filter(({fits}) => rows.some(fits));
    const {fits} = entries.length > 2 ? choose(box, name, "Weights", entries) : QUALITY_SHOWN[2];
    return rows.filter(fits);
}

/* One value of every row over the depth, both logarithmic. `at` gives {value, low, high} of a row; what is 0 has no
 * place on such an axis and is counted. */
function drawQuality(box, {rows, at, label, tip}) {
    const shown = rows.filter((row) => at(row).value > 0), zero = rows.length - shown.length;
    note(box,
        zero ? `${count(zero, "row")} left out: no difference at all, which has no place on a logarithmic axis.` : "");
    if (!shown.length) return;
    const kinds = conditions(shown, QUALITY_SERIES);
    kinds.sort((a, b) => compareValues(qualityName(a.first), qualityName(b.first)));
    const css = (i) => `s${1 + (i % 7)}`, shape = (i) => SHAPE_NAMES[i % SHAPE_NAMES.length];
    legend(box, kinds.map((kind, i) => ({css: css(i), kind: shape(i), label: qualityName(kind.first)})));
    const depths = ascending(shown.map((row) => row.num_steps)),
          x = logAxis("recurrence steps r", depths, 2, depths.length <= 8 ? depths : null);
    facets(box, conditions(shown, QUALITY_PANELS), (panel, group, width) => {
        const floor = Math.min(...group.rows.map((row) => at(row).value)) / 10;
        const values = group.rows.flatMap((row) => [at(row).value, at(row).low, at(row).high])
                           .filter((v) => isNumber(v) && v >= floor);
        const y = logAxis(label, values), inside = (v) => Math.max(y.axis.domain[0], v > 0 ? y.at(v) : -Infinity);
        const p = plot(panel, {width, height: 300, title: label, x: x.axis, y: y.axis});
        kinds.forEach((kind, i) => {
            const points = ascending(
                group.rows.filter((row) => identity(row, QUALITY_SERIES) === kind.id).map((row) => row.num_steps))
                               .map((depth) => latest(group.rows.filter((row) => row.num_steps === depth &&
                                            identity(row, QUALITY_SERIES) === kind.id)));
            const bounded = points.filter((row) => isNumber(at(row).low) && isNumber(at(row).high));
            if (bounded.length > 1)
                p.band(bounded.map((row) => [x.at(row.num_steps), inside(at(row).low), inside(at(row).high)]), css(i));
            if (points.length > 1) p.line(points.map((row) => [x.at(row.num_steps), y.at(at(row).value)]), css(i));
            for (const row of points)
                p.dot(x.at(row.num_steps), y.at(at(row).value), css(i), qualityTip(row, tip(row)), shape(i));
        });
    });
}

function qualityTip(row, lines) {
    const all = [`${qualityName(row)}, R ${row.num_steps}`, ...lines];
    if (number(row, "logit_error_max") !== null) all.push(["largest logit error", short(row.logit_error_max)]);
    if (number(row, "positions") !== null)
        all.push([
            "positions", `${row.positions}` + (number(row, "texts") === null ? "" : ` in ${count(row.texts, "text")}`)
        ]);
    return all;
}

const intervalTip = (low, high, say_) =>
    (low === null || high === null ? "none: one text" : `${say_(low)} to ${say_(high)}`);

figure("divergence", "Error against recurrence steps",
    "How far the distribution of the next token moves when weights or cache are kept in another type: mean " +
        "Kullback-Leibler divergence from the reference at the same depth, in nats, over the recurrence steps r. " +
        "Both " +
        "axes are logarithmic. The bands are 95 % intervals that take texts as independent.",
    (box, view) => {
        const all = view.of("quantisation"), rows = all.filter((row) => atDepth(row) && has(row, "kl_mean", isNumber));
        note(box, leftOut(all, rows, "kl_mean"));
        if (!rows.length) return note(box, "No row of `muninn divergence` among those shown.");
        drawQuality(box, {
            rows: chooseShown(box, "divergence-shown", rows),
            label: "KL, nats",
            at: (row) => ({value: row.kl_mean, low: number(row, "kl_low"), high: number(row, "kl_high")}),
            tip: (row) => [["KL", short(row.kl_mean) + " nats"],
                ["95 % interval", intervalTip(number(row, "kl_low"), number(row, "kl_high"), (v) => short(v))],
                ["99 % of positions are below", short(number(row, "kl_p99"))],
                ["largest", short(number(row, "kl_max"))]],
        });
    });

figure("disagreement", "Agreement against recurrence steps",
    "Share of the positions whose best next token is another one than the reference's at the same depth, over the " +
        "recurrence steps r. Both axes are logarithmic, so a decade down is a nine more. The bands are 95 % Wilson " +
        "intervals that take texts as independent.",
    (box, view) => {
        const all = view.of("quantisation"),
              rows = all.filter((row) => atDepth(row) && has(row, "top1_agreement", isNumber));
        note(box, leftOut(all, rows, "top1_agreement"));
        if (!rows.length) return note(box, "No row of `muninn divergence` among those shown.");
        const other = (v) => (v === null ? null : Number((1 - v).toPrecision(12)));
        drawQuality(box, {
            rows: chooseShown(box, "disagreement-shown", rows),
            label: "another best token",
            at: (row) => ({
                value: other(row.top1_agreement),
                low: other(number(row, "top1_high")),
                high: other(number(row, "top1_low"))
            }),
            tip: (row) => [["same best token", percent(row.top1_agreement)],
                ["95 % interval", intervalTip(number(row, "top1_low"), number(row, "top1_high"), percent)]],
        });
    });
