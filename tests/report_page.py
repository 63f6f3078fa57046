"""What the tests of the report's page share: made-up rows, the program, a headless Chromium, and checks that print a line each."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

CHROMIUM, CHROMEDRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"


def skip_or_fail():
    """Missing programs are a failure where ./bootstrap test installs them."""
    try:
        import selenium  # noqa: F401

        missing = [path for path in (CHROMIUM, CHROMEDRIVER) if not os.access(path, os.X_OK)]
    except ImportError:
        missing = ["python3-selenium"]
    if missing:
        debian = "ID=debian\n" in Path("/etc/os-release").read_text() if os.path.exists("/etc/os-release") else False
        print("missing:", *missing, "- ./bootstrap test installs it" if debian else "- skipped")
        sys.exit(1 if debian else 77)


skip_or_fail()
from selenium import webdriver  # noqa: E402
from selenium.common.exceptions import NoAlertPresentException, WebDriverException  # noqa: E402
from selenium.webdriver.chrome.options import Options  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select  # noqa: E402

failed = []


def check(name, good, *detail):
    print("ok     " if good else "FAILED ", name, *([] if good else detail), flush=True)
    if not good:
        failed.append(name)


def same(name, got, wanted):
    check(name, got == wanted, f"\n        wanted {wanted!r:.600}\n        got    {got!r:.600}")


def same_rows(name, got, wanted):
    differ = [f"{i}: {key}: {a.get(key)!r:.60} instead of {b.get(key)!r:.60}" for i, (a, b) in enumerate(zip(got, wanted)) for key in {**a, **b} if a.get(key) != b.get(key)]
    check(name, len(got) == len(wanted) and not differ, len(got), len(wanted), differ[:5])


# ---- rows, made up: no figure here was measured ----


def setting(device, strategy, k=0, l=0, w=0, policy="full", **more):
    speed = 50.0 + 7 * k + 3 * l + (20 if "GPU" in device else 0)
    share = 0.5 + 0.05 * k
    row = {
        "key": f"{device}|{strategy}|{k}|{l}|{w}|{policy}", "bench": "run", "time": f"2026-01-0{1 + k}T00:00:00Z", "version": "0.0", "commit": "0123456789ab", "device": device,
        "driver": "driver of " + device, "banner": device + " | made up", "cpu_threads": "", "model": "tiny", "model_hash": "00ff", "n_parameters": 1000000, "weight_bytes": 2000000,
        "weight_type": "bf16", "kv_type": "f16", "ceiling_gb_s": 10.0, "kv_policy": policy, "strategy": strategy, "num_steps": 32, "draft_steps": k, "lookahead": l, "max_inflight": w,
        "batch": 1, "prompt_tokens": 0, "new_tokens": 64, "prompts": 4, "prompt_set": "built-in", "stop_at_eos": False, "temperature": 0, "seed": 0, "forced_acceptance": [],
        "repetitions": 3, "decode_tok_s": speed, "decode_spread": 0.02, "decode_outliers": 0, "decode_samples": [speed - 1, speed, speed + 1], "prefill_tok_s": 300.5,
        "lossless": policy == "full" and strategy != "diffusion", "lossy_because": "" if policy == "full" and strategy != "diffusion" else "for a reason",
        "equals_ar": policy == "full" and strategy != "diffusion", "agreement": 1, "rounds": 100, "drafted": 100 * l if l else 100 if strategy == "wavefront" else 0,
        "accepted": 10, "acceptance_rate": share if k else 0, "mean_acceptance_length": 1 + share * l if l else 0,
        "acceptance_per_position": [share] * l, "accepted_lengths": [100 // (l + 1)] * (l + 1) if l else [], "weight_bytes_per_token": 3e7 / (1 + 0.1 * k + 0.05 * l),
        "weight_mb_per_token": 30.0, "kv_bytes_per_token": 100, "gb_s": 4 + 0.1 * k, "ceiling_percent": 40.0 + k,
    }
    row.update(more)
    # Numbers as `muninn bench` writes them: with at most 15 digits.
    return json.loads(json.dumps(row), parse_float=lambda digits: float(f"{float(digits):.15g}"))


def sweep():
    rows = []
    for device in ("GPU one", "CPU two"):
        for policy in ("full", "share:1"):
            rows.append(setting(device, "ar", policy=policy))
            rows += [setting(device, "draft-verify", k, l, policy=policy) for k in (1, 2, 4) for l in (1, 3, 7)]
            rows += [setting(device, "wavefront", k, w=8, policy=policy) for k in (1, 2, 4)]
        rows.append(setting(device, "diffusion", 2, w=64, policy="share:1"))
        common = {key: rows[-1][key] for key in ("time", "version", "commit", "device", "driver", "banner", "model", "model_hash", "weight_type", "kv_type", "ceiling_gb_s")}
        for name in ("core", "head"):
            rows += [{"key": f"{device}|{name}|{n}", "bench": "pass", **common, "pass": name, "rows": n, "position": 128, "us": 100.0 + 10 * n, "t_ratio": (100 + 10 * n) / 110, "gb_s": 5.0} for n in range(1, 9)]
        rows += [{"key": f"{device}|kernel|{what}", "bench": "kernel", **common, "pass": "core", "kernel": "proj", "what": what, "rows": 1, "position": 128, "dispatches": 2, "us": 12.5,
                  "gb_s": 6.0, "ceiling_percent": 60.0} for what in ("qkv", "gate", "down")]
        rows.append({"key": f"{device}|floor", "bench": "floor", **common, "us": 4.5, "submit_us": 30.5})
    return rows


def is_run(row, strategy=None):
    return "strategy" in row and strategy in (None, row["strategy"])


def expected_marks(rows):
    """Marks of every figure, from the rows alone, for sweeps like the one above: the choosers' figures show one condition and the largest L."""
    drafts = [row for row in rows if is_run(row, "draft-verify")]
    devices = {row["device"] for row in rows if is_run(row)}
    return {
        "speedup": len(drafts),
        "acceptance": len(drafts) + len([row for row in rows if is_run(row, "wavefront")]),
        "lengths": 3 * 8,
        "positions": 3 * 7,
        "verify": len([row for row in rows if row.get("bench") == "pass"]),
        "kernels": len([row for row in rows if row.get("bench") == "kernel"]),
        "bandwidth": len([row for row in rows if is_run(row)]),
        "prediction": len([row for row in rows if is_run(row) and row["strategy"] != "ar"]),
        "devices": len({(row["device"], row["strategy"], row["lossless"]) for row in rows if is_run(row) and row["device"] in devices}),
    }



