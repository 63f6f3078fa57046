/* Figures of speculation: what depth, lookahead and acceptance bring. */

const drafting = (view) => view.of("run").filter(
    (row) => row.strategy === "draft-verify" && has(row, "draft_steps", isNumber) && has(row, "lookahead", isNumber));
const ascending = (values) => [...new Set(values)].sort((a, b) => a - b);
const latest = (rows) => rows.reduce((a, b) => ((word(b, "time") ?? "") >= (word(a, "time") ?? "") ? b : a));
const best = (rows, value) => rows.reduce((a, b) => (value(b) > value(a) ? b : a));

figure("speedup", "Speedup by draft depth and lookahead",
    "Decoding speed of draft-verify over plain decoding (ar) with a full cache under the same conditions. Down: " +
        "draft depth K. Across: lookahead L. Every panel has its own colours; the best cell is framed.",
    (box, view) => {
        const all = drafting(view), rows = all.filter((row) => speedup(row) !== null);
        note(box, leftOut(all, rows, "ar row with a full cache to compare with"));
        if (!rows.length) return note(box, "No row of draft-verify with a speedup among those shown.");
        facets(box, conditions(rows), (panel, group, width) => {
            const ks = ascending(group.rows.map((row) => row.draft_steps)),
                  ls = ascending(group.rows.map((row) => row.lookahead));
            const cells = new Map();
            for (const row of group.rows)
                cells.set(row.draft_steps + "/" + row.lookahead,
                    [...(cells.get(row.draft_steps + "/" + row.lookahead) ?? []), row]);
            const top = best(group.rows, speedup), low = Math.min(1, ...group.rows.map(speedup)),
                  high = Math.max(1, ...group.rows.map(speedup)), span = high - low || 1;
            rampLegend(panel, times(low), times(high), "of ar's speed");
            const p = plot(panel, {
                width,
                height: Math.min(560, 50 + 30 * ks.length),
                title: "speedup",
                x: {bands: ls, label: "lookahead L"},
                y: {bands: ks, label: "draft depth K"}
            });
            for (const k of ks)
                for (const l of ls) {
                    const here = cells.get(k + "/" + l);
                    if (!here) continue;
                    const row = latest(here), more = here.length > 1 ? [`the newest of ${here.length} rows`] : [];
                    p.cell(l, k, (speedup(row) - low) / span, times(speedup(row)), settingTip(row, more),
                        (row === top ? "top" : "") + lossyClass(row));
                }
        });
    });

figure("acceptance", "Acceptance against draft depth",
    "Share of the drafted tokens that plain decoding agreed with. Deeper drafts agree more often and cost more; the " +
        "first draft of a round agrees more often than the last, so a longer lookahead lowers the share.",
    (box, view) => {
        const all = view.of("run").filter((row) => row.strategy === "draft-verify" || row.strategy === "wavefront");
        const rows = all.filter((row) => has(row, "draft_steps", isNumber) && has(row, "acceptance_rate", isNumber) &&
                number(row, "drafted") !== 0);
        note(box, leftOut(all, rows, "acceptance_rate, or nothing was drafted"));
        if (!rows.length) return note(box, "No row of draft-verify or wavefront with an acceptance among those shown.");
        const ls = ascending(rows.filter((row) => row.strategy === "draft-verify" && has(row, "lookahead", isNumber))
                                 .map((row) => row.lookahead));
        legend(box, [
            ...ls.map((l, i) => ({css: ordered(i, ls.length), label: "L " + l})),
            ...(rows.some((row) => row.strategy === "wavefront")
                    ? [{css: "wavefront", kind: "triangle", label: "wavefront (first guesses that were kept)"}]
                    : []),
            ...lossyLegend(rows)
        ]);
        const depths = rows.map((row) => row.draft_steps),
              domain = [Math.max(0, best(depths, (v) => -v) - 1), best(depths, (v) => v) + 1];
        facets(box, conditions(rows), (panel, group, width) => {
            const p = plot(panel, {
                width,
                height: 260,
                x: {label: "draft depth K", domain, ticks: niceTicks(domain[0], domain[1], 8).filter(Number.isInteger)},
                y: {label: "acceptance", domain: [0, 1], format: (v) => short(100 * v) + " %"}
            });
            for (const series of conditions(group.rows, ["strategy", "lookahead", "max_inflight"])) {
                const first = series.first, wave = first.strategy === "wavefront",
                      css = (wave ? "wavefront" : ordered(ls.indexOf(first.lookahead), ls.length)) + lossyClass(first);
                const points = series.rows.sort((a, b) => a.draft_steps - b.draft_steps);
                p.line(points.map((row) => [row.draft_steps, row.acceptance_rate]), css);
                for (const row of points)
                    p.dot(row.draft_steps, row.acceptance_rate, css, settingTip(row), wave ? "triangle" : "circle");
            }
        });
    });

