/* The roofline: how much arithmetic a kernel does for each byte it reads, and how near it comes to what the device
 * allows.
 *
 * One roof was measured, the read bandwidth (`ceiling_gb_s`); no program here measures the arithmetic peak, so none is
 * drawn. */

/* Places of a pass, in fixed colours and shapes; places that are not known share the last. */
const KERNEL_MARKS = {
    qkv: ["s1", "circle"],
    attention: ["s2", "triangle"],
    projection: ["s3", "diamond"],
    gate: ["s4", "nabla"],
    down: ["s5", "square"],
    head: ["s6", "star"],
    adapter: ["s7", "circle"],
};
const SHOWN_PLACES = Object.keys(KERNEL_MARKS);
const kernelMark = (row) => (Object.hasOwn(KERNEL_MARKS, row.what) ? KERNEL_MARKS[row.what] : ["s7", "square"]);
const intensity = (row) => row.flops / row.bytes;

/* Multiply-adds and bytes both: what neither reads weights nor the cache has no place on a roofline. */
const isRoofed = (row) => ["flops", "bytes", "gflop_s"].every((key) => has(row, key, (v) => isNumber(v) && v > 0)) &&
    has(row, "pass", isText) && has(row, "what", isText) && has(row, "rows", isNumber);

function rooflineTip(row) {
    const ceiling = number(row, "ceiling_gb_s"), roof = ceiling === null ? null : ceiling * intensity(row);
    return [
        `${[word(row, "what"), word(row, "shape")].filter(Boolean).map((part) => text(part, 30)).join(" ")}, ${
            text(row.pass, 30)} pass, ` +
            count(row.rows, "row"),
        ["arithmetic", short(row.gflop_s) + " GFLOP/s"], ["intensity", short(intensity(row)) + " FLOP per byte"],
        ["bandwidth", number(row, "gb_s") === null ? "?" : short(row.gb_s) + " GB/s"],
        [
            "of the bandwidth roof",
            roof === null            ? "no ceiling was measured"
                : row.gflop_s > roof ? `above it: ${ceilingCause(row)}`
                                     : percent(row.gflop_s / roof)
        ],
        [
            "time",
            number(row, "us") === null
                ? "?"
                : `${short(row.us, 4)} \u00b5s, ${count(number(row, "dispatches") ?? 1, "dispatch", "dispatches")}`
        ],
        ["device", say(row, "device")]
    ];
}

figure("roofline", "Roofline per kernel",
    "Across: arithmetic intensity, floating-point operations (a multiply-add counts as two) per byte of weights or " +
        "cache " +
        "read; activations are not counted. Up: operations per second reached. Both axes are logarithmic. The " +
        "slanted " +
        "line is the measured read bandwidth times the intensity: no kernel that reads from memory passes it. There " +
        "is " +
        "no flat roof, because the arithmetic peak of the device was not measured. Rows that share one read of the " +
        "weights move a kernel's mark to the right; where they are too many for one read, it falls back.",
    (box, view) => {
        const all = view.of("kernel"), rows = all.filter(isRoofed);
        note(box,
            leftOut(all, rows,
                "flops, bytes, gflop_s, pass, what or rows (embed, norm and argmax read neither weights nor cache)"));
        if (!rows.length)
            return note(box, "No kernel was measured among the rows shown; `muninn bench --kernels` does.");
        const passes = [...new Set(rows.map((row) => row.pass))].map((id) => ({id, label: text(id, 30)})),
              whole = {id: null, label: "all"};
        const pass = choose(box, "roofline-pass", "Pass", [...passes, whole], passes.find(({id}) => id === "core")).id;
        const of = rows.filter((row) => pass === null || row.pass === pass),
              anyRows = {id: "all", label: "all", n: null};
        const entries =
            [anyRows, ...ascending(of.map((row) => row.rows)).map((n) => ({id: n, label: count(n, "row"), n}))];
        const {n} = choose(box, "roofline-rows", "Rows in the pass", entries),
              here = thinRoofline(box, of.filter((row) => n === null || row.rows === n));
        const roof = (row) => (number(row, "ceiling_gb_s") ?? 0) * intensity(row);
        const order = (row) => SHOWN_PLACES.indexOf(row.what) >>> 0; /* the unknown last */
        const places =
            [...new Map(here.map((row) => [kernelMark(row).join(), row])).values()].sort((a, b) => order(a) - order(b));
        legend(box, [
            ...places.map((row) => ({
                css: kernelMark(row)[0],
                kind: kernelMark(row)[1],
                label: Object.hasOwn(KERNEL_MARKS, row.what) ? row.what : "other"
            })),
            ...(here.some((row) => number(row, "ceiling_gb_s")) ? [{css: "ceiling", label: "measured read bandwidth"}]
                                                                : [])
        ]);
        const x = logAxis("FLOP per byte read", here.map(intensity)),
              y = logAxis("GFLOP/s", here.flatMap((row) => [row.gflop_s, roof(row)]));
        facets(box, conditions(here, KERNEL_CONDITIONS), (panel, group, width) => {
            const p = plot(panel, {width, height: 340, title: "roofline", x: x.axis, y: y.axis});
            const ceilings = group.rows.map((row) => number(row, "ceiling_gb_s")).filter((v) => v !== null && v > 0);
            if (ceilings.length) drawRoof(p, x.axis.domain, y.axis.domain, Math.max(...ceilings));
            else
                note(panel, "These rows have no ceiling_gb_s: no roof is drawn.");
            for (const series of conditions(group.rows, ["pass", "what", "shape"])) {
                const points = series.rows.sort((a, b) => a.rows - b.rows), [css, shape] = kernelMark(series.first);
                if (points.length > 1)
                    p.line(points.map((row) => [x.at(intensity(row)), y.at(row.gflop_s)]), css + " thin");
                for (const row of points)
                    p.dot(x.at(intensity(row)), y.at(row.gflop_s), css, rooflineTip(row), shape,
                        points.length > 1 ? 3.5 : 4.5);
            }
        }, 420);
    });

/* Bandwidth times intensity, where it crosses the picture. */
function drawRoof(p, xs, ys, ceiling) {
    const roof = Math.log10(ceiling), from = Math.max(xs[0], ys[0] - roof), to = Math.min(xs[1], ys[1] - roof);
    if (from >= to)
        return p.words(
            p.left + 6, p.top + 12, `the roof of ${short(ceiling)} GB/s lies outside of this picture`, "small faint");
    p.line([[from, from + roof], [to, to + roof]], "ceiling");
    const words = `${short(ceiling)} GB/s`, px = p.x(to), py = p.y(to + roof);
    const rise =
        (p.y(from + roof) - py) / Math.max(1, px - p.x(from)); /* the words lie under the line, however steep */
    p.words(px - 4, py + 14 + rise * words.length * LETTER, words, "small halo", "end");
}

function thinRoofline(box, rows) {
    if (rows.length > POINTS_MAX) note(box, `The first ${POINTS_MAX} of ${rows.length} rows are drawn.`);
    return rows.slice(0, POINTS_MAX);
}
