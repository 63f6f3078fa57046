/* The rows: which kinds there are, and what is derived from them.
 *
 * A row is shown as the file has it, with two exceptions here: what lies in an object of its own (`run` of a scored
 * line, `summary`, `stats` and `total` of generate) is found at the row itself as well, under the same names. Shapes,
 * beside the keys of docs/benchmarking.md:
 *
 *     view.of("run")            bench: a setting                     view.of("pass"), ("kernel"), ("floor")   bench
 * --kernels view.of("trace")          trace: a token, with its steps       view.of("trace_header"), ("trace_summary")
 *     view.of("score")          score: a line at a depth: line, num_steps, is_greedy and logprob, or acc, acc_norm,
 * gold and pred, or exact_match and text; with --results device, model, model_hash, weight_type, kv_policy, kv_type,
 * ..; and whatever else the line of the input had (task, ..) view.of("score_summary")  score: metric, group (absent:
 * all lines), num_steps, value, stderr, n view.of("generation")     generate -o json: prompt_ids, tokens, text, and the
 * stats; ("generation_total"): that of a batch view.of("decode")         generate --trace: the lines as they are;
 * decodings(view) has them put together:
 *         [{id, label, head,    the line with event "prompt": settings, device, model, prompt_ids, prompt_texts,
 * tokens: [the first], texts events,             the lines behind it: event ("token", "round", "tick", "window"),
 * index, start_ms, end_ms, start_pass, end_pass, committed, tokens, texts, rows: [{position, token, depth_before,
 * depth_after, predicted, kept, text, predicted_text}], draft_ms tokens}]            what was committed, in
 * order: {position, id, text (null: the trace has none), event (null: the first)}
 */

/* ---- rows ---- */

const about = JSON.parse(byId("about").textContent);

const isNumber = (v) => typeof v === "number" && Number.isFinite(v);
const isText = (v) => typeof v === "string";
const isList = (v) => Array.isArray(v) && v.length > 0 && v.every(isNumber);
const has = (row, key, test) => Object.hasOwn(row, key) && test(row[key]);
const number = (row, key) => (has(row, key, isNumber) ? row[key] : null);
const word = (row, key) => (has(row, key, isText) ? row[key] : null);
const list = (row, key) => (has(row, key, isList) ? row[key] : null);

const isObject = (v) => typeof v === "object" && v !== null && !Array.isArray(v);

/* Kinds that the page knows, as the table calls them; any other is in the table alone, as the row calls it. */
const KINDS = new Map(Object.entries({
    run: "settings",
    pass: "passes",
    kernel: "kernels",
    floor: "dispatch floor",
    trace: "traced tokens",
    trace_header: "traces",
    trace_summary: "traces, summed up",
    score: "scored lines",
    score_summary: "scores",
    quantisation: "what types do to predictions",
    pipeline: "pipelines",
    selftest: "self-tests",
    decode: "decoding events",
    generation: "generated texts",
    generation_total: "batches of generated texts",
}));

/* What a page with rows of these kinds is about, as its title says it. */
const TOPICS = [
    ["decoding speed", ["run"]],
    ["kernels", ["pass", "kernel", "floor"]],
    ["pipelines", ["pipeline"]],
    ["self-test", ["selftest"]],
    ["accuracy", ["score", "score_summary"]],
    ["quantisation", ["quantisation", "quantisation_accuracy", "quantisation_exit", "quantisation_drafts"]],
    ["traces of the recurrence", ["trace", "trace_header", "trace_summary"]],
    ["decodings step by step", ["decode"]],
    ["generated texts", ["generation", "generation_total"]],
];

/* Rows of the first version have no `bench`: they are settings. A kind is the row's own word, so that it may be
 * anything. */
function kindOf(row) {
    if (word(row, "bench")) return row.bench;
    if (word(row, "event")) return "decode";
    if (has(row, "num_steps", isNumber) && ["is_greedy", "acc", "exact_match"].some((key) => Object.hasOwn(row, key)))
        return "score";
    if (has(row, "summary", isObject)) return "score_summary";
    if (has(row, "total", isObject)) return "generation_total";
    if (has(row, "stats", isObject) && has(row, "tokens", Array.isArray)) return "generation";
    return has(row, "strategy", isText) ? "run" : "other";
}

