/* A decoding as a picture that plays, from `muninn generate --trace`: rows as they enter, deepen, are dropped and are
 * committed.
 *
 * The player never starts by itself: it opens on a frame that shows much, for eyes that movement disturbs and for
 * paper, and goes on by its buttons, the slider or the keys that browsers give them. Nothing moves between two frames.
 */

const isRowInFlight = (row) =>
    isObject(row) && ["position", "depth_before", "depth_after"].every((key) => has(row, key, isNumber));
const isFrame = (event) => Array.isArray(event.rows) && event.rows.length > 0 && event.rows.every(isRowInFlight);
const framesOf = (decoding) => decoding.events.filter(isFrame);
const committedOf = (event) => (Array.isArray(event.tokens) ? event.tokens.length : 0);
const depthOf = (decoding) => number(decoding.head, "num_steps") ??
    framesOf(decoding).flatMap((frame) => frame.rows).reduce((most, row) => Math.max(most, row.depth_after), 1);

/* id -> text, of all that the trace says. */
function textsOf(decoding) {
    const names = new Map(), add = (ids, texts) => {
        if (Array.isArray(ids) && Array.isArray(texts))
            ids.forEach((id, i) => isText(texts[i]) && texts[i] !== "" && names.set(id, texts[i]));
    };
    add(decoding.head.prompt_ids, decoding.head.prompt_texts);
    for (const line of [decoding.head, ...decoding.events]) {
        add(line.tokens, line.texts);
        for (const row of Array.isArray(line.rows) ? line.rows.filter(isObject) : []) {
            add([row.token], [row.text]);
            add([row.predicted], [row.predicted_text]);
        }
    }
    return names;
}
/* Without a text the id. */
const namedToken = (names, id, most) =>
    (names.has(id) ? tokenText(names.get(id).replaceAll("\n", "\u23ce"), most) : "#" + text(id, 12));

const STATES = {
    entered: ["s6", "+", "entered"],
    deepened: ["s1", "", "went deeper"],
    committed: ["s3", "\u2713", "committed"],
    dropped: ["s2", "\u00d7", "dropped"],
};
/* What became of each row of a frame. `before`: the frame before it. */
function statesOf(frame, before) {
    const there = new Set(before
            ? before.rows.slice(committedOf(before)).filter((row) => row.kept !== false).map((row) => row.position)
            : []);
    return frame.rows.map((row, i) => (row.kept === false   ? "dropped"
                                  : i < committedOf(frame)  ? "committed"
                                  : there.has(row.position) ? "deepened"
                                                            : "entered"));
}

/* The frame that says most while nothing moves: something dropped and something kept, something committed, many rows.
 */
function tellingFrame(frames) {
    const worth = (frame, i) => {
        const dropped = frame.rows.filter((row) => row.kept === false).length;
        return (dropped && dropped < frame.rows.length ? 1000 : 0) + (committedOf(frame) ? 500 : 0) +
            frame.rows.length - i / (frames.length + 1);
    };
    return frames.reduce((at, frame, i) => (worth(frame, i) > worth(frames[at], at) ? i : at), 0);
}

/* A frame in words, for ears and for the line under the picture. */
function frameWords(frame, states, names) {
    const n = (state) => states.filter((s) => s === state).length, parts = [];
    const say = (state, verb) => n(state) && parts.push(`${count(n(state), "row")} ${verb}`);
    say("entered", "entered");
    say("deepened", "went deeper");
    say("dropped", "dropped");
    const tokens = Array.isArray(frame.tokens) ? frame.tokens : [];
    parts.push(
        tokens.length ? "committed " + tokens.map((id) => namedToken(names, id, 20)).join(" ") : "nothing committed");
    return `${text(frame.event, 20)} ${eventIndex(frame)}: ${parts.join(", ")}`;
}
const eventIndex = (frame) => (number(frame, "index") === null ? "?" : String(frame.index));

function rowTip(row, state, names, event) {
    const lines = [
        `position ${row.position}: ${namedToken(names, row.token, 40)}, ${STATES[state][2]}`,
        ["depth", `${row.depth_before} to ${row.depth_after}`]
    ];
    if (has(row, "predicted", isNumber))
        lines.push(["next token, as predicted now", namedToken(names, row.predicted, 40)]);
    lines.push([text(event.event, 20), eventIndex(event)]);
    return lines;
}

/* What stands at each position before this frame's rows: the prompt, then what was committed. */
function textBefore({head, tokens}, first) {
    const ids = Array.isArray(head.prompt_ids) ? head.prompt_ids : [], known = new Map(ids.map((id, at) => [at, id]));
    for (const token of tokens) known.set(token.position, token.id);
    return new Map([...known].filter(([at]) => at < first));
}

/* Columns of positions: the bars are depths, light as they were, full what this frame added. */
const COLUMN = {
    narrowest: 30,
    widest: 66,
    sides: 48
};
    /* pixels */ /* pixels */
