# SPDX-License-Identifier: Apache-2.0
"""key destroy proves from a real etcd, and from snapshots of it, that nothing needs the key."""

import os
import pathlib
import shutil
import tempfile

from kms_atrest import Source, value
from kms_etcd import Etcd
from test_lifecycle_commands import LifecycleCase

PLAIN = b"k8s\x00plain"


class DestroyCase(LifecycleCase):
    """An etcd for all; each test has a node with generation 1 and, promoted, 2, and a prefix."""

    @classmethod
    def setUpClass(cls):
        cls.directory = pathlib.Path(tempfile.mkdtemp(prefix="destroy-"))
        cls.addClassCleanup(shutil.rmtree, cls.directory)
        cls.etcd = cls.enterClassContext(Etcd(cls.directory))

    def setUp(self):
        super().setUp()
        self.prefix = "/" + self.id().rsplit(".", 1)[1]

    def rotated(self, **options):
        node = self.ready_node(**options)
        client = node.client()
        self.old = Source(client)
        node.rotate()
        self.new = Source(client)
        return node

    def put(self, name, source):
        key = f"{self.prefix}/secrets/default/{name}".encode()
        self.etcd.write([(key, value(source, key, PLAIN))])

    def snapshot(self):
        path = self.directory / f"{self.prefix.strip('/')}.db"
        self.etcd.etcdctl("snapshot", "save", path)
        self.addCleanup(path.unlink)
        return path

    def proof(self, *flags):
        return ("--etcd", self.etcd.url, "--prefix", self.prefix, *map(str, flags))


class Proof(DestroyCase):
    def test_a_generation_that_nothing_needs_is_destroyed_without_a_typed_name(self):
        node = self.rotated()
        self.put("a", self.new)
        self.done(node, "disable", "1")
        told = self.done(node, "destroy", "1", *self.proof())
        self.assertEqual((told["changed"], told["outcome"], told["verified_by"]),
                         (True, "destroyed", "proof"))
        self.assertEqual(self.generations(node), [2])
        again = self.done(node, "destroy", "1", *self.proof())
        self.assertEqual((again["changed"], again["outcome"]), (False, "gone"))

    def test_an_object_that_needs_it_keeps_it_and_is_named(self):
        node = self.rotated()
        self.put("a", self.new)
        self.put("old", self.old)
        self.done(node, "disable", "1")
        self.says_no(node, "destroy", "1", *self.proof(),
                     word=f"{self.prefix}/secrets/default/old")
        self.says_no(node, "destroy", "1", *self.proof(), "--dry-run", word="1 value(s) need it")
        self.done(node, "enable", "1")
        self.assertEqual(node.client().unseal(self.old.sealed), self.old.secret)

    def test_the_history_of_a_backup_keeps_it(self):
        node = self.rotated()
        self.put("a", self.old)
        self.put("a", self.new)
        backup = self.snapshot()
        self.done(node, "disable", "1")
        self.done(node, "destroy", "1", *self.proof(), "--dry-run")
        self.says_no(node, "destroy", "1", *self.proof("--backup", backup), word=str(backup))
        self.says_no(node, "destroy", "1", *self.proof("--backup", backup), word="(history)")

    def test_a_backup_that_does_not_need_it_lets_it_go(self):
        node = self.rotated()
        self.put("a", self.new)
        backup = self.snapshot()
        self.done(node, "disable", "1")
        told = self.done(node, "destroy", "1", *self.proof("--backup", backup))
        self.assertEqual(told["outcome"], "destroyed")

    def test_what_can_not_be_told_keeps_it(self):
        node = self.rotated()
        self.put("a", self.new)
        backup = self.snapshot()
        self.done(node, "disable", "1")
        nowhere = ("--etcd", "http://127.0.0.1:1", "--prefix", self.prefix)
        self.says_no(node, "destroy", "1", *nowhere, word="it can't be told")
        self.says_no(node, "destroy", "1", "--etcd", self.etcd.url, "--prefix", "/nowhere",
                     word="no key below this prefix")
        self.says_no(node, "destroy", "1", *self.proof("--backup", "/nowhere.db"),
                     word="it can't be told")
        os.truncate(backup, backup.stat().st_size - 32)
        self.says_no(node, "destroy", "1", *self.proof("--backup", backup), word="SHA-256")

    def test_a_backup_alone_proves_nothing(self):
        node = self.rotated()
        self.put("a", self.new)
        self.done(node, "disable", "1")
        self.says_no(node, "destroy", "1", "--backup", str(self.snapshot()), word="--etcd URL")

    def test_a_proof_and_a_typed_name_are_not_mixed(self):
        node = self.rotated()
        done = self.key(node, "destroy", "1", *self.proof(), "--i-have-verified", "prod.v1")
        self.assertEqual(done.returncode, 1)
        self.assertIn("not both", done.stderr)

    def test_it_is_disabled_before_it_is_destroyed_whatever_is_proven(self):
        node = self.rotated()
        self.put("a", self.new)
        self.says_no(node, "destroy", "1", *self.proof(), word="key disable 1")
        self.says_no(node, "destroy", "2", *self.proof(), word="promoted")