/* The rows of one lookahead under one condition, which two figures show K by K. */
function chooseLookahead(box, name, rows) {
    const groups = conditions(rows, [...CONDITIONS, "lookahead"]);
    const entries = groups.map((group) => ({id: group.id, group, label: group.label || "L " + group.first.lookahead}))
                        .sort((a, b) => a.group.first.lookahead - b.group.first.lookahead);
    const fast = bestSetting(rows),
          entry = choose(box, name, "Lookahead", entries, entries.find((e) => e.group.rows.includes(fast)));
    const ks = ascending(entry.group.rows.map((row) => row.draft_steps));
    if (entry.group.lossy) note(box, lossyLabel(entry.group.rows.find((row) => isLossy(row) !== false)));
    return {group: entry.group, newest: ks.map((k) => latest(entry.group.rows.filter((row) => row.draft_steps === k)))};
}

figure("lengths", "Accepted tokens per round",
    "Share of the rounds in which exactly so many drafts were accepted, for each draft depth. A round commits one " +
        "token more than that, unless the text ends on a draft. The line is the mean.",
    (box, view) => {
        const all = drafting(view),
              rows =
                  all.filter((row) => has(row, "accepted_lengths", isList) && row.accepted_lengths.some((n) => n > 0));
        note(box, leftOut(all, rows, "accepted_lengths"));
        if (!rows.length) return note(box, "No row with accepted_lengths among those shown.");
        const {newest} = chooseLookahead(box, "lengths", rows);
        const groups = newest.map((row) => ({
            label: "K " + row.draft_steps + ", L " + row.lookahead,
            lossy: isLossy(row) !== false,
            badge: badgeOf([row]),
            row
        }));
        const share = (row) => {
            const rounds = row.accepted_lengths.reduce((a, b) => a + b, 0);
            return row.accepted_lengths.map((n) => n / rounds);
        };
        const domain = fromZero(newest.flatMap(share), 3);
        facets(box, groups, (panel, {row}, width) => {
            const shares = share(row), bands = shares.map((_, i) => i);
            const p = plot(panel, {
                width,
                height: 150,
                title: "accepted tokens",
                x: {bands, label: "drafts accepted"},
                y: {domain, format: (v) => short(100 * v) + " %"}
            });
            shares.forEach((v, i) => p.bar(i, v, "draft-verify" + lossyClass(row), settingTip(row, [
                ["drafts accepted", String(i)], ["rounds", `${row.accepted_lengths[i]}, ${percent(v)}`]
            ])));
            const mean = shares.reduce((sum, v, i) => sum + v * i, 0), at = p.x(0) + mean * p.stepX;
            p.root.append(svg("line", {class: "mean", x1: at.toFixed(1), x2: at.toFixed(1), y1: p.top, y2: p.bottom}));
            const right = at > (p.left + p.right) / 2;
            p.words(at + (right ? -4 : 4), p.top + 9, short(mean), "small", right ? "end" : "start");
        }, 240);
    });

figure("positions", "Acceptance by place in the round",
    "Of the drafts made at a place of the round, the share that was accepted. A draft behind a wrong one is wrong as " +
        "well, so the line falls even where drafts do not get worse as they go.",
    (box, view) => {
        const all = drafting(view), rows = all.filter((row) => has(row, "acceptance_per_position", isList));
        note(box, leftOut(all, rows, "acceptance_per_position"));
        if (!rows.length) return note(box, "No row with acceptance_per_position among those shown.");
        const {newest} = chooseLookahead(box, "positions", rows);
        legend(box, [
            ...newest.map((row, i) => ({css: ordered(i, newest.length), label: "K " + row.draft_steps})),
            ...lossyLegend(newest)
        ]);
        const longest = Math.max(...newest.map((row) => row.acceptance_per_position.length));
        facets(box, [{label: "", lossy: false}], (panel, _, width) => {
            const p = plot(panel, {
                width,
                height: 260,
                x: {
                    label: "place in the round",
                    domain: [0.5, longest + 0.5],
                    ticks: niceTicks(1, longest, 8).filter(Number.isInteger)
                },
                y: {label: "acceptance", domain: [0, 1], format: (v) => short(100 * v) + " %"}
            });
            newest.forEach((row, i) => {
                const css = ordered(i, newest.length) + lossyClass(row);
                p.line(row.acceptance_per_position.map((v, j) => [j + 1, v]), css);
                row.acceptance_per_position.forEach(
                    (v, j) =>
                        p.dot(j + 1, v, css, settingTip(row, [["place", String(j + 1)], ["accepted", percent(v)]])));
            });
        });
    });

