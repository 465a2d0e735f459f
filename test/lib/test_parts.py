# SPDX-License-Identifier: Apache-2.0
import re
import unittest

import parts
from workplace import Workplace


def fuzz_steps():
    return [step for step in parts.fuzz(Workplace()) if step.name.startswith("fuzz")]


class Fuzz(unittest.TestCase):
    def test_every_target_that_is_built_runs_once(self):
        text = (parts.TEST / "fuzz" / "CMakeLists.txt").read_text(encoding="utf-8")
        built = re.findall(r"^kms_fuzz\((\w+) ", text, re.MULTILINE)
        run = [word for step in fuzz_steps() for word in step.command[3:]]
        self.assertEqual(sorted(run), sorted(built))

    def test_what_others_write_is_fuzzed_for_a_minute(self):
        seconds = {word: step.command[1] for step in fuzz_steps() for word in step.command[3:]}
        for name in ("etcd_value", "bbolt", "encryption_config", "audit", "state", "ledger"):
            self.assertEqual(seconds[name], "60", name)
        self.assertEqual(seconds["uri"], "10")


class Chosen(unittest.TestCase):
    def test_all_but_those_on_demand_without_a_label(self):
        self.assertNotIn("bench", [part.name for part in parts.chosen([])])

    def test_an_unknown_label_is_an_error(self):
        self.assertRaises(KeyError, parts.chosen, ["nothing"])


if __name__ == "__main__":
    unittest.main()
