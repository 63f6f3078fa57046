/* Theme, then everything drawn once; again when the width changes. */

const THEMES = ["system", "light", "dark"];
let theme = 0;
byId("theme").addEventListener("click", () => {
    theme = (theme + 1) % THEMES.length;
    if (theme === 0) delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = THEMES[theme];
    byId("theme").textContent = "Theme: " + THEMES[theme];
});

/* Without a title of its own the page is called by what it is about: its kinds of rows, then models and
 * devices, or files where the rows know neither. */
function pageTopics() {
    const kinds = new Set(allRows.map(kindOf)), runs = allRows.filter((row) => kindOf(row) === "run");
    const drafting = runs.filter((row) => row.strategy !== "ar");
    const known = TOPICS.filter(([, of]) => of.some((kind) => kinds.has(kind))).map(([words]) => words);
    if (drafting.length && drafting.every(isForced)) known[0] += " at forced acceptance";
    const others = [...kinds].filter((kind) => kind !== "other").map((kind) => `rows of ${text(kind, 30)}`);
    return listed(known.length ? known : others, 3);
}
function pageTitle() {
    const names = (key) => {
        const all = allRows.map((row) => word(row, key)).filter(Boolean).map((name) => text(name, 36));
        return listed([...new Set(all)], 2);
    };
    const models = names("model"), devices = names("device"), topics = pageTopics();
    const what = (topics[0] ?? "").toUpperCase() + topics.slice(1) + (about.comparison ? ", A against B" : "");
    const files = listed(about.files.map(({name}) => text(name, 36)), 2);
    return `${what || "Muninn report"}: ${[models, devices].filter(Boolean).join(" on ") || files}`;
}
const title = about.title ? text(about.title) : text(pageTitle(), 240);
document.title = title;
byId("title").textContent = title;
byId("subtitle").textContent = [
    count(allRows.length, "row"), days(allRows), about.files.length > 1 ? count(about.files.length, "file") : ""
].filter(Boolean).join(" \u00b7 ");
byId("footer").append(html("p", null, `Made by muninn ${text(about.version)} (commit ${text(about.commit)}) from `,
    listed(about.files.map((file) => `${text(file.name)} (${count(file.rows, "row")})`), 20),
    about.older_rows ? `; ${count(about.older_rows, "older row")} of settings measured again left out` : "",
    ". The rows are in this page as JSON, in the element with the id \u201crows\u201d."));

const ANSWERS_MAX = 24;
/* What `muninn bench` ends with, over all rows, whatever is filtered. */
byId("answer").append(...about.answers.slice(0, ANSWERS_MAX)
                          .map((answer) => html("p", {class: "answer " + answer.class}, text(answer.text, 600))));
if (about.answers.length > ANSWERS_MAX)
    byId("answer").append(html(
        "p", {class: "answer lossy"}, `${count(about.answers.length - ANSWERS_MAX, "more answer")}: see the table.`));

if (about.comparison) byId("figures").after(byId("measured")); /* the pairs are what was asked for */
makeFilters();
drawAll();
/* The figures are made here: only now there is something to go to. */
if (location.hash.startsWith("#figure-") && byId(location.hash.slice(1))) byId(location.hash.slice(1)).scrollIntoView();

let waiting = false;
window.addEventListener("resize", () => {
    if (waiting || document.documentElement.clientWidth === drawnWidth) return;
    waiting = true;
    requestAnimationFrame(() => {
        waiting = false;
        drawAll();
    });
});