/* ---- waves ---- */

/* Colour by a panel's own range; of a cell with several rows the newest counts. */
function drawWaveSpeeds(panel, rows, width) {
    const speeds = rows.map((row) => row.decode_tok_s), low = Math.min(...speeds), high = Math.max(...speeds),
          span = high - low || 1;
    const ks = ascending(rows.map((row) => row.draft_steps)), ws = ascending(rows.map((row) => row.max_inflight));
    const top = best(rows, (row) => row.decode_tok_s);
    if (high > low) rampLegend(panel, short(low, 4), short(high, 4), "tok/s in this panel");
    const spec = {width, height: 56 + 30 * ks.length, title: "speed of waves"};
    const p = plot(panel,
        {...spec, x: {bands: ws, label: "rows in flight at most, W"}, y: {bands: ks, label: "steps per tick K"}});
    for (const cell of conditions(rows, ["draft_steps", "max_inflight"])) {
        const row = latest(cell.rows), more = cell.rows.length > 1 ? [`the newest of ${cell.rows.length} rows`] : [];
        const inflight =
            number(row, "mean_inflight") === null ? [] : [["rows in flight, mean", short(row.mean_inflight)]];
        const css = (row === top ? "top" : "") + lossyClass(row), words = short(row.decode_tok_s, 3);
        p.cell(row.max_inflight, row.draft_steps, (row.decode_tok_s - low) / span, words,
            settingTip(row, [...more, ...inflight]), css);
    }
}

figure("waves", "Speed of waves by K and W",
    "Decoding speed of the wavefront. Down: steps per tick, K. Across: rows that may be in flight, W. More rows than " +
        "R/K " +
        "are never in flight without lookup, so beyond it a line only repeats itself; each lookup has a panel of its " +
        "own. The fastest cell of a panel is framed.",
    (box, view) => {
        const all = view.of("run").filter((row) => row.strategy === "wavefront");
        const rows = all.filter(
            (row) => ["draft_steps", "max_inflight", "decode_tok_s"].every((key) => has(row, key, isNumber)));
        note(box, leftOut(all, rows, "draft_steps, max_inflight or decode_tok_s"));
        if (!rows.length) return note(box, "No row of wavefront with a speed among those shown.");
        facets(box, conditions(rows, [...CONDITIONS, "lookup", "branches"]),
            (panel, group, width) => drawWaveSpeeds(panel, group.rows, width));
    });

/* ---- predictions ---- */

figure("agreement", "Agreement by depth",
    "Of the predictions that rows made on their way, how many were the token at full depth; behind tokens that were " +
        "committed. One line per setting that looked.",
    (box, view) => {
        const all = drafting(view).concat(view.of("run").filter((row) => row.strategy === "wavefront")),
              rows = all.filter((row) => has(row, "agreement_depths", isList) && has(row, "agreement_shares", isList) &&
                                    row.agreement_depths.length === row.agreement_shares.length);
        if (!rows.length) return note(box, "No row with agreement_depths among those shown.");
        const deepest = Math.max(...rows.map((row) => Math.max(...row.agreement_depths, 1)));
        facets(box, conditions(rows), (panel, group, width) => {
            const p = plot(panel, {
                width,
                height: 260,
                x: {
                    label: "depth",
                    domain: [0, deepest + 1],
                    ticks: niceTicks(0, deepest + 1, 8).filter(Number.isInteger)
                },
                y: {label: "agreement", domain: [0, 1], format: (v) => short(100 * v) + " %"}
            });
            for (const row of group.rows) {
                const css = row.strategy + lossyClass(row), shares = row.agreement_shares;
                p.line(shares.map((v, i) => [row.agreement_depths[i], v]), css);
                shares.forEach((v, i) => p.dot(row.agreement_depths[i], v, css,
                    settingTip(row, [["depth", String(row.agreement_depths[i])], ["agreement", percent(v)]])));
            }
        });
    });
