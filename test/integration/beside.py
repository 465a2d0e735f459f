# SPDX-License-Identifier: Apache-2.0
"""Runs every test module in a process of its own, several at a time: most of their time is waiting.

    beside.py [MODULE…]    all of test_*.py without any; KMS_JOBS says how many at a time

Ends like unittest does, with one sum over all."""

import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).parent
# The longest first, so that none of them is what the end waits for.
FIRST = ("test_recovery", "test_kill", "test_several", "test_destroy_kill", "test_rotate", "test_nodes",
         "test_lifecycle_commands", "test_pin", "test_absence")
PROBLEMS = ("failures", "errors", "skipped", "unexpected successes")


def modules():
    found = sorted(path.stem for path in HERE.glob("test_*.py"))
    return [name for name in FIRST if name in found] + [name for name in found if name not in FIRST]


def run(name):
    """(name, what it printed, exit status)"""
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-m", "unittest", "-v", name], cwd=HERE,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return name, done.stdout.decode(errors="replace"), done.returncode


def count(text, status, problems):
    """Adds what unittest said of one module to @problems; returns how many tests it ran."""
    ran = re.findall(r"^Ran (\d+) tests? in ", text, re.MULTILINE)
    ending = (text.rstrip().splitlines() or [""])[-1]
    found = {kind: int(number) for kind, number in
             re.findall(r"(failures|errors|skipped|unexpected successes)=(\d+)", ending)}
    if not found and (status != 0 or not ran):
        found = {"errors": 1}  # it ended without saying why
    for kind, number in found.items():
        problems[kind] = problems.get(kind, 0) + number
    return int(ran[-1]) if ran else 1


def main():
    names = sys.argv[1:] or modules()
    jobs = int(os.environ.get("KMS_JOBS", (os.cpu_count() or 1) + 1))
    began = time.monotonic()
    total, problems = 0, {}
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        waiting = [pool.submit(run, name) for name in names]
        for future in concurrent.futures.as_completed(waiting):
            name, text, status = future.result()
            total += count(text, status, problems)
            print(f"### {name}\n{text}", flush=True)
    print("-" * 70)
    print(f"Ran {total} tests in {time.monotonic() - began:.3f}s\n")
    if not problems:
        print("OK")
        return 0
    print(f"FAILED ({', '.join(f'{kind}={problems[kind]}' for kind in PROBLEMS if kind in problems)})")
    return 1


if __name__ == "__main__":
    sys.exit(main())
