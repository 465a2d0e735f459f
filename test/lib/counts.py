# SPDX-License-Identifier: Apache-2.0
"""How many tests passed and failed, read from what a step printed.

A count is never kinder than the exit status: a step that failed has at least one failure, and one
that ran nothing failed."""

import collections
import re

Count = collections.namedtuple("Count", "passed failed details")
TAIL = 60  # lines of a failed step's output that are worth reading

CTEST_LINE = re.compile(r"^(\d+): ?(.*)$")
CTEST_START = re.compile(r"^ +Start +(\d+): ")
CTEST_END = re.compile(r"^ *\d+/\d+ Test +#(\d+): (\S+) [ .]*(.*)$")
CMOCKA_LINE = re.compile(r"^\[ +(OK|FAILED|SKIPPED) +\] (\S+)$")


def tail(text):
    return text.splitlines()[-TAIL:]


def troubles(text):
    """The same without the lines of what passed."""
    return [line for line in text.splitlines() if not line.startswith(("ok ", "PASS "))][-TAIL:]


def honest(passed, failed, status, details):
    """A step must have passed something, and its exit status must agree with its count."""
    if failed == 0 and (status != 0 or passed == 0):
        failed = 1
    return Count(passed, failed, details if failed else [])


def single(text, status):
    """One step, one test."""
    return Count(1, 0, []) if status == 0 else Count(0, 1, tail(text))


def verdicts(text, status):
    """A line that starts with "ok" or "FAIL" for each check."""
    found = re.findall(r"^(ok|FAIL) ", text, re.MULTILINE)
    return honest(found.count("ok"), found.count("FAIL"), status, troubles(text))


def summary(text, status):
    """A last line "N passed, N failed"."""
    found = re.findall(r"^(\d+) passed, (\d+) failed$", text, re.MULTILINE)
    if not found:
        return single(text, status or 1)
    return honest(int(found[-1][0]), int(found[-1][1]), status, troubles(text))


def unittest(text, status):
    """Python's unittest; a skipped test is a failed one, for nothing here may be skipped."""
    ran = re.findall(r"^Ran (\d+) tests? in ", text, re.MULTILINE)
    if not ran:
        return single(text, status or 1)
    total = int(ran[-1])
    ending = text.rstrip().splitlines()[-1]
    bad = sum(int(n) for n in re.findall(r"(?:failures|errors|skipped|unexpected successes)=(\d+)",
                                         ending))
    return honest(max(total - bad, 0), bad, status, unittest_reports(text) or tail(text))


def unittest_reports(text):
    """The report of each failure, without what the others printed."""
    reports = text.split("\n" + "=" * 70 + "\n")[1:]
    return [line for report in reports for line in report.splitlines()[:TAIL]]


def ctest(text, status):
    """ctest -V: each cmocka test of each program counts; a program without cmocka is one test."""
    output = collections.defaultdict(list)
    for line in text.splitlines():
        match = CTEST_LINE.match(line)
        if match:
            output[match[1]].append(match[2])
    passed = failed = 0
    details = []
    for line in text.splitlines():
        match = CTEST_END.match(line)
        if match:
            good, bad = program(output[match[1]], match[3].startswith("Passed"))
            passed, failed = passed + good, failed + bad
            if bad:
                details += [f"--- {match[2]}: {match[3]}"] + output[match[1]][-TAIL:]
    return honest(passed, failed, status, details or tail(text))


def program(lines, ended_well):
    """(passed, failed) of one test program."""
    results = {}
    for line in lines:
        match = CMOCKA_LINE.match(line)
        if match:
            results[match[2]] = match[1]
    passed = sum(verdict == "OK" for verdict in results.values())
    failed = len(results) - passed
    if not ended_well and failed == 0:
        failed = 1  # it crashed, hung, or a sanitizer spoke after the last test
    if not results and ended_well:
        passed = 1
    return passed, failed
