# SPDX-License-Identifier: Apache-2.0
"""test/run behind its shell wrapper: runs the parts, counts their tests, tells what failed.

The end-to-end part mostly waits, so it runs beside the others."""

import argparse
import concurrent.futures
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import counts
import parts
from workplace import ROOT, Workplace

HARD_LIMIT = 3  # times its budget: then a part is ended
GRACE_S = 20
BESIDE = "e2e"


class Result:
    def __init__(self, part):
        self.part = part
        self.passed = 0
        self.failed = 0
        self.seconds = 0.0

    def add(self, count):
        self.passed += count.passed
        self.failed += count.failed


def end_group(process):
    """Ends a step and all that it started: they share a process group of their own."""
    with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(GRACE_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Runner:
    def __init__(self, place):
        self.place = place
        self.began = time.monotonic()
        self.lock = threading.Lock()  # guards stdout and running
        self.running = set()

    def tell(self, text, details=()):
        with self.lock:
            print(f"[{time.monotonic() - self.began:5.0f} s] {text}", flush=True)
            for line in details:
                print(f"    | {line}", flush=True)

    def execute(self, step, log, timeout_s):
        """(output, exit status, whether the time was up)"""
        with open(log, "wb") as out:
            process = subprocess.Popen(
                [str(word) for word in step.command], cwd=ROOT, stdin=subprocess.DEVNULL,
                stdout=out, stderr=subprocess.STDOUT, env=parts.environment(step),
                start_new_session=True)
            with self.lock:
                self.running.add(process)
            late = False
            try:
                process.wait(max(timeout_s, 1))
            except subprocess.TimeoutExpired:
                late = True
                end_group(process)
            with self.lock:
                self.running.discard(process)
        return log.read_text(errors="replace"), process.returncode, late

    def end_all(self):
        with self.lock:
            left = list(self.running)
        for process in left:
            end_group(process)

    def run_step(self, part, step, deadline):
        log = self.place.logs / f"{part.name}-{step.name.replace(' ', '-').replace('/', '-')}.log"
        try:
            text, status, late = self.execute(step, log, deadline - time.monotonic())
        except OSError as error:  # the program isn't there
            text, status, late = str(error), 127, False
        count = (step.count or counts.single)(text, status)
        if step.count is None and status == 0:
            count = counts.Count(0, 0, [])
        if count.failed:
            why = "took too long and was ended" if late else f"{count.failed} failed"
            self.tell(f"{part.name}: {step.name}: {why}; all of it: {log}", count.details)
        return count

    def run_part(self, part):
        result = Result(part)
        began = time.monotonic()
        self.tell(f"{part.name} …")
        for step in part.steps(self.place):
            count = self.run_step(part, step, began + HARD_LIMIT * part.budget_s)
            result.add(count)
            if count.failed and step.count is None:
                break  # nothing to run without a build
        if not result.passed and not result.failed:
            result.failed = 1
            self.tell(f"{part.name}: it has no tests")
        result.seconds = time.monotonic() - began
        self.tell(f"{part.name}: {result.passed} passed, {result.failed} failed")
        return result

    def build_first(self):
        """The dev build, which several parts share: no two of them may run ninja at once."""
        first = parts.Part("build", 300, lambda place: parts.build(place, "dev"))
        result = Result(first)
        began = time.monotonic()
        self.tell("build …")
        for step in first.steps(self.place):
            result.add(self.run_step(first, step, began + HARD_LIMIT * first.budget_s))
        result.seconds = time.monotonic() - began
        return result

    def run(self, wanted):
        results = [self.build_first()]
        if results[0].failed:
            return results
        beside = [part for part in wanted if part.name == BESIDE]
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            waiting = [pool.submit(self.run_part, part) for part in beside]
            try:
                results += [self.run_part(part) for part in wanted if part not in beside]
                results += [future.result() for future in waiting]
            except KeyboardInterrupt:
                self.end_all()
                raise
        return results


def print_table(results):
    print("\npart         seconds  budget  passed  failed")
    for r in results:
        over = "  over its budget" if r.seconds > r.part.budget_s else ""
        print(f"{r.part.name:12} {r.seconds:7.0f} {r.part.budget_s:7} {r.passed:7} {r.failed:7}"
              f"{over}")


def interrupt(*_):
    raise KeyboardInterrupt


def main():
    parser = argparse.ArgumentParser(prog="test/run", description="Runs the tests of hsm-kms.")
    names = [part.name for part in parts.PARTS + parts.ON_DEMAND]
    parser.add_argument("labels", nargs="*", metavar="label",
                        help=f"{', '.join(names)}; all but bench if none is named")
    labels = parser.parse_args().labels
    unknown = sorted(set(labels) - set(names))
    if unknown:
        parser.error(f"no label {', '.join(unknown)}; there are {', '.join(names)}")
    signal.signal(signal.SIGTERM, interrupt)
    try:
        results = Runner(Workplace()).run(parts.chosen(labels))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    passed, failed = sum(r.passed for r in results), sum(r.failed for r in results)
    print_table(results)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
