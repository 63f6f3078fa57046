/* The page of `muninn compare -o FILE.html`: two files, pair by pair. Its rows are those of the pairs, A's and B's in
 * turn; about.comparison is what `muninn compare -o json` writes. Filters and cards are those of every page; the figure
 * and the table are of pairs. */

const PAIR_CONDITIONS = [
    ...CONDITIONS.filter(
        (key) => !["device", "device_id", "driver", "driver_version", "cpu_threads", "model_hash", "commit", "build"]
                      .includes(key)),
    "strategy", "draft_steps", "lookahead", "max_inflight", "lookup", "branches", "pass", "rows", "position"
];
const VERDICTS = {faster: "s3", slower: "s2", "no difference seen": "s7", "too few samples": "s5"};
const SHOWN_PAIRS = 8;

/* Pairs as rows, the worst for B first. */
function comparedPairs() {
    if (!about.comparison) return [];
    const pairs =
        about.comparison.pairs.map((pair, i) => ({...pair, bench: "pair", a: allRows[2 * i], b: allRows[2 * i + 1]}));
    const rows = pairs.map(({a}) => a), labels = new Map();
    for (const kind of new Set(rows.map(kindOf)))
        for (const group of conditions(rows.filter((row) => kindOf(row) === kind), PAIR_CONDITIONS))
            for (const row of group.rows) labels.set(row, group.label);
    for (const pair of pairs) pair.setting = pairName(pair.a, labels.get(pair.a));
    return pairs.sort((x, y) => x.ratio - y.ratio);
}

/* The strategy with its K, L and W in one word, the pass with its rows; then what differs from pair to pair. */
function pairName(row, label) {
    const own = kindOf(row) === "pass" ? `pass ${say(row, "pass")} of ${count(number(row, "rows") ?? 0, "row")}`
                                       : settingName(row);
    const rest = label.split(", ").filter(
        (part) => part && !["strategy", "K", "L", "W", "pass", "rows"].includes(part.split(" ")[0]));
    return [own, ...rest].join(", ");
}

const allPairs = comparedPairs();
/* A pair is there when either of its rows passes: in what they differ, none of both could. */
const pairsOf = (view) => allPairs.filter(({a, b}) => view.has(a) || view.has(b));
const ratioWords = (v) => (isNumber(v) ? v.toFixed(3) : "?");

function drawCompared(root, view) {
    const c = about.comparison, pairs = pairsOf(view), tiles = html("div", {class: "tiles"}),
          mean = pairs.length ? Math.exp(pairs.reduce((sum, {ratio: r}) => sum + Math.log(r), 0) / pairs.length) : null;
    tiles.append(tile("B / A on average", mean === null ? "?" : ratioWords(mean),
        `geometric mean of ${count(pairs.length, "pair")}; above 1 B is the faster`));
    for (const verdict of Object.keys(VERDICTS)) {
        const n = pairs.filter((pair) => pair.verdict === verdict).length;
        if (n || verdict === "faster" || verdict === "slower")
            tiles.append(tile({faster: "B faster", slower: "B slower"}[verdict] ?? verdict, String(n),
                verdict === "too few samples"          ? "no interval can be said"
                    : verdict === "no difference seen" ? "the interval holds 1"
                                                       : "the whole interval is on that side of 1"));
    }
    root.replaceChildren(
        html("p", null, html("b", null, "A"), ` is ${text(c.a, 80)}, `, html("b", null, "B"), ` is ${text(c.b, 80)}.`),
        tiles);
    if (c.only_a || c.only_b)
        note(root, `Without a partner: ${count(c.only_a, "row")} of A, ${count(c.only_b, "row")} of B.`);
    note(root, `The interval (${text(c.method)}) knows the noise between repetitions, not that between two days.`);
    if (!pairs.length) return note(root, "No pair passes the filters.");
    root.append(html("h2", null, "What differs between A and B"),
        c.changed.length ? changedTable(c.changed)
                         : html("p", null, "Nothing: same device, driver, commit and model."));
}

function changedTable(changed) {
    const words = (json) => text(json.replace(/^"(.*)"$/s, "$1"), 80);
    return html("div", {class: "scroll points"},
        html("table", {id: "changed"}, html("thead", null, html("tr", null, ["", "A", "B",
            "pairs"].map((word) => html("th", {scope: "col"}, word)))),
            html("tbody", null,
                changed.map(({key, a, b, pairs}) => html("tr", null, html("th", {scope: "row"}, fieldTitle(key)),
                                html("td", null, words(a)), html("td", null, words(b)),
                                html("td", {class: "number"}, String(pairs)))))));
}

/* ---- the figure ---- */

