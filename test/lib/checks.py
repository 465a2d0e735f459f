# SPDX-License-Identifier: Apache-2.0
"""One line a check, and a last line that counts them: what test/run reads."""

import contextlib
import sys
import traceback

DETAIL_MAX = 400  # characters


class Checks:
    def __init__(self):
        self.passed = 0
        self.failed = 0

    def record(self, name, ok, detail=""):
        verdict = "PASS" if ok else "FAIL"
        self.passed += bool(ok)
        self.failed += not ok
        detail = " | ".join(str(detail).split("\n"))[:DETAIL_MAX]
        print(f"{verdict} {name}{': ' if detail else ''}{detail}", flush=True)
        return bool(ok)

    def equal(self, name, got, want):
        return self.record(name, got == want, "" if got == want else f"got {got!r}, want {want!r}")

    @contextlib.contextmanager
    def attempt(self, name):
        """The body is one check: it passes unless it raises."""
        try:
            yield
        except Exception as error:  # whatever went wrong, the other checks must still run
            traceback.print_exc(file=sys.stderr)
            self.record(name, False, f"{type(error).__name__}: {error}")
        else:
            self.record(name, True)

    def finish(self):
        """Prints the count and returns the exit status."""
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 1 if self.failed or not self.passed else 0
