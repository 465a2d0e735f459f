# SPDX-License-Identifier: Apache-2.0
"""Where a test run builds, caches and logs: all outside the tree, apart for each checkout."""

import hashlib
import os
import pathlib
import shutil

import gobuild

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Workplace:
    def __init__(self):
        key = hashlib.sha256(str(ROOT).encode()).hexdigest()[:12]
        self.base = gobuild.cache_dir() / key
        self.logs = self.base / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)

    def build_dir(self, preset):
        return self.base / "build" / preset

    def program(self, preset):
        return self.build_dir(preset) / "provider" / "command" / "hsm-kms"

    def configure(self, preset):
        """The command that makes the build folder."""
        command = ["cmake", "--preset", preset, "-B", str(self.build_dir(preset))]
        if shutil.which("ccache"):
            command.append("-DCMAKE_C_COMPILER_LAUNCHER=ccache")
        return command

    def is_configured(self, preset):
        return (self.build_dir(preset) / "build.ninja").exists()


def jobs():
    return str(len(os.sched_getaffinity(0)))
