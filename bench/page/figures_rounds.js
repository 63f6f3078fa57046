/* When a decoding did what: its events over time, from `muninn generate --trace`. */

const EVENTS_MAX = 80; /* in one picture */
const isTimed = (event) => ["start_ms", "end_ms"].every((key) => has(event, key, isNumber)) &&
    event.end_ms >= event.start_ms && Array.isArray(event.tokens);
const draftMs = (event) => Math.min(number(event, "draft_ms") ?? 0, event.end_ms - event.start_ms);
const droppedOf = (event) =>
    (Array.isArray(event.rows) ? event.rows.filter((row) => isObject(row) && row.kept === false).length : 0);

function eventTip(event, names) {
    const ms = event.end_ms - event.start_ms, draft = draftMs(event),
          n = Array.isArray(event.rows) ? event.rows.length : 0;
    return [
        `${text(event.event, 20)} ${eventIndex(event)}: ${count(event.tokens.length, "token")} committed`,
        ["tokens", event.tokens.slice(0, 16).map((id) => namedToken(names, id, 20)).join(" ") || "none"],
        ["time", `${short(event.start_ms, 4)} to ${short(event.end_ms, 4)} ms: ${short(ms)} ms`],
        ...(has(event, "draft_ms", isNumber) ? [["drafting", `${short(draft)} ms, ${percent(ms > 0 ? draft / ms : 0)}`]]
                                             : []),
        ["rows", droppedOf(event) ? `${n}, of which ${droppedOf(event)} dropped` : String(n)]
    ];
}

/* Parts of the events that one picture holds. */
function chooseEvents(box, events) {
    const parts = [];
    for (let i = 0; i < events.length; i += EVENTS_MAX) {
        const part = events.slice(i, i + EVENTS_MAX);
        parts.push({
            id: String(i),
            part,
            label: `${short(part[0].start_ms, 4)} to ${short(part[part.length - 1].end_ms, 4)} ms`
        });
    }
    return choose(box, "rounds-part", "Part", parts).part;
}

function drawTimeline(panel, width, events, names) {
    const from = events[0].start_ms, to = Math.max(...events.map((event) => event.end_ms)),
          most = Math.max(1, ...events.map((event) => event.tokens.length));
    const p = plot(panel, {
        width,
        height: 230,
        title: "events over time",
        x: {label: "ms since decoding began", domain: [from, to]},
        y: {label: "tokens committed", domain: [0, most * 1.15], ticks: niceTicks(0, most, 5).filter(Number.isInteger)}
    });
    for (const event of events) {
        const left = p.x(event.start_ms), right = Math.max(left + 1, p.x(event.end_ms)),
              middle = p.x(event.start_ms + draftMs(event)),
              top = event.tokens.length ? p.y(event.tokens.length) : p.bottom - 3;
        const part = (a, b, css) => svg("rect", {
            class: "part " + css,
            x: a.toFixed(2),
            y: top.toFixed(1),
            width: Math.max(0, b - a).toFixed(2),
            height: (p.bottom - top).toFixed(1)
        });
        p.mark(svg("g", {class: "event"}, draftMs(event) > 0 ? part(left, middle, "s5") : null,
                   part(draftMs(event) > 0 ? middle : left, right, "s1")),
            eventTip(event, names));
        if (droppedOf(event)) p.words((left + right) / 2, top - 3, "\u00d7", "small halo", "middle");
    }
}

/* Sums over all events, drawn or not. */
function timelineWords(decoding, events) {
    const sum = (value) => events.reduce((total, event) => total + value(event), 0);
    const tokens = sum((event) => event.tokens.length), inside = sum((event) => event.end_ms - event.start_ms);
    const ms = events[events.length - 1].end_ms - events[0].start_ms, drafting = sum(draftMs);
    const words = [`${count(events.length, "event")}, ${count(tokens, "token")} in ${short(ms, 4)} ms`];
    if (drafting > 0) words.push(`${percent(drafting / inside)} of their time is drafting`);
    words.push(`${sum((event) => event.tokens.length === 0)} without a token`);
    /* In a batch the time between two events of a sequence is that of the others. */
    if (number(decoding.head, "sequence") === null && ms > 0)
        words.push(`${percent(Math.max(0, 1 - inside / ms))} of the time lies between them`);
    return words.join("; ") + ".";
}

figure("rounds", "Timeline of rounds",
    "Events of a decoding over time, from `muninn generate --trace`: a token of ar, a round of draft-verify, a tick " +
        "of a wave. The width is the time an event took, the height the tokens it committed (a thin line: none); " +
        "\u00d7 marks events in which rows were dropped. Empty space between two events is time outside of them.",
    (box, view) => {
        const all = decodings(view), timed = all.filter((decoding) => decoding.events.some(isTimed));
        note(box, leftOut(all, timed, "events with start_ms, end_ms and tokens"));
        if (!timed.length)
            return note(box, "No decoding among the rows shown; `muninn generate --trace FILE.jsonl` writes one.");
        const lossless = timed.filter(({head}) => isLossy(head) === false);
        const decoding = chooseDecoding(box, "rounds", timed, lossless.length ? lossless : timed),
              events = decoding.events.filter(isTimed);
        note(box, timelineWords(decoding, events));
        if (isLossy(decoding.head) !== false) note(box, lossyLabel(decoding.head));
        const part = chooseEvents(box, events);
        if (part.some((event) => draftMs(event) > 0))
            legend(
                box, [{css: "s5", kind: "square", label: "drafting"}, {css: "s1", kind: "square", label: "verifying"}]);
        const names = textsOf(decoding);
        facets(box, [{label: ""}], (panel, _, width) => drawTimeline(panel, width, part, names), WHOLE_WIDTH);
    });