const INNER = {score: "run", score_summary: "summary", generation: "stats", generation_total: "total"};
function outward(row) {
    const key = Object.hasOwn(INNER, kindOf(row)) ? INNER[kindOf(row)] : null;
    return key && has(row, key, isObject) ? {...row[key], ...row}
                                          : row; /* spread, not assign: a key may be __proto__ */
}

const allRows = JSON.parse(byId("rows").textContent).map(outward);

/* A model is its content, under whatever name: all rows of one content are called as the first of them is. */
const modelNames = new Map();
for (const row of allRows)
    if (word(row, "model_hash") && word(row, "model") !== null) {
        if (!modelNames.has(row.model_hash)) modelNames.set(row.model_hash, row.model);
        row.model = modelNames.get(row.model_hash);
    }

/* What a row promises: "lossless"; "forced": how often drafts were right was given, not found out, so that its speed is
 * what would be, and its tokens mean nothing; "lossy": tokens of its own, which may be as good; "" when a setting does
 * not say. Passes and kernels promise nothing that could be broken. */
const isForced = (row) =>
    has(row, "forced_acceptance", (v) => Array.isArray(v) && v.length > 0) || Boolean(word(row, "forced_by_depth"));
function promiseOf(row) {
    if (isForced(row)) return "forced";
    if (has(row, "lossless", (v) => typeof v === "boolean")) return row.lossless ? "lossless" : "lossy";
    return word(row, "lossy_because") ? "lossy" : kindOf(row) === "run" ? "" : "lossless";
}
/* The filter's key; in this page only. */
for (const row of allRows) if (kindOf(row) === "run") row.promise = promiseOf(row) || "not said";

/* true: not the tokens of ar, by design (forced or lossy); null: a setting that does not say. */
function isLossy(row) {
    const promise = promiseOf(row);
    return promise === "" ? null : promise !== "lossless";
}
/* The badge of rows that have it in common: of a mixed group the marks say which. */
const badgeOf = (rows) => (rows.some((row) => isLossy(row) === false) ? null
        : rows.every(isForced)                                        ? "FORCED"
        : rows.some(isForced)                                         ? "FORCED or LOSSY"
                                                                      : "LOSSY");
/* By place in the round, or by depth: as it was given, and what a profile's name stands for. */
function acceptanceWords(row) {
    const given = word(row, "forced_by_depth"), shares = word(row, "forced_shares");
    if (given) return text(given, 60) + (shares && shares !== given ? ` (${text(shares, 60)})` : "");
    return row.forced_acceptance.every(isNumber) ? row.forced_acceptance.map((v) => short(v)).join(", ")
                                                 : text(JSON.stringify(row.forced_acceptance), 60);
}
function lossyLabel(row) {
    const promise = promiseOf(row);
    if (promise === "lossless") return null;
    if (promise === "forced") return `FORCED acceptance ${acceptanceWords(row)}: its tokens mean nothing`;
    return promise === "" ? "lossless or not: the row does not say"
                          : "LOSSY: " + text(word(row, "lossy_because") || "no reason given");
}
/* Hollow marks and dashed lines, wherever a row is shown; dotted where the acceptance is forced. */
const lossyClass = (row) => (isLossy(row) === false ? "" : isForced(row) ? " lossy forced" : " lossy");

const FIELDS = new Map(Object.entries({
    device: "device",
    device_id: "device id",
    driver: "driver",
    driver_version: "driver version",
    build: "build",
    cpu_threads: "CPU threads",
    model: "model",
    model_hash: "model hash",
    weight_type: "weights",
    kv_policy: "cache",
    kv_type: "cache type",
    strategy: "strategy",
    num_steps: "R",
    draft_steps: "K",
    lookahead: "L",
    max_inflight: "W",
    lookup: "lookup",
    branches: "branches",
    gamma: "tokens per R core steps",
    batch: "batch",
    prompt_tokens: "prompt tokens",
    new_tokens: "new tokens",
    prompts: "prompts",
    prompt_set: "prompt set",
    stop_at_eos: "stops at end",
    temperature: "temperature",
    seed: "seed",
    forced_acceptance: "forced acceptance",
    forced_by_depth: "forced acceptance",
    forced_shares: "forced shares",
    commit: "commit",
    version: "version",
    lossless: "lossless",
    promise: "promise",
    bench: "kind",
    position: "position",
    pass: "pass",
}));
const fieldTitle = (key) => FIELDS.get(key) ?? text(key, 30);

