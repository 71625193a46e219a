"""Sums up what scripts/test ran; the last line is `N passed, N failed, N skipped`.

    test_report.py STEP...

A STEP is NAME=STATUS for a check of its own, or NAME=STATUS=EVENTS for a run of `bazel test`, where
EVENTS is its --build_event_json_file. STATUS is the exit status. The last line counts a check as one and
each test target once per run. A target counts as skipped when all of its test cases were; skipped
cases are listed with their reasons wherever they are. What test cases record as the property "measured"
is printed as a table.
"""

import json
import os
import sys
import urllib.parse
import xml.etree.ElementTree as ElementTree

# bazel's exit status where the patterns match no test.
NO_TESTS = 4
# What scripts/test reports for a step that its time limit ended.
OUT_OF_TIME = 124


class Run:
    """What became of the targets of one step."""

    def __init__(self, name):
        self.name = name
        self.passed = []
        self.failed = []  # (target, what happened)
        self.skipped = []
        self.skipped_cases = []  # (target, case, reason)
        self.measured = []  # lines


def read_events(path):
    if not os.path.exists(path):
        return []
    with open(path) as lines:
        return [json.loads(line) for line in lines]


def local_path(uri):
    return urllib.parse.unquote(urllib.parse.urlparse(uri).path)


def read_xml(path):
    try:
        return ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError):
        return ElementTree.Element("testsuites")


def read_measured(root):
    properties = root.iter("property")
    return [each.get("value") for each in properties if each.get("name") == "measured"]


def read_cases(root):
    """The (name, reason or None) of each test case; a reason says why it was skipped."""
    cases = []
    for case in root.iter("testcase"):
        mark = case.find("skipped")
        reason = None
        if mark is not None:
            message = mark.get("message") or mark.text or "no reason given"
            reason = message.strip().splitlines()[-1]
        cases.append((f"{case.get('classname', '')}.{case.get('name', '')}", reason))
    return cases


def read_run(name, status, path):
    run = Run(name)
    cases = {}
    for event in read_events(path):
        identity = event["id"]
        if "testResult" in identity:
            label = identity["testResult"]["label"]
            for output in event.get("testResult", {}).get("testActionOutput", []):
                if output["name"] == "test.xml":
                    root = read_xml(local_path(output["uri"]))
                    cases.setdefault(label, []).extend(read_cases(root))
                    run.measured += read_measured(root)
        elif "testSummary" in identity:
            label = identity["testSummary"]["label"]
            outcome = event.get("testSummary", {}).get("overallStatus", "NO_STATUS")
            reasons = [(case, reason) for case, reason in cases.get(label, []) if reason]
            run.skipped_cases += [(label, case, reason) for case, reason in reasons]
            if outcome == "NO_STATUS" and status == OUT_OF_TIME:
                run.skipped.append(label)
                run.skipped_cases.append((label, "all", "not run: out of time"))
            elif outcome != "PASSED":
                run.failed.append((label, outcome))
            elif reasons and len(reasons) == len(cases[label]):
                run.skipped.append(label)
            else:
                run.passed.append(label)
        elif (
            "targetCompleted" in identity
            and not event.get("completed", {}).get("success")
            and not (status == OUT_OF_TIME and "aborted" in event)
        ):
            run.failed.append((identity["targetCompleted"]["label"], "did not build"))
    if status == OUT_OF_TIME:
        run.skipped.append(name)
        run.skipped_cases.append((name, "the rest of the step", "not run: out of time"))
    elif status not in (0, NO_TESTS) and not run.failed:
        run.failed.append(("bazel", f"ended with status {status}, see above"))
    return run


def read_step(step):
    name, status, *events = step.split("=")
    if events:
        return read_run(name, int(status), events[0])
    run = Run(name)
    if int(status) == 0:
        run.passed.append(name)
    elif int(status) == OUT_OF_TIME:
        run.skipped.append(name)
        run.skipped_cases.append((name, "the whole step", "not run: out of time"))
    else:
        run.failed.append((name, "failed, see above"))
    return run


def counts(runs):
    passed, failed, skipped = (
        sum(len(getattr(run, kind)) for run in runs) for kind in ("passed", "failed", "skipped")
    )
    return f"{passed} passed, {failed} failed, {skipped} skipped", failed


def main(steps):
    runs = [read_step(step) for step in steps]
    for run in runs:
        if run.measured:
            print(f"\n== Measured by {run.name}", *run.measured, sep="\n")
    print("\n== Summary")
    for run in runs:
        print(f"{run.name:10} {counts([run])[0]}")
    skipped = [(run.name, *case) for run in runs for case in run.skipped_cases]
    if skipped:
        print(f"\n{len(skipped)} test cases skipped:")
        for name, label, case, reason in skipped:
            print(f"  {name} {label} {case}: {reason}")
    failed = [(run.name, *failure) for run in runs for failure in run.failed]
    if failed:
        print(f"\n{len(failed)} failed:")
        for name, label, what in failed:
            print(f"  {name} {label}: {what}")
    line, failures = counts(runs)
    print(f"\n{line}", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
