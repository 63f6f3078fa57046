/* Plots: scales, axes, marks, legends and tooltips, in plain SVG. Knows nothing of rows. */

/* ---- colours ---- */

/* From dark violet over teal to yellow; brightness rises evenly, so it also reads in grey and for all kinds of colour
 * blindness. */
const RAMP = [[68, 1, 84], [65, 68, 135], [42, 120, 142], [34, 168, 132], [122, 209, 81], [253, 231, 37]];
function rampRgb(at) {
    const place = Math.min(1, Math.max(0, at)) * (RAMP.length - 1), i = Math.min(RAMP.length - 2, Math.floor(place));
    return RAMP[i].map((c, j) => Math.round(c + (RAMP[i + 1][j] - c) * (place - i)));
}
const ramp = (at) => `rgb(${rampRgb(at).join(",")})`;
/* Relative luminance of WCAG 2: 0 black, 1 white. */
function luminance(rgb) {
    const [r, g, b] = rgb.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
/* Black or white, whichever is easier to read on it: at this luminance both have a contrast of 4.58. */
const inkOn = (at) => (luminance(rampRgb(at)) > 0.179 ? "#000" : "#fff");
/* One of the eight ordered classes for item i of n. */
const ordered = (i, n) => "q" + (n < 2 ? 3 : Math.round((7 * i) / (n - 1)));

/* ---- scales ---- */

function niceTicks(min, max, most) {
    const span = max - min || 1, raw = span / Math.max(1, most), power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999);
    const ticks = [];
    for (let i = Math.ceil(min / step - 1e-9); i * step <= max + step * 1e-9; i++)
        ticks.push(Number((i * step).toPrecision(12)));
    return ticks;
}
/* [0, a round number above all values]. */
function fromZero(values, most = 5) {
    const max = values.reduce((a, b) => Math.max(a, b), 0) || 1, ticks = niceTicks(0, max, most);
    const step = ticks.length > 1 ? ticks[1] - ticks[0] : max;
    return [0, Math.ceil(max / step - 1e-9) * step];
}

const tickLabel = (v) => (Math.abs(v) >= 1e6 ? short(v / 1e6, 4) + "M"
        : Math.abs(v) >= 1e4                 ? short(v / 1e3, 4) + "k"
                                             : short(v, 4));

function makeScale(axis, from, to, most) {
    if (axis.bands) {
        const at = new Map(axis.bands.map((value, i) => [value, i])), step = (to - from) / axis.bands.length;
        return {
            map: (v) => from + step * (at.get(v) + 0.5),
            step: Math.abs(step),
            ticks: axis.bands,
            label: axis.format ?? String
        };
    }
    const [min, max] = axis.domain, span = max - min || 1;
    return {
        map: (v) => from + ((to - from) * (v - min)) / span,
        step: 0,
        ticks: axis.ticks ?? niceTicks(min, max, most),
        label: axis.format ?? tickLabel
    };
}

/* A logarithmic axis: values pass through `at` on their way to a plot. Ticks are the powers of `base`, in base 10 with
 * 2 and 5 where there is room for them; `exact`: these values instead. */
function logAxis(label, values, base = 10, exact = null) {
    const at = (v) => Math.log(v) / Math.log(base), logs = values.filter((v) => v > 0).map(at);
    if (!logs.length) return {at, axis: {label, domain: [0, 1], ticks: []}};
    const low = logs.reduce((a, b) => Math.min(a, b)), high = logs.reduce((a, b) => Math.max(a, b));
    const pad = Math.max(0.04 * (high - low), 0.15), domain = [low - pad, high + pad];
    const between = base === 10 && high - low < 2.5 ? [1, 2, 5] : [1], ticks = [];
    for (let power = Math.floor(domain[0]); power <= domain[1]; power++)
        for (const m of between) ticks.push(power + at(m));
    const shown = (exact ? exact.map(at) : ticks).filter((v) => v >= domain[0] && v <= domain[1]);
    return {at, axis: {label, domain, ticks: shown, format: (v) => tickLabel(Number((base ** v).toPrecision(12)))}};
}

/* ---- a plot ---- */

const LETTER = 7.2, LINE = 15; /* of 12 pixel text, roughly */
const fit = (words, pixels) =>
    (words.length * LETTER <= pixels ? words : words.slice(0, Math.max(1, Math.floor(pixels / LETTER) - 1)) + "\u2026");

const SHAPES = {
    circle: (s) => `M${- s} 0a${s} ${s} 0 1 0 ${2 * s} 0a${s} ${s} 0 1 0 ${- 2 * s} 0Z`,
    square: (s) => `M${- s} ${- s}H${s}V${s}H${- s}Z`,
    triangle: (s) => `M0 ${- 1.3 * s}L${1.2 * s} ${s}H${- 1.2 * s}Z`,
    diamond: (s) => `M0 ${- 1.4 * s}L${1.4 * s} 0L0 ${1.4 * s}L${- 1.4 * s} 0Z`,
    nabla: (s) => `M0 ${1.3 * s}L${1.2 * s} ${- s}H${- 1.2 * s}Z`,
    star: (s) => `M${- 1.3 * s} ${- s}L0 ${- 0.35 * s}L${1.3 * s} ${- s}L${0.5 * s} 0L${1.3 * s} ${s}L0 ${0.35 * s}L${
        - 1.3 * s} ${s}L${- 0.5 * s} 0Z`,
};

