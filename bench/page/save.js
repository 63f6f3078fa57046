/* A figure as a file: the picture as SVG, what its marks say as CSV. Both are made here, from what is on the page, and
 * handed to the browser as a download: no network, no style or script that the policy of the page would have to allow.
 */

/* ---- SVG ---- */

const PAINT = [
    "fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "stroke-linejoin", "opacity", "paint-order",
    "text-anchor", "font-size", "font-weight"
];

/* A copy that looks the same without the page's style: what it computes to is written as attributes. */
function withPaint(node) {
    const copy = document.createElementNS("http://www.w3.org/2000/svg", node.localName), style = getComputedStyle(node);
    for (const {name, value} of node.attributes)
        if (!["class", "tabindex", "role"].includes(name) && !name.startsWith("aria-")) copy.setAttribute(name, value);
    if (node.children.length === 0 || node.localName === "text")
        for (const key of PAINT) copy.setAttribute(key, style.getPropertyValue(key));
    if (node.localName === "text") copy.setAttribute("font-family", "sans-serif");
    for (const child of node.childNodes)
        copy.append(child.nodeType === Node.ELEMENT_NODE ? withPaint(child) : child.cloneNode());
    return copy;
}

/* The lines in which the browser has set a text node: {words, x, y, height}. */
function linesOf(node) {
    const range = document.createRange(), lines = [];
    for (const {0: part, index} of node.data.matchAll(/\S+\s*/g)) {
        range.setStart(node, index);
        range.setEnd(node, index + part.trimEnd().length);
        const at = range.getBoundingClientRect(), last = lines[lines.length - 1];
        if (last && Math.abs(last.y - at.top) < 2) last.words += part;
        else if (at.width) lines.push({words: part, x: at.left, y: at.top, height: at.height});
    }
    return lines;
}

function pictureOf(figure) {
    const frame = figure.getBoundingClientRect(), root = svg("svg", {
        width: Math.ceil(frame.width),
        height: Math.ceil(frame.height),
        viewBox: `0 0 ${Math.ceil(frame.width)} ${Math.ceil(frame.height)}`
    });
    root.append(
        svg("rect", {width: "100%", height: "100%", fill: getComputedStyle(document.documentElement).backgroundColor}));
    const walk = document.createTreeWalker(figure, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT,
        (node) => (node.nodeType === Node.ELEMENT_NODE && (node.classList.contains("screen") || node.hidden)
                ? NodeFilter.FILTER_REJECT
                : node.parentNode.closest("svg") ? NodeFilter.FILTER_REJECT
                                                 : NodeFilter.FILTER_ACCEPT));
    for (let node = walk.nextNode(); node; node = walk.nextNode()) {
        if (node.localName === "svg") {
            const at = node.getBoundingClientRect(), copy = withPaint(node);
            fill(copy, {
                x: (at.left - frame.left).toFixed(1),
                y: (at.top - frame.top).toFixed(1),
                width: at.width.toFixed(1),
                height: at.height.toFixed(1),
                overflow: "visible"
            },
                []);
            root.append(copy);
        } else if (node.nodeType === Node.TEXT_NODE) {
            const style = getComputedStyle(node.parentNode);
            for (const line of linesOf(node))
                root.append(svg("text", {
                    x: (line.x - frame.left).toFixed(1),
                    y: (line.y - frame.top + 0.78 * line.height).toFixed(1),
                    fill: style.color,
                    "font-family": "sans-serif",
                    "font-size": style.fontSize,
                    "font-weight": style.fontWeight
                },
                    line.words.trimEnd()));
        }
    }
    return new XMLSerializer().serializeToString(root);
}

/* ---- CSV ---- */

/* A spreadsheet must not take a text for a formula. */
function csvField(value) {
    if (value === null || value === undefined) return "";
    const words = isNumber(value) || typeof value === "boolean" ? String(value)
        : typeof value === "object"                             ? JSON.stringify(value)
                                                                : String(value).replace(/^[=+\-@\t\r]/, "'$&");
    return /[",\n\r]/.test(words) ? `"${words.replaceAll('"', '""')}"` : words;
}

/* A line per mark: its panel, what its tooltip says, and behind it the plain values of its row, where the tooltip is of
 * one (settingTip, tipOf). */
function tableOf(figure) {
    const said = new Set(), keys = new Set(), lines = [];
    for (const node of figure.querySelectorAll(".mark")) {
        const tip = tips.get(node) ?? [],
              panel = node.querySelector("th") ??
            node.closest(".panel")?.querySelector("h4"); /* a single point is a line of a table */
        const line = {
            panel: panel ? panel.textContent : "",
            mark: tip.filter((part) => !Array.isArray(part)).join("; "),
            said: new Map(tip.filter(Array.isArray)),
            row: tip.row ?? {}
        };
        lines.push(line);
        for (const name of line.said.keys()) said.add(name);
        for (const [key, value] of Object.entries(line.row))
            if (key !== "key" && (value === null || typeof value !== "object")) keys.add(key);
    }
    for (const key of keys) said.delete(key); /* the row's own value says more */
    const head = ["panel", "mark", ...said, ...keys];
    return [
        head,
        ...lines.map((line) => [line.panel, line.mark, ...[...said].map((name) => line.said.get(name)),
                         ...[...keys].map((key) => (Object.hasOwn(line.row, key) ? line.row[key] : null))])
    ].map((fields) => fields.map(csvField).join(",") + "\r\n")
        .join("");
}

/* ---- both ---- */

function download(name, kind, content) {
    const url = URL.createObjectURL(new Blob([content], {type: kind})),
          link = html("a", {href: url, download: name, hidden: true});
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
}

function saveButtons(figure, id) {
    return html("span", {class: "save screen"},
        html("button", {
            type: "button",
            "data-save": "svg",
            title: "save this figure as a picture",
            click: () => download(`muninn-${id}.svg`, "image/svg+xml", pictureOf(figure))
        },
            "SVG"),
        html("button", {
            type: "button",
            "data-save": "csv",
            title: "save what the marks of this figure say",
            click: () => download(`muninn-${id}.csv`, "text/csv", tableOf(figure))
        },
            "CSV"));
}
