# SPDX-License-Identifier: Apache-2.0
"""What the labels of test/run stand for."""

import collections
import os

import counts
from workplace import ROOT, jobs

# A command, how to count its tests, and what it needs beside the usual environment.
Step = collections.namedtuple("Step", "name command count env", defaults=({},))
# budget_s: what it may take on two cores with cold caches.
Part = collections.namedtuple("Part", "name budget_s steps")

PYTHON = "/usr/bin/python3"  # Debian's own: python3-grpcio belongs to it
TEST = ROOT / "test"
FUZZ_SECONDS = "10"  # a target
# What others write and we read: etcd, the host, kube-apiserver's configuration, our own files.
FUZZ_LONGER = ("audit", "bbolt", "encryption_config", "etcd_value", "ledger", "state")
FUZZ_LONGER_SECONDS = "60"
CALLS_UNDER_SANITIZERS = {"KMS_CALL_TIMEOUT": "20s"}

# Unit tests, and the replay of what the fuzz targets are seeded with.
UNIT = ("-L", "^(unit|fuzz)$")
# Where threads meet; the rest of the unit tests has one thread.
THREADED = ("unit/(audit$|audit_(copier|hang|signer)|call|clock|keystore|log|pool|promotion|queue|"
            "refresher|remote|ring|server|service|session|socket)")

ASAN = {
    "ASAN_OPTIONS": ":".join(("detect_stack_use_after_return=1", "strict_string_checks=1",
                              "check_initialization_order=1")),
    "LSAN_OPTIONS": f"print_suppressions=0:suppressions={TEST}/lib/lsan.supp",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    **CALLS_UNDER_SANITIZERS,
}
TSAN = {
    # gRPC core and SoftHSM are not instrumented.
    "TSAN_OPTIONS": "ignore_noninstrumented_modules=1:halt_on_error=1:second_deadlock_stack=1",
    **CALLS_UNDER_SANITIZERS,
}


def build(place, preset):
    """Steps that don't count unless they fail."""
    steps = []
    if not place.is_configured(preset):
        steps.append(Step(f"configure {preset}", place.configure(preset), None))
    steps.append(Step(f"build {preset}",
                      ["ninja", "-C", str(place.build_dir(preset)), "-j", jobs()], None))
    return steps


def ctest(place, preset, *selection, env=None):
    return Step(f"ctest {preset}", [
        "ctest", "--test-dir", str(place.build_dir(preset)), "-V", "-j", jobs(), *selection],
        counts.ctest, env or {})


def integration(place, preset, *selection, env=None):
    return Step(f"integration {preset}",
                [TEST / "integration" / "run", place.program(preset), *selection],
                counts.unittest, env or {})


def conformance(place, preset, env=None):
    return Step(f"conformance {preset}", [TEST / "conformance" / "run", place.program(preset)],
                counts.summary, env or {})


def unit(place):
    return [
        Step("the runner's own tests", [PYTHON, "-B", "-m", "unittest", "discover", "-s",
                                        TEST / "lib"], counts.unittest),
        ctest(place, "dev", *UNIT)]


def layers(place):
    folder = place.build_dir("dev")
    return [
        Step("layers", [TEST / "layers" / "run", folder], counts.summary),
        Step("hardening", [TEST / "layers" / "hardening", folder], counts.summary)]


def docs(place):
    return [
        Step("docs", [TEST / "docs" / "run", place.program("dev")], counts.summary)]


def lint(place):
    return [
        Step("lint", [TEST / "lint" / "run", place.build_dir("dev")], counts.verdicts)]


def integrated(place):
    return [integration(place, "dev")]


def dialects(place):
    return [ctest(place, "dev", "-L", "^dialect$")]


def conformant(place):
    return [conformance(place, "dev")]


def end_to_end(place):
    return [
        Step("e2e", [TEST / "e2e" / "run", place.program("dev")], counts.summary)]


def asan(place):
    return build(place, "asan") + [
        ctest(place, "asan", *UNIT, env=ASAN), integration(place, "asan", env=ASAN),
        conformance(place, "asan", ASAN)]


def tsan(place):
    return build(place, "tsan") + [
        ctest(place, "tsan", "-R", THREADED, env=TSAN),
        integration(place, "tsan", "-v", "test_load", env=TSAN)]


def fuzz_targets():
    """Those that don't run longer."""
    return sorted(path.name for path in (TEST / "fuzz" / "corpus").iterdir()
                  if path.name not in FUZZ_LONGER)


def fuzz(place):
    run, folder = TEST / "fuzz" / "run", place.build_dir("fuzz")
    return build(place, "fuzz") + [
        Step("fuzz parsers", [run, FUZZ_LONGER_SECONDS, folder, *FUZZ_LONGER], counts.summary),
        Step("fuzz", [run, FUZZ_SECONDS, folder, *fuzz_targets()], counts.summary)]


def bench(place):
    return [
        Step("bench", [TEST / "bench" / "run", place.program("dev")], counts.single),
        Step("bench verify", [TEST / "bench" / "verify", place.program("dev")], counts.single)]


def soak(place):
    return [
        Step("soak", [TEST / "soak" / "run", place.program("dev")], counts.summary)]


def quickstart(_place):
    return [
        Step("quickstart", [ROOT / "softhsm-fixtures" / "quickstart", "--once"], counts.single)]


PARTS = (
    Part("unit", 120, unit),
    Part("layers", 180, layers),
    Part("docs", 60, docs),
    Part("lint", 300, lint),
    Part("integration", 500, integrated),
    Part("dialect", 180, dialects),
    Part("conformance", 240, conformant),
    Part("soak", 120, soak),
    Part("quickstart", 120, quickstart),
    Part("e2e", 1020, end_to_end),
    Part("asan", 1400, asan),
    Part("tsan", 300, tsan),
    Part("fuzz", 480, fuzz),
)
ON_DEMAND = (Part("bench", 600, bench),)


def chosen(labels):
    """The parts of the labels, all but those on demand without any; raises KeyError."""
    if not labels:
        return list(PARTS)
    known = {part.name: part for part in PARTS + ON_DEMAND}
    return [known[label] for label in labels]


def environment(step):
    """What a step runs in: no test may depend on the user's settings."""
    drop = ("SOFTHSM2_CONF", "LC_ALL", "LANG", "NOTIFY_SOCKET")
    kept = {name: value for name, value in os.environ.items() if name not in drop}
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8", **step.env}
