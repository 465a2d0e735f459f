# SPDX-License-Identifier: Apache-2.0
"""Base classes of the tests: nodes that are shown when a test fails, and ended in any case."""

import contextlib
import sys
import unittest

import grpc

from kms_node import Node

LOG_TAIL = 6000  # characters


class Case(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.own_nodes = []

    def new_node(self, **options):
        """A node with neither token nor KEK; ended after the test."""
        node = Node(**options)
        self.own_nodes.append(node)
        self.addCleanup(node.close)
        return node

    def ready_node(self, **options):
        """A node that serves generation 1."""
        node = self.new_node(**options).make_token()
        node.key_create()
        return node.up()

    def nodes(self):
        return self.own_nodes

    def run(self, result=None):
        before = count_failures(result)
        result = super().run(result)
        if count_failures(result) > before:
            for node in self.nodes():
                show_log(node)
        return result

    @contextlib.contextmanager
    def refused(self, code, *words):
        """The call in the block fails with @code, and a text with all of @words in it."""
        with self.assertRaises(grpc.RpcError) as caught:
            yield
        error = caught.exception
        self.assertEqual(error.code(), code, error.details())
        for word in words:
            self.assertIn(word, error.details())
        self.assertLessEqual(len(error.details()), 200)
        self.assertTrue(error.details().isprintable(), repr(error.details()))


class SharedCase(Case):
    """All tests of the class use one running node with one KEK; none may change it."""

    options = {}

    @classmethod
    def setUpClass(cls):
        cls.node = Node(**cls.options)
        try:
            cls.prepare()
            cls.node.up()
        except BaseException:
            show_log(cls.node)
            cls.node.close()
            raise

    @classmethod
    def prepare(cls):
        cls.node.make_token()
        cls.node.key_create()

    @classmethod
    def tearDownClass(cls):
        cls.node.close()

    def setUp(self):
        super().setUp()
        self.kms = self.node.client()
        self.addCleanup(self.kms.close)

    def nodes(self):
        return [self.node, *self.own_nodes]


def count_failures(result):
    return len(result.failures) + len(result.errors) if result is not None else 0


def show_log(node):
    text = getattr(node, "last_log", None)
    if text is None:
        try:
            text = node.log()
        except FileNotFoundError:
            return
    print("--- %s (last %d characters)\n%s---" % (node.log_path, LOG_TAIL, text[-LOG_TAIL:]),
          file=sys.stderr)