/* spec: width, height, x and y: {label, domain: [min, max] or bands: [...], ticks, format}, title. Bands of y run
 * downwards, numbers upwards. */
function plot(box, spec) {
    const {width, height} = spec;
    const head = spec.y.label ? LINE + 11 : 8, foot = LINE + 6 + (spec.x.label ? LINE : 0);
    const labels = makeScale(spec.y, 0, 1, Math.max(2, height / 45));
    const left = Math.min(
              width * 0.4, 12 + LETTER * labels.ticks.reduce((most, v) => Math.max(most, labels.label(v).length), 1)),
          right = 14;
    const x = makeScale(spec.x, left, width - right, Math.max(2, (width - left) / 70));
    const y = spec.y.bands ? makeScale(spec.y, head, height - foot)
                           : makeScale(spec.y, height - foot, head, Math.max(2, height / 45));
    const root = svg("svg", {
        class: "plot",
        viewBox: `0 0 ${width} ${height}`,
        width,
        height,
        role: "group",
        "aria-label": spec.title ?? spec.y.label ?? ""
    });
    const axes = svg("g", {class: "axes", "aria-hidden": "true"}), marks = svg("g", {class: "marks"});
    root.append(axes, marks);
    box.append(root);
    drawAxes(axes, spec, x, y, {left, right: width - right, top: head, bottom: height - foot, width, height});
    const all = [];
    const mark = (node, tip) => {
        node.classList.add("mark");
        addTip(node, tip, all);
        marks.append(node);
        return node;
    };
    const place = (scale, v) => scale.map(v);
    return {
        root,
        mark,
        x: x.map,
        y: y.map,
        stepX: x.step,
        stepY: y.step,
        left,
        right: width - right,
        top: head,
        bottom: height - foot,
        line(points, css) {
            marks.append(svg("path", {
                class: "line " + css,
                d: points.map(([a, b], i) => `${i ? "L" : "M"}${place(x, a).toFixed(1)} ${place(y, b).toFixed(1)}`)
                       .join("")
            }));
        },
        /* The area between two values of y, for every x: points of [x, low, high]. */
        band(points, css) {
            const at = (v, w) => `${place(x, v).toFixed(1)} ${place(y, w).toFixed(1)}`;
            const there = points.map(([a, , high]) => at(a, high)),
                  back = points.map(([a, low]) => at(a, low)).reverse();
            marks.append(svg("path", {class: "band " + css, d: `M${[...there, ...back].join("L")}Z`}));
        },
        /* `lift`: so many pixels above its place, to which a thin line leads. */
        dot(a, b, css, tip, shape = "circle", size = 4.5, lift = 0) {
            const px = place(x, a).toFixed(1), py = place(y, b), top = (py - lift).toFixed(1);
            if (lift) marks.append(svg("path", {class: "line hair", d: `M${px} ${py.toFixed(1)}V${top}`}));
            const at = `translate(${px} ${top})`;
            return mark(svg("path", {class: "dot " + css, d: SHAPES[shape](size), transform: at}), tip);
        },
        /* A bar on the band a, from the axis up to b. */
        bar(a, b, css, tip) {
            const w = Math.min(60, x.step * 0.82), top = place(y, b), base = y.map(0);
            return mark(svg("rect", {
                class: "bar " + css,
                x: (place(x, a) - w / 2).toFixed(1),
                y: top.toFixed(1),
                width: w.toFixed(1),
                height: Math.max(0.5, base - top).toFixed(1)
            }),
                tip);
        },
        /* A cell of a heat map: colour 0..1, words inside. */
        cell(a, b, colour, words, tip, css = "") {
            const group = svg("g", {
                class: "cell " + css,
                transform:
                    `translate(${(place(x, a) - x.step / 2).toFixed(1)} ${(place(y, b) - y.step / 2).toFixed(1)})`
            },
                svg("rect", {
                    x: 0.5,
                    y: 0.5,
                    width: Math.max(1, x.step - 1).toFixed(1),
                    height: Math.max(1, y.step - 1).toFixed(1),
                    fill: ramp(colour)
                }));
            if (words && words.length * LETTER <= x.step - 2 && y.step >= 13)
                group.append(svg("text", {
                    x: (x.step / 2).toFixed(1),
                    y: (y.step / 2 + 4).toFixed(1),
                    "text-anchor": "middle",
                    fill: inkOn(colour)
                },
                    words));
            return mark(group, tip);
        },
        words(px, py, string, css = "", anchor = "start") {
            marks.append(svg("text", {class: css, x: px.toFixed(1), y: py.toFixed(1), "text-anchor": anchor}, string));
        },
    };
}

