/* The text, coloured by the steps that each token needed: from the tokens of `muninn trace`, and from the rows of
 * `muninn generate --trace`. */

/* The first step from which on the best next token is the last step's. */
function staysFrom(row) {
    const same = Array.isArray(row.top1_is_final) ? row.top1_is_final : null;
    if (!same || !same.length || same[same.length - 1] !== true) return null;
    let step = same.length;
    while (step > 1 && same[step - 2] === true) step--;
    return step;
}

const NEEDS_WORDS = "until its prediction stays";
/* [{words, steps, tip}] of a trace; a token needed the steps of the row before it, which predicts it. */
function tracedText(rows, criterion) {
    const at = new Map(rows.map((row) => [row.position, row]));
    return rows.map((row) => {
        const maker = at.get(row.position - 1), words = isText(row.text) ? row.text : "",
              R = maker ? number(maker, "num_steps") : null;
        if (!maker)
            return {
                words,
                steps: null,
                tip: [`${tokenText(words, 40)} at position ${row.position}`, "no row before it was traced"]
            };
        const left = criterion === "" ? staysFrom(maker) : exitOf(maker, criterion), steps = left ?? R,
              said = Array.isArray(maker.top1_text) ? maker.top1_text[maker.top1_text.length - 1] : null;
        const given =
            isText(said) && said !== words && row.generated !== true ? [["predicted here", tokenText(said, 40)]] : [];
        const rule = criterion === "" ? NEEDS_WORDS : `until ${criterion} lets it go`;
        return {
            words,
            steps,
            tip: [
                `${tokenText(words, 40)} at position ${row.position}`,
                ["steps",
                    steps === null      ? "?"
                        : left === null ? `${steps}: it never leaves`
                                        : `${steps} ${rule}`],
                ...given
            ]
        };
    });
}

/* How deep the row before a committed token was when it first said that token for good. Rounds check drafts: one that
 * was right was said at the draft's depth. */
function stepsOfToken(decoding, token, id, history) {
    const event = token.event, i = event.tokens.indexOf(id), rows = event.rows;
    const place = rows.findIndex((row) => row.position === token.position - 1), row = rows[place];
    if (!row || i < 0) return null;
    if (event.event === "round")
        return rows[place + 1] && rows[place + 1].kept !== false && rows[place + 1].token === id && row.depth_before > 0
            ? row.depth_before
            : row.depth_after;
    let steps = row.depth_after;
    for (const seen of (history.get(row.position) ?? []).filter((one) => one.depth_after < row.depth_after).reverse()) {
        if (seen.predicted !== id || seen.token !== row.token || seen.depth_after >= steps) break;
        steps = seen.depth_after;
    }
    return steps;
}

function decodedText(decoding) {
    const {head} = decoding, names = textsOf(decoding), history = new Map(),
          ids = Array.isArray(head.prompt_ids) ? head.prompt_ids : [];
    for (const frame of framesOf(decoding))
        for (const row of frame.rows) history.set(row.position, [...(history.get(row.position) ?? []), row]);
    const said = (id) => (names.has(id) ? names.get(id) : `#${id} `);
    const prompt = ids.map(
        (id, at) =>
            ({words: said(id), steps: null, tip: [`${namedToken(names, id, 40)} at position ${at}`, "of the prompt"]}));
    return [
        ...prompt, ...decoding.tokens.map((token) => {
            const steps = token.event && isFrame(token.event) ? stepsOfToken(decoding, token, token.id, history) : null;
            const why =
                token.event ? ["steps", steps === null ? "?" : `${steps} ${NEEDS_WORDS}`] : "from the prompt's pass";
            return {
                words: said(token.id),
                steps,
                tip: [`${namedToken(names, token.id, 40)} at position ${token.position}`, why]
            };
        })
    ];
}

const WORDS_MAX = 800;
function drawText(box, tokens, most) {
    const all = [], place = html("p", {class: "stepped-text"});
    for (const token of tokens.slice(0, WORDS_MAX)) {
        const at = token.steps === null ? null : (token.steps - 1) / (most - 1),
              shown = text(token.words.replaceAll("\n", "\u23ce"), 60) || "\u2205";
        const span = html("span", {class: "mark token" + (at === null ? " plain" : "")}, shown);
        if (at !== null) {
            span.style.backgroundColor = ramp(at);
            span.style.color = inkOn(at);
        }
        addTip(span, token.tip, all);
        place.append(span, token.words.includes("\n") ? html("br") : document.createElement("wbr"));
    }
    box.append(place);
    if (tokens.length > WORDS_MAX) note(box, `The first ${WORDS_MAX} of ${tokens.length} tokens are shown.`);
}

figure("text", "The text, by the steps it needed",
    "Every token in the colour of the recurrence steps that the row before it took to predict it: until its best " +
        "next token " +
        "stays what it is at the last step, or until an exit criterion would let it go. Of a decoding: the depth at " +
        "which " +
        "the committed token was first predicted for good, as far as its rounds or ticks looked. Tokens without a " +
        "colour " +
        "were given, or nothing is known of them.",
    (box, view) => {
        const traces = conditions(
            view.of("trace").filter((row) => has(row, "position", isNumber) && has(row, "num_steps", isNumber)),
            ["trace"]);
        const entries = [
            ...traces.map((group) => {
                const rows = group.rows.sort((a, b) => a.position - b.position),
                      words = rows.slice(0, 30).map((row) => (isText(row.text) ? row.text : "")).join("");
                return {
                    id: group.id,
                    label:
                        `trace, ${say(group.first, "model")}, R ${say(group.first, "num_steps")}: ${text(words, 50)}`,
                    rows,
                    R: group.first.num_steps
                };
            }),
            ...decodings(view)
                .filter((decoding) => framesOf(decoding).length)
                .map((decoding) =>
                         ({id: "decoding " + decoding.id, label: decoding.label, decoding, R: depthOf(decoding)}))
        ];
        if (!entries.length)
            return note(box,
                "No trace and no decoding among the rows shown; `muninn trace` and `muninn generate --trace " +
                    "FILE.jsonl` write them.");
        /* Of traces the one that the maps open on; of decodings alone the one that their pictures open on. */
        const all = entries.map((entry) => entry.decoding).filter(Boolean),
              lossless = all.filter((decoding) => isLossy(decoding.head) === false),
              fastest = fastestOf(lossless.length ? lossless : all),
              telling = traces.length ? tellingTrace(traces) : null;
        const entry = choose(box, "text", "Text", entries,
            entries.find((one) => (telling ? one.rows === telling : one.decoding === fastest)));
        const leavesBy = (criterion) => entry.rows.some((row) => exitOf(row, criterion) !== null),
              byExit = (id) => ({id, label: `until ${id} lets it go`});
        const criteria = entry.rows ? [{id: "", label: NEEDS_WORDS}, ...CRITERIA.filter(leavesBy).map(byExit)] : [];
        const tokens = entry.rows ? tracedText(entry.rows, choose(box, "text-rule", "Steps", criteria).id)
                                  : decodedText(entry.decoding);
        const known = tokens.filter((token) => token.steps !== null),
              mean = known.reduce((sum, token) => sum + token.steps, 0) / known.length;
        if (entry.decoding && isLossy(entry.decoding.head) !== false) note(box, lossyLabel(entry.decoding.head));
        if (known.length)
            note(box, `${count(known.length, "token")} with a depth, ${short(mean)} steps on average of ${entry.R}.`);
        const most = known.reduce((a, token) => Math.max(a, token.steps), 2);
        rampLegend(box, "1", String(most), `steps; there are ${entry.R}`);
        drawText(box, tokens, most);
    });