/* Everything but strategy, K, L and W: rows that agree in these may be compared. */
const CONDITIONS = [
    "device", "device_id", "driver", "driver_version", "cpu_threads", "model", "model_hash", "weight_type", "kv_policy",
    "kv_type", "num_steps", "batch", "prompt_tokens", "new_tokens", "prompts", "prompt_set", "stop_at_eos",
    "temperature", "seed", "forced_acceptance", "forced_by_depth", "forced_shares", "commit", "build"
];

const identity = (row, keys) => JSON.stringify(keys.map((key) => (Object.hasOwn(row, key) ? row[key] : null)));
const say = (row, key) => {
    const value = Object.hasOwn(row, key) ? row[key] : null;
    const shown = value === null || value === "" || (Array.isArray(value) && value.length === 0) ? "none"
        : typeof value === "object"                                                              ? JSON.stringify(value)
        : value === true                                                                         ? "yes"
        : value === false                                                                        ? "no"
                                                                                                 : value;
    return text(shown, 40);
};
/* Needs no name in front. */
const SAYS_ITSELF = new Set(["device", "driver", "model", "weight_type", "forced_acceptance"]);
/* Three fields tell how acceptance was forced; a label says all of it under the first one. */
const FORCED_KEYS = ["forced_acceptance", "forced_by_depth", "forced_shares"];
const forcedLabel = (row) => (isForced(row) ? `forced acceptance ${acceptanceWords(row)}` : "not forced");
const labelWords = (row, key) => (key === FORCED_KEYS[0] ? forcedLabel(row) : say(row, key));

/* What people tell settings apart by: said wherever it differs. All else (driver, commit, seed, ..) is said where it
 * takes that to tell groups apart. */
const SAID_FIRST = [
    "device", "model", "weight_type", "kv_policy", "kv_type", "num_steps", "strategy", "draft_steps", "lookahead",
    "max_inflight", "lookup", "branches", "batch", "forced_acceptance", "pass", "rows", "position"
];

/* Groups of rows equal in `keys`; each is labelled by those keys in which the groups differ. */
function conditions(rows, keys = CONDITIONS) {
    const groups = new Map();
    for (const row of rows) {
        const id = identity(row, keys);
        if (!groups.has(id)) groups.set(id, {id, rows: [], first: row, label: ""});
        groups.get(id).rows.push(row);
    }
    const all = [...groups.values()], apart = () => new Set(all.map((group) => group.label)).size;
    const later = keys.filter((key) => !SAID_FIRST.includes(key) && !FORCED_KEYS.includes(key));
    for (const key of [...SAID_FIRST.filter((k) => keys.includes(k)), ...later]) {
        const words = all.map((group) => labelWords(group.first, key)), before = apart();
        if (new Set(words).size < 2 || (!SAID_FIRST.includes(key) && before === all.length)) continue;
        const labels = all.map((group) => group.label);
        all.forEach((group, i) => (group.label +=
                        (group.label && ", ") + (SAYS_ITSELF.has(key) ? "" : fieldTitle(key) + " ") + words[i]));
        if (!SAID_FIRST.includes(key) && apart() === before) all.forEach((group, i) => (group.label = labels[i]));
    }
    for (const group of all) {
        group.badge = badgeOf(group.rows);
        group.lossy = group.badge !== null;
    }
    return all;
}

/* ---- speedup, measured and predicted ---- */

/* The ar row with a full cache under equal conditions; found once, over all rows, so that a filter does not take it
 * away. */
const BASELINE = CONDITIONS.filter((key) => key !== "kv_policy" && !FORCED_KEYS.includes(key));
const baselines = new Map();
/* Of several (a run with forced acceptance measures ar again) the first counts, as in bench/rows/baseline.c: otherwise
 * the tiles and figures would name other speedups than the sentences that the page begins with. */