function drawAxes(axes, spec, x, y, at) {
    if (spec.y.label) axes.append(svg("text", {class: "axis-label", x: 2, y: 12}, fit(spec.y.label, at.width - 4)));
    if (spec.x.label)
        axes.append(svg("text",
            {class: "axis-label", x: ((at.left + at.right) / 2).toFixed(1), y: at.height - 4, "text-anchor": "middle"},
            fit(spec.x.label, at.width - 4)));
    for (const v of y.ticks) {
        const py = y.map(v).toFixed(1);
        if (!spec.y.bands) axes.append(svg("line", {class: "grid", x1: at.left, x2: at.right, y1: py, y2: py}));
        axes.append(svg("text", {x: at.left - 6, y: (y.map(v) + 4).toFixed(1), "text-anchor": "end"},
            fit(y.label(v), at.left - 6)));
    }
    /* Labels that would touch are left out, evenly. */
    const widest = x.ticks.reduce((most, v) => Math.max(most, x.label(v).length), 1) * LETTER + 8;
    const between = x.ticks.length > 1 ? Math.abs(x.map(x.ticks[1]) - x.map(x.ticks[0])) : widest,
          every = Math.max(1, Math.ceil(widest / Math.max(1, between)));
    x.ticks.forEach((v, i) => {
        const px = x.map(v).toFixed(1);
        if (!spec.x.bands) axes.append(svg("line", {class: "grid", x1: px, x2: px, y1: at.top, y2: at.bottom}));
        if (i % every === 0)
            axes.append(svg("text", {x: px, y: at.bottom + LINE, "text-anchor": "middle"}, x.label(v)));
    });
    axes.append(svg("line", {class: "axis", x1: at.left, x2: at.right, y1: at.bottom, y2: at.bottom}));
}

/* entries: {css, label, kind: "line", "cell" or the name of a shape}. */
function legend(box, entries) {
    box.append(html("ul", {class: "legend"},
        entries.map(({css, label, kind = "line"}) => html("li", null,
                        svg("svg", {viewBox: "0 0 22 12", width: 22, height: 12, "aria-hidden": "true"},
                            kind === "line" ? svg("path", {class: "line " + css, d: "M1 6H21"}) : svg("path", {
                                class: "dot " + css,
                                d: (SHAPES[kind] ?? SHAPES.square)(4.5),
                                transform: "translate(11 6)"
                            })),
                        label))));
}

/* What the colours of a heat map stand for. */
function rampLegend(box, low, high, words) {
    const stops =
        Array.from({length: 32}, (_, i) => svg("rect", {x: i * 3, y: 0, width: 3.5, height: 12, fill: ramp(i / 31)}));
    box.append(html("p", {class: "legend"}, low, " ",
        svg("svg",
            {viewBox: "0 0 97 12", width: 97, height: 12, role: "img", "aria-label": `colours from ${low} to ${high}`},
            stops),
        " ", high, " ", words));
}

/* ---- tooltips ---- */

/* lines: strings, or [name, value]. */
function tipWords(lines) {
    return lines.map((line) => (Array.isArray(line) ? line.join(": ") : line)).join("\n");
}

function showTip(node, lines) {
    const tip = byId("tooltip");
    tip.replaceChildren(...lines.map(
        (line, i) => (Array.isArray(line) ? html("p", null, html("span", null, line[0]), " ", html("b", null, line[1]))
                                          : html("p", {class: i ? "said" : "head"}, line))));
    tip.hidden = false;
    const at = node.getBoundingClientRect(), size = tip.getBoundingClientRect(), gap = 8;
    const room = document.documentElement.clientWidth;
    const left = Math.max(4, Math.min(room - size.width - 4, at.left + at.width / 2 - size.width / 2));
    const above = at.top - size.height - gap;
    tip.style.left = left + window.scrollX + "px";
    tip.style.top = (above > 4 ? above : at.bottom + gap) + window.scrollY + "px";
}
function hideTip() {
    byId("tooltip").hidden = true;
}

/* What each mark says, for those who save it or write it elsewhere. */
const tips = new WeakMap();

/* A plot is one stop of the Tab key; the arrow keys go from mark to mark. */
function addTip(node, lines, all) {
    tips.set(node, lines);
    const i = all.push(node) - 1;
    node.setAttribute("tabindex", i === 0 ? "0" : "-1");
    node.setAttribute("role", "img");
    node.setAttribute("aria-label", tipWords(lines));
    fill(node, {
        mouseenter: () => showTip(node, lines),
        mouseleave: hideTip,
        focus: () => showTip(node, lines),
        blur: hideTip,
        keydown: (event) => {
            const to = {
                ArrowRight: i + 1,
                ArrowDown: i + 1,
                ArrowLeft: i - 1,
                ArrowUp: i - 1,
                Home: 0,
                End: all.length - 1
            }[event.key];
            if (event.key === "Escape") hideTip();
            if (to === undefined || !all[to]) return;
            event.preventDefault();
            node.setAttribute("tabindex", "-1");
            all[to].setAttribute("tabindex", "0");
            all[to].focus();
        },
    },
        []);
}