# ---- the program ----


class Report:
    def __init__(self, program, folder, source=None):
        self.program, self.folder, self.source, self.n = program, Path(folder), source, 0

    def run(self, *arguments, stdin=b""):
        done = subprocess.run([self.program, "report", *map(str, arguments)], input=stdin, capture_output=True, check=False)
        return done.returncode, done.stdout, done.stderr.decode()

    def file(self, name, rows):
        path = self.folder / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    def page(self, rows, name=None, title=None):
        self.n += 1
        source, page = self.file(name or f"rows{self.n}.jsonl", rows), self.folder / f"page{self.n}.html"
        code, out, err = self.run(source, "-o", page, *(["--title", title] if title is not None else []))
        check(f"page {self.n}: written, nothing said", (code, out, err) == (0, b"", ""), code, out[:200], err)
        return page


def between(page, start):
    return page.split(start, 1)[1].split("</script>", 1)[0]


def rows_of(page):
    return json.loads(between(page, 'id="rows">'))


# ---- the browser ----

STARTS, WAIT_S, CALL_S = 3, 60, 300
# What a driver says when its browser is gone or cannot draw any more. A page cannot say it.
LOST = ("tab crashed", "disconnected", "not reachable", "invalid session id", "no such window",
        "Unable to capture screenshot", "Printing failed", "unable to connect to renderer", "Connection refused",
        "Remote end closed connection", "Connection aborted")