const isBaseline = (row) => kindOf(row) === "run" && row.strategy === "ar" && row.kv_policy === "full" &&
    isLossy(row) === false && (number(row, "decode_tok_s") ?? 0) > 0;
for (const row of allRows) {
    const id = identity(row, BASELINE);
    if (isBaseline(row) && !baselines.has(id)) baselines.set(id, row);
}
const baselineOf = (row) => baselines.get(identity(row, BASELINE)) ?? null;

function ratio(a, b) {
    return a !== null && b !== null && b > 0 ? a / b : null;
}
/* As the row says, else from its ar row; null without one. */
function speedup(row) {
    if (number(row, "speedup") !== null) return row.speedup;
    const base = baselineOf(row);
    return base ? ratio(number(row, "decode_tok_s"), number(base, "decode_tok_s")) : null;
}
/* Reading weights is all that takes time, at a bandwidth that does not depend on the setting. */
function predictedSpeedup(row) {
    const base = baselineOf(row);
    return base ? ratio(number(base, "weight_bytes_per_token"), number(row, "weight_bytes_per_token")) : null;
}

/* ---- numbers for people ---- */

function short(value, digits = 3) {
    if (value === null || value === undefined) return "?";
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size >= 1e15 || size < 1e-4) return Number(value.toPrecision(digits)).toExponential();
    return String(Number(value.toPrecision(Math.max(digits, Math.min(15, Math.floor(Math.log10(size)) + 1)))));
}
const times = (value) => (value === null ? "?" : value.toFixed(2) + "\u00d7");
const percent = (value) => (value === null ? "?" : short(100 * value) + " %");
const megabytes = (value) => (value === null ? "?" : short(value / 1e6) + " MB");
const count = (n, one, many = one + "s") => `${n} ${n === 1 ? one : many}`;

/* What a strategy makes use of; a trace of generate has the others' defaults beside it. Of others than these all. */
const KNOBS = [["draft_steps", "K"], ["lookahead", "L"], ["max_inflight", "W"], ["lookup", "lookup"],
               ["branches", "branches"]];
const USED_KNOBS = new Map([["ar", ""], ["draft-verify", "KL"], ["wavefront", "KW"]]);
function settingName(row) {
    const used = USED_KNOBS.get(row.strategy) ?? "KLW";
    const knobs = KNOBS.filter(
        ([key, name]) => (["lookup", "branches"].includes(key) || used.includes(name)) && number(row, key));
    return [text(row.strategy, 30), ...knobs.map(([key, name]) => `${name} ${row[key]}`)].join(" ");
}

/* A share of the ceiling in words. What is above it is no share: the row says why, where it knows. */
const isAboveCeiling = (row) => (number(row, "ceiling_percent") ?? 0) > 100;
const ceilingCause = (row) => text(word(row, "ceiling_cause") || "cause not known", 130);
function ceilingShare(row) {
    const share = number(row, "ceiling_percent");
    return share === null     ? null
        : isAboveCeiling(row) ? `above the ceiling: ${ceilingCause(row)}`
                              : short(share) + " % of the ceiling";
}
/* Milliseconds; tokens that come together are 0 apart. */
const milliseconds = (value) => (value < 0.005 ? "0" : short(value)) + " ms";
function waitingWords(row) {
    const times = ["inter_token_p50_ms", "inter_token_p95_ms", "inter_token_p99_ms"].map((key) => number(row, key));
    return times.includes(null) ? null : times.map(milliseconds).join(", ");
}