function frameColumns(frame, most, width) {
    const done = width < 600 ? 1 : 2; /* of the text before it, as many as there is room for */
    const n = Math.max(2, Math.min(Math.floor((width - COLUMN.sides) / COLUMN.narrowest), most + done + 1));
    const start = Math.max(0, frame.rows[0].position - done);
    return Array.from({length: n}, (_, k) => start + k);
}

function drawColumn(p, at, {row, state, next}, wide, names, frame) {
    const bar = (from, to, css) => svg("rect", {
        class: css,
        x: (p.x(at) - wide / 2).toFixed(1),
        y: p.y(to).toFixed(1),
        width: wide.toFixed(1),
        height: Math.max(1, p.y(from) - p.y(to)).toFixed(1)
    });
    const [css, symbol] = STATES[state], before = row.depth_before > 0 ? bar(0, row.depth_before, "part before") : null;
    p.mark(svg("g", {class: `column ${state} ${css}`}, before, bar(row.depth_before, row.depth_after, "part")),
        rowTip(row, state, names, frame));
    p.words(p.x(at), p.y(row.depth_after) - 5, `${symbol} ${row.depth_after}`, "small halo", "middle");
    if (!has(row, "predicted", isNumber)) return;
    const wrong = next !== undefined && row.predicted !== next.token; /* what drops the rows behind */
    p.words(p.x(at), p.top + 10, fit(namedToken(names, row.predicted, 20), wide * 1.4),
        wrong ? "small wrong" : "small faint", "middle");
}

function drawFrame(stage, width, player, i) {
    const {decoding, frames, names, most} = player, frame = frames[i], states = statesOf(frame, frames[i - 1]),
                                    R = depthOf(decoding);
    const positions = frameColumns(frame, most, width), n = positions.length,
          known = textBefore(decoding, frame.rows[0].position);
    const rows = new Map(frame.rows.map((row, k) => [row.position, {row, state: states[k], next: frame.rows[k + 1]}]));
    const whole = Math.min(width, COLUMN.sides + n * COLUMN.widest), step = (whole - COLUMN.sides) / n;
    const tokenAt = (at) => (rows.has(at) ? namedToken(names, rows.get(at).row.token, 20)
            : known.has(at)               ? namedToken(names, known.get(at), 20)
                                          : "");
    const p = plot(stage, {
        width: whole,
        height: 290,
        title: frameWords(frame, states, names),
        x: {bands: positions, format: (at) => fit(tokenAt(at), step - 9)},
        y: {domain: [0, R * 1.22], label: "depth; above it the next token as predicted now", ticks: niceTicks(0, R, 6)}
    });
    p.root.classList.add("player");
    p.line([[positions[0], R], [positions[n - 1], R]], "reference");
    for (const at of positions)
        if (rows.has(at)) drawColumn(p, at, rows.get(at), step * 0.66, names, frame);
        else if (known.has(at)) {
            const top = p.y(R), left = p.x(at) - step * 0.33;
            const bar = svg("rect", {
                class: "part before",
                x: left.toFixed(1),
                y: top.toFixed(1),
                width: (step * 0.66).toFixed(1),
                height: (p.bottom - top).toFixed(1)
            });
            p.mark(svg("g", {class: "column done s7"}, bar),
                [`position ${at}: ${namedToken(names, known.get(at), 40)}`, "done before this"]);
        }
    return {states, hidden: frame.rows.filter((row) => row.position > positions[n - 1]).length};
}

/* ---- the player ---- */

const waveAt = new Map(); /* decoding -> the frame it shows, across redrawings */
let waveTimer = null;
function stopWave() {
    clearInterval(waveTimer);
    waveTimer = null;
}

/* The text so far: what is done, what this frame committed, what is still assumed. */
function saidSoFar(decoding, frame, states, names) {
    const first = frame.rows[0].position,
          before = [...textBefore(decoding, first + 1)].sort(([a], [b]) => a - b).slice(-24),
          piece = (id) => namedToken(names, id, 24);
    const tokens = (Array.isArray(frame.tokens) ? frame.tokens : []).map(piece),
          assumed =
              frame.rows.slice(1 + tokens.length).filter((row) => row.kept !== false).map((row) => piece(row.token));
    return html("p", {class: "said-so-far"}, html("span", null, before.map(([, id]) => piece(id)).join("")),
        html("b", null, tokens.join("")), html("i", null, assumed.join("")));
}

function showFrame(player, i) {
    const {stage, slider, words, decoding, frames, names, width} = player,
                                                          before = [...stage.querySelectorAll(".mark")].indexOf(
                                                              document.activeElement);
    waveAt.set(decoding.id, i);
    hideTip();
    stage.replaceChildren();
    const {states, hidden} = drawFrame(stage, width, player, i);
    stage.append(saidSoFar(decoding, frames[i], states, names));
    const time = ["start_ms", "end_ms"].every((key) => has(frames[i], key, isNumber))
        ? `, ${short(frames[i].end_ms - frames[i].start_ms)} ms`
        : "";
    words.textContent = frameWords(frames[i], states, names) + time +
        (hidden ? `; ${count(hidden, "row")} beyond the picture` : "") + ".";
    slider.value = i;
    slider.setAttribute("aria-valuetext", words.textContent);
    const marks = stage.querySelectorAll(".mark");
    if (before >= 0 && marks.length) marks[Math.min(before, marks.length - 1)].focus();
}