function pairTip(pair) {
    return tipOf(pair, [
        pair.setting, ["B / A", ratioWords(pair.ratio)],
        [
            "95 % interval",
            pair.low === null ? "too few samples" : `${ratioWords(pair.low)} to ${ratioWords(pair.high)}`
        ],
        ["A", `${short(pair.rate_a, 4)} per s, ${count(pair.samples_a, "sample")}`],
        ["B", `${short(pair.rate_b, 4)} per s, ${count(pair.samples_b, "sample")}`], ["verdict", pair.verdict],
        ...(pair.a_is === pair.b_is ? [["both", pair.a_is || "not said"]]
                                    : [["A is", pair.a_is || "not said"], ["B is", pair.b_is || "not said"]])
    ]);
}

/* A pair per line: its words above, its interval below, on one scale with a line at 1. */
function drawPairs(panel, pairs, width, [low, high]) {
    const step = 40, height = pairs.length * step + 24, x = (v) => 8 + ((width - 16) * (v - low)) / (high - low || 1),
          all = [];
    const root = svg("svg",
        {class: "pairs", viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": "B / A"});
    const axes = svg("g", {class: "axes", "aria-hidden": "true"}), bottom = pairs.length * step;
    for (const tick of niceTicks(low, high, Math.max(2, width / 80)))
        axes.append(svg("line", {class: "grid", x1: x(tick), x2: x(tick), y1: 0, y2: bottom}),
            svg("text", {x: x(tick).toFixed(1), y: bottom + LINE, "text-anchor": "middle"}, short(tick)));
    axes.append(svg("line", {class: "reference", x1: x(1), x2: x(1), y1: 0, y2: bottom}));
    root.append(axes);
    pairs.forEach((pair, i) => {
        const y = i * step, css = VERDICTS[pair.verdict] ?? "s7", words = ratioWords(pair.ratio),
              mark = svg("g", {class: "pair " + css});
        root.append(
            svg("text", {x: 2, y: y + 15, class: "halo"}, fit(pair.setting, width - words.length * LETTER - 14)),
            svg("text", {x: width - 2, y: y + 15, class: "strong halo", "text-anchor": "end"}, words));
        if (pair.low !== null)
            mark.append(svg("path", {
                class: "line " + css,
                d: `M${x(pair.low).toFixed(1)} ${y + 27}H${x(pair.high).toFixed(1)}M${x(pair.low).toFixed(1)} ${
                    y + 23}v8M${x(pair.high).toFixed(1)} ${y + 23}v8`
            }));
        mark.append(svg("path", {
            class: "dot mark " + css,
            d: SHAPES.circle(4.5),
            transform: `translate(${x(pair.ratio).toFixed(1)} ${y + 27})`
        }));
        addTip(mark.lastChild, pairTip(pair), all);
        root.append(mark);
    });
    panel.append(root);
}

if (about.comparison) {
    KINDS.set("pair", "pairs");
    figures.splice(0, figures.length);
    figure("pairs", "The worst and the best pairs",
        "The quotient B / A of each pair with its 95 % interval; right of the dashed line B is the faster. What lies " +
            "across it may be noise.",
        (box, view) => {
            const pairs = pairsOf(view);
            if (!pairs.length) return note(box, "No pair among those shown.");
            const ends = [...pairs.flatMap(({low, high, ratio: r}) => [low ?? r, high ?? r]), 1],
                  low = Math.min(...ends), high = Math.max(...ends), pad = 0.04 * (high - low) || 0.05;
            legend(box,
                Object.entries(VERDICTS).filter(([verdict]) => pairs.some((pair) => pair.verdict === verdict)).map(([
                    label, css
                ]) => ({css, kind: "circle", label})));
            const few = pairs.length <= 2 * SHOWN_PAIRS;
            const groups = few ? [{label: "", pairs}] : [
                {label: `the ${SHOWN_PAIRS} worst for B`, pairs: pairs.slice(0, SHOWN_PAIRS)},
                {label: `the ${SHOWN_PAIRS} best for B`, pairs: pairs.slice(-SHOWN_PAIRS).reverse()}
            ];
            facets(box, groups, (panel, group, width) => drawPairs(panel, group.pairs, width, [low - pad, high + pad]),
                420);
            if (!few) note(box, `${pairs.length - 2 * SHOWN_PAIRS} pairs between them are in the table.`);
        });
}

/* The table's view: pairs in the stead of rows. */
function pairView(view) {
    const pairs = pairsOf(view);
    return {
        ...view,
        rows: pairs,
        kinds: new Map(pairs.length ? [["pair", pairs]] : []),
        of: (kind) => (kind === "pair" ? pairs : [])
    };
}
