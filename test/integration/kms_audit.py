# SPDX-License-Identifier: Apache-2.0
"""Nodes with an audit log, and logs made by hand."""

import hashlib
import json
import os

from kms_case import Case


class AuditCase(Case):
    def audited_node(self, **audit):
        node = self.new_node()
        configure(node, **audit)
        return node.make_token()

    def ready_audited_node(self, **audit):
        node = self.audited_node(**audit)
        node.key_create()
        return node.up()

    def verify(self, node, *files, code=0):
        run = node.run("audit", "verify", "-o", "json", *files)
        self.assertEqual(run.returncode, code, run.stdout + run.stderr)
        return json.loads(run.stdout)

    def show(self, node, *args):
        run = node.run("audit", "show", "-o", "json", *args)
        self.assertEqual(run.returncode, 0, run.stderr)
        told = json.loads(run.stdout)
        self.assertEqual(told["schema"], "hsm-kms/audit-show/v1")
        return told["lines"]


def configure(node, **audit):
    """Beside state_dir, whose owner writes it."""
    os.makedirs(node.path("audit"), 0o700, exist_ok=True)
    node.audit_path = node.path("audit/log")
    node.configure(audit={"path": node.audit_path, "cluster": "prod", **audit})


def serve_log(node):
    return node.audit_path + ".serve"


def admin_log(node):
    return node.audit_path + ".admin"


def lines_of(path):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


class Chain:
    """Makes lines as the writer does."""

    def __init__(self, name="log"):
        self.id = hashlib.sha256(name.encode()).hexdigest()[:16]
        self.seq, self.prev = 0, "00" * 32

    def line(self, body):
        self.seq += 1
        head = {"chain": self.id, "seq": self.seq, "prev": self.prev,
                "ts": "2026-12-01T12:00:00.000Z"}
        text = json.dumps({**head, **body}, separators=(",", ":")).encode()
        self.prev = hashlib.sha256(text).hexdigest()
        return text + b"\n"


OPEN = {"type": "open", "node": "cp-1", "writer": "serve", "version": "1"}
USE = {"type": "use", "op": "Decrypt", "key_id": "prod.v1.00", "uid": "u", "code": "ok",
       "peer_uid": 0}
COMMAND = {"type": "command", "op": "key-create", "phase": "begin", "peer_uid": 33}
LATE = {"type": "late", "late": 2, "from": "2026-12-01T11:00:00.000Z",
        "to": "2026-12-01T12:00:00.000Z"}
GAP = {"type": "gap", "lost": 3, "from": "2026-12-01T11:00:00.000Z",
       "to": "2026-12-01T12:00:00.000Z", "reason": "No space left on device"}