/* What a tooltip says of a setting. */
/* Who proposed the tokens of rounds and ticks. */
function proposedBy(row) {
    const who =
        [["by_first", "first"], ["by_correction", "correction"], ["by_lookup", "lookup"], ["by_restart", "none"]];
    if (who.some(([key]) => number(row, key) === null)) return null;
    return who.filter(([key]) => row[key]).map(([key, name]) => `${name} ${percent(row[key])}`).join(", ");
}
function settingTip(row, extra = []) {
    const lines = [settingName(row)];
    if (lossyLabel(row)) lines.push(lossyLabel(row));
    if (row.equals_ar === false && isLossy(row) === false) lines.push("tokens DIFFER from ar");
    lines.push(...extra);
    const add = (name, value) => value !== null && lines.push([name, value]);
    add("decode", number(row, "decode_tok_s") === null ? null : short(row.decode_tok_s, 4) + " tok/s");
    add("speedup over ar", speedup(row) === null ? null : times(speedup(row)));
    add("acceptance", number(row, "drafted") ? percent(number(row, "acceptance_rate")) : null);
    add("tokens per round", number(row, "mean_acceptance_length") ? short(row.mean_acceptance_length) : null);
    add("tokens per R core steps", number(row, "gamma") ? short(row.gamma) : null);
    add("proposed by", proposedBy(row));
    add("weights read per token",
        number(row, "weight_bytes_per_token") === null ? null : megabytes(row.weight_bytes_per_token));
    add("bandwidth",
        number(row, "gb_s") === null
            ? null
            : short(row.gb_s) + " GB/s" + (ceilingShare(row) === null ? "" : ", " + ceilingShare(row)));
    add("first token after", number(row, "ttft_ms") === null ? null : milliseconds(row.ttft_ms));
    add("between tokens, p50, p95, p99", waitingWords(row));
    add("device memory", number(row, "device_peak_bytes") === null ? null : megabytes(row.device_peak_bytes));
    add("energy per token",
        number(row, "joules_per_token") === null
            ? null
            : `${short(row.joules_per_token)} J${
                  number(row, "power_w") === null ? "" : ` at ${short(row.power_w)} W`}`);
    add("clock", number(row, "clock_mhz") === null ? null : short(row.clock_mhz, 4) + " MHz");
    add("cache", say(row, "kv_policy"));
    add("device", Object.hasOwn(row, "device") ? say(row, "device") : null);
    return tipOf(row, lines);
}
/* A tooltip that is of this row: saved as CSV, the row's values are beside it. */
function tipOf(row, lines) {
    lines.row = row;
    return lines;
}

/* The setting that a chooser opens on: lossless before others, then by speedup, then by speed. */
function bestSetting(rows) {
    const rank = (row) => [isLossy(row) === false ? 1 : 0, speedup(row) ?? 0, number(row, "decode_tok_s") ?? 0];
    return rows.reduce((a, b) => {
        const x = rank(a), y = rank(b), i = x.findIndex((v, j) => v !== y[j]);
        return i >= 0 && y[i] > x[i] ? b : a;
    });
}

/* ---- what generate --trace wrote ---- */

/* A line with event "prompt" begins a decoding, of its sequence where a batch has several; files stand behind each
 * other. */
function putTogether(rows) {
    const all = [], open = new Map();
    let stray = 0;
    for (const row of rows) {
        if (kindOf(row) !== "decode") continue;
        const sequence = number(row, "sequence");
        if (row.event === "prompt") {
            const decoding = {id: all.length, head: row, events: [], tokens: [], label: ""};
            all.push(decoding);
            open.set(sequence, decoding);
        } else if (open.has(sequence)) open.get(sequence).events.push(row);
        else stray++;
    }
    for (const decoding of all) finishDecoding(decoding);
    return {all, stray};
}

function finishDecoding(decoding) {
    const {head, events} = decoding, start = Array.isArray(head.prompt_ids) ? head.prompt_ids.length : 0;
    for (const event of [head, ...events])
        (Array.isArray(event.tokens) ? event.tokens : []).forEach((id, i) => {
            const said = Array.isArray(event.texts) ? event.texts[i] : null;
            if (isNumber(id))
                decoding.tokens.push({
                    position: start + decoding.tokens.length,
                    id,
                    text: isText(said) ? said : null,
                    event: event === head ? null : event
                });
        });
    const texts = Array.isArray(head.prompt_texts) ? head.prompt_texts.filter(isText).join("") : "";
    decoding.label =
        [
            Object.hasOwn(head, "model") ? say(head, "model") : "", settingName(head),
            number(head, "sequence") === null ? "" : `sequence ${head.sequence}`
        ].filter(Boolean)
            .join(", ") +
        (texts ? `: ${text(texts, 50)}` : "");
}

const {all: allDecodings, stray: strayEvents} = putTogether(allRows);
/* Those whose settings pass the filters. */
const decodings = (view) => allDecodings.filter((decoding) => view.has(decoding.head));
