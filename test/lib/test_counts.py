# SPDX-License-Identifier: Apache-2.0
import unittest

import counts

CTEST = """\
test 1
    Start 1: unit/base

1: Test command: /b/test_base
1: [==========] Running 3 test(s).
1: [ RUN      ] one
1: [       OK ] one
1: [ RUN      ] two
1: [  ERROR   ] --- 0 != 1
1: [  FAILED  ] two
1: [ RUN      ] three
1: [  SKIPPED ] three
1: [==========] 3 test(s) run.
1: [  PASSED  ] 1 test(s).
1: [  FAILED  ] 1 test(s), listed below:
1: [  FAILED  ] two
1/3 Test #1: unit/base ........................***Failed    0.01 sec
2: [ RUN      ] four
2: [       OK ] four
2: [ RUN      ] five
2/3 Test #2: unit/wire ........................***Exception: SegFault  0.10 sec
3: plain words
3/3 Test #3: layers/rules .....................   Passed    1.00 sec
"""


class Ctest(unittest.TestCase):
    def test_counts_each_cmocka_test_once(self):
        self.assertEqual(counts.program(
            ["[       OK ] a", "[  FAILED  ] b", "[  FAILED  ] b"], False), (1, 1))

    def test_counts_a_crash_as_a_failure(self):
        self.assertEqual(counts.program(["[       OK ] a", "[ RUN      ] b"], False), (1, 1))

    def test_counts_a_program_without_cmocka_as_one_test(self):
        self.assertEqual(counts.program(["plain words"], True), (1, 0))

    def test_counts_skipped_tests_as_failed(self):
        self.assertEqual(counts.program(["[  SKIPPED ] a"], True), (0, 1))

    def test_adds_up_all_programs(self):
        got = counts.ctest(CTEST, 8)
        self.assertEqual((got.passed, got.failed), (3, 3))

    def test_shows_the_output_of_failed_programs_only(self):
        details = "\n".join(counts.ctest(CTEST, 8).details)
        self.assertIn("0 != 1", details)
        self.assertNotIn("plain words", details)

    def test_fails_when_nothing_ran(self):
        self.assertEqual(counts.ctest("No tests were found!!!\n", 0)[:2], (0, 1))


class Summary(unittest.TestCase):
    def test_reads_the_last_line(self):
        self.assertEqual(counts.summary("PASS a\n7 passed, 0 failed\n", 0)[:2], (7, 0))

    def test_distrusts_a_bad_exit_status(self):
        self.assertEqual(counts.summary("7 passed, 0 failed\n", 3)[:2], (7, 1))

    def test_fails_without_a_count(self):
        self.assertEqual(counts.summary("all is well\n", 0)[:2], (0, 1))

    def test_fails_when_nothing_passed(self):
        self.assertEqual(counts.summary("0 passed, 0 failed\n", 0)[:2], (0, 1))


class Verdicts(unittest.TestCase):
    def test_counts_lines(self):
        self.assertEqual(counts.verdicts("ok   a\n     okay\nFAIL b\nok   c\n", 1)[:2], (2, 1))


class Unittest(unittest.TestCase):
    def test_counts_failures_errors_and_skips_as_failed(self):
        text = "Ran 10 tests in 1.2s\n\nFAILED (failures=1, errors=2, skipped=1)\n"
        self.assertEqual(counts.unittest(text, 1)[:2], (6, 4))

    def test_counts_a_clean_run(self):
        self.assertEqual(counts.unittest("Ran 1 test in 0.1s\n\nOK\n", 0)[:2], (1, 0))

    def test_fails_a_run_of_nothing(self):
        self.assertEqual(counts.unittest("Ran 0 tests in 0.0s\n\nOK\n", 0)[:2], (0, 1))


if __name__ == "__main__":
    unittest.main()