const SPEEDS = [1, 2, 4, 8, 16];
let waveSpeed = 4;
/* Buttons, slider and speed; `player.stage` is where frames are drawn. */
function makeTransport(player) {
    const {decoding, frames} = player, last = frames.length - 1, now = () => waveAt.get(decoding.id);
    const say = () => {
        play.textContent = waveTimer === null ? "Play" : "Pause";
        player.words.setAttribute(
            "aria-live", waveTimer === null ? "polite" : "off"); /* nobody can hear four sentences a second */
    };
    const pause = () => {
        stopWave();
        say();
    };
    const go = (i) => {
        pause();
        showFrame(player, Math.max(0, Math.min(last, i)));
    };
    const start = () => {
        stopWave();
        waveTimer = setInterval(() => {
            if (!player.stage.isConnected) return stopWave(); /* drawn anew: that one has a timer of its own or none */
            if (now() >= last) return pause();
            showFrame(player, now() + 1);
        }, 1000 / waveSpeed);
        say();
    };
    const play = html("button", {
        type: "button",
        "data-wave": "play",
        click: () => {
            if (waveTimer !== null) return pause();
            if (now() >= last) showFrame(player, 0);
            start();
        }
    },
        "Play");
    player.slider = html("input", {
        type: "range",
        min: 0,
        max: last,
        step: 1,
        "aria-label": "frame",
        input: (event) => go(Number(event.target.value))
    });
    player.words = html("p", {class: "note frame-words", "aria-live": "polite"});
    const speed = html("select", {
        "aria-label": "frames per second",
        change: (event) => {
            waveSpeed = SPEEDS[Number(event.target.value)];
            if (waveTimer !== null) start();
        }
    },
        SPEEDS.map((v, i) => option(i, `${v} per second`, v === waveSpeed)));
    const button = (name, label, to) =>
        html("button", {type: "button", "data-wave": name, click: () => go(to())}, label);
    return html("div", {class: "transport screen"}, play, button("back", "Back", () => now() - 1),
        button("step", "Step", () => now() + 1), player.slider, speed);
}

/* Tokens per millisecond; below all others where its events have no times. */
function decodingSpeed({tokens, events}) {
    const ms = events.length ? events[events.length - 1].end_ms - events[0].start_ms : NaN;
    return ms > 0 ? tokens.length / ms : -1;
}

/* null of none; of equals the first. */
const fastestOf = (all) =>
    all.reduce((a, other) => (a && decodingSpeed(a) >= decodingSpeed(other) ? a : other), null);

/* One decoding of those that a figure can show, which is chosen above it. It opens on the fastest, of `best` where that
 * is given. */
function chooseDecoding(box, name, all, best = all) {
    const entries = all.map((decoding) => ({id: String(decoding.id), label: decoding.label, decoding}));
    const fastest = fastestOf(best);
    return choose(box, name, "Decoding", entries, entries.find(({decoding}) => decoding === fastest)).decoding;
}

figure("wave", "A wave, step by step",
    "What `muninn generate --trace` saw: every column is a position with its token below, the bar its depth, light " +
        "before this step and full what it added. A row whose token is no longer what the row before it predicts is " +
        "dropped, with all behind it; a row at full depth (dashed line) is committed. Rounds of draft-verify are " +
        "shown " +
        "alike.",
    (box, view) => {
        stopWave();
        const all = decodings(view), drawable = all.filter((decoding) => framesOf(decoding).length);
        note(box, leftOut(all, drawable, "events with rows"));
        if (!drawable.length)
            return note(box, "No decoding among the rows shown; `muninn generate --trace FILE.jsonl` writes one.");
        const waves = drawable.filter(({head}) => head.strategy === "wavefront"),
              decoding = chooseDecoding(box, "wave", [...waves, ...drawable.filter((other) => !waves.includes(other))],
                                        waves.length ? waves : drawable);
        if (isLossy(decoding.head) !== false) note(box, lossyLabel(decoding.head));
        const frames = framesOf(decoding), most = frames.reduce((a, frame) => Math.max(a, frame.rows.length), 1);
        const player = {
            decoding,
            frames,
            most,
            names: textsOf(decoding),
            width: Math.min(1000, Math.max(260, box.clientWidth || 680)),
            stage: html("div", {class: "stage"})
        };
        legend(box, [
            ...Object.values(STATES).map(([css, symbol, label]) => ({
                css: css + (label === "dropped" ? " lossy" : ""),
                kind: "square",
                label: `${symbol} ${label}`.trim()
            })),
            {css: "s7 before", kind: "square", label: "done before"}
        ]);
        const transport = makeTransport(player);
        box.append(player.stage, player.words, transport);
        showFrame(player, Math.min(waveAt.get(decoding.id) ?? tellingFrame(frames), frames.length - 1));
    });