class Browser:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.log = self.folder / f"driver-{time.monotonic_ns()}.log"
        options = Options()
        options.binary_location = CHROMIUM
        flags = ["headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
                 "disable-component-update", "disable-sync", "disable-dev-shm-usage", "hide-scrollbars",
                 "user-data-dir=" + tempfile.mkdtemp(dir=folder)]
        for flag in flags:
            options.add_argument("--" + flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        # The driver looks for a free port before it takes it: another test may be faster.
        self.driver = webdriver.Chrome(service=Service(CHROMEDRIVER, log_path=str(self.log)), options=options)
        self.driver.set_page_load_timeout(CALL_S)
        self.driver.set_script_timeout(CALL_S)

    @staticmethod
    def start(folder):
        """A browser that runs. A machine under load may need several: each that does not come says why."""
        for n in range(1, STARTS + 1):
            try:
                return Browser(folder)
            except (WebDriverException, OSError) as error:
                print(f"note   browser {n} of {STARTS} did not start: {first_line(error)}", flush=True)
                if n == STARTS:
                    raise
                time.sleep(n)

    def last_words(self):
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join("        driver: " + line[:300] for line in lines[-12:])

    def quit(self):
        try:
            self.driver.quit()
        except Exception as error:  # it may be gone already
            print("note   the browser did not end by itself:", first_line(error), flush=True)

    def until(self, condition, seconds=WAIT_S):
        """Waits until condition() is true, for as long as a slow machine may need; returns its last value."""
        end = time.monotonic() + seconds
        while True:
            got = condition()
            if got or time.monotonic() > end:
                return got
            time.sleep(0.02)

    def look(self, width=1400, scheme="light", media="screen"):
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False})
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": [{"name": "prefers-color-scheme", "value": scheme}]})

    def open(self, page):
        for kind in ("browser", "performance"):
            self.driver.get_log(kind)
        self.driver.get(Path(page).as_uri())

    def js(self, code, *arguments):
        return self.driver.execute_script(code, *arguments)

    def console(self):
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self):
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]

    def all(self, css):
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def one(self, css):
        return self.driver.find_element(By.CSS_SELECTOR, css)

    def marks(self, figures=None):
        """Marks per figure, of these figures."""
        marks = self.js("return Object.fromEntries([...document.querySelectorAll('figure')].map((f) => [f.id.replace('figure-', ''), f.querySelectorAll('.mark').length]))")
        return {name: marks.get(name, 0) for name in figures} if figures else marks

    def counts(self, name, wanted):
        same(name, self.marks(wanted), wanted)

    def column(self, name):
        return self.js("const i = [...document.querySelectorAll('#table th button')].findIndex((b) => b.dataset.column === arguments[0]);"
                       "return [...document.querySelectorAll('#table tbody tr')].map((r) => r.cells[i].textContent)", name)

    def has_alert(self):
        try:
            _ = self.driver.switch_to.alert.text
            return True
        except NoAlertPresentException:
            return False


def open_quietly(browser, page, name):
    browser.open(page)
    same(f"{name}: no message on the console", browser.console(), [])
    same(f"{name}: the page is all that was asked for", browser.requests(), [Path(page).as_uri()])


MARKUP = "</script><script>window.pwned=1</script><img src=x onerror=window.pwned=2>'\"&lt;<!--"


# ---- a whole test ----


def first_line(error):
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'without a word'}"


def is_lost(error):
    return isinstance(error, (WebDriverException, OSError)) and any(part in str(error) for part in LOST)


def run_one(browser, report, test, root):
    """One test in a folder of its own, once more where it loses its browser: what it does twice is a failure. Returns
    the browser, None where it is gone."""
    for attempt in (1, 2):
        before = len(failed)
        report.folder = root / f"{test.__name__}-{attempt}"
        report.folder.mkdir()
        try:
            browser = browser or Browser.start(root)
            browser.look()
            test(browser, report)
            return browser
        except Exception as error:  # whatever it is, the other tests run, and all output is kept
            words = browser.last_words() if browser else ""
            again = attempt == 1 and is_lost(error) and len(failed) == before
            if browser:
                browser.quit()
            browser = None
            lost = f"note   {test.__name__}: the browser was lost, once more with a new one: {first_line(error)}"
            print(lost if again else traceback.format_exc(), words, sep="\n", flush=True)
            if not again:
                check(f"{test.__name__}: no exception", False, first_line(error))
                return None


def run_tests(arguments, without, tests):
    """The functions of `without` with the report, those of `tests` with browser and report; the exit code. The last
    lines name what failed."""
    program, source = arguments
    folder, browser = Path(tempfile.mkdtemp(prefix="muninn-page-")), None
    try:
        report = Report(program, folder, source)
        for test in without:
            test(report)
        for test in tests:
            browser = run_one(browser, report, test, folder)
    except Exception:
        traceback.print_exc(file=sys.stdout)
        check("no exception without a browser", False)
    finally:
        if browser:
            browser.quit()
        shutil.rmtree(folder, ignore_errors=True)
    for name in failed:
        print("failed:", name)
    print(f"{len(failed)} failed", flush=True)
    return 1 if failed else 0
