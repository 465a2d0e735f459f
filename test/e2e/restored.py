# SPDX-License-Identifier: Apache-2.0
"""An old snapshot of etcd comes back after the key that it needs was disabled."""

import json
import time

import atrest
from cluster import ApiServer, Etcd
from daemon import free_ports, wait_until
import objects
from plugin import Plugin
from rewrite import rewrite_everything
from softhsm import Token

PROVIDER = "hsm"
SERVED_S = 60
READ_S = 60
REWRITE_S = 90
NEEDED = 3  # exit status of verify
WRITTEN = (objects.NAMESPACE_OBJECT, objects.secret("s1"), objects.CONFIG_MAP, objects.DEFINITION)


class Cluster:
    def __init__(self, binary, apiserver_binary, directory):
        self.directory = directory
        self.token = Token(directory, "e2e-restored")
        self.plugin = Plugin(binary, directory, self.token)
        self.plugin.create_key()
        client_port, peer_port, api_port = free_ports(3)
        self.etcd = Etcd(directory, client_port, peer_port)
        self.api = ApiServer(apiserver_binary, directory, self.etcd, api_port, PROVIDER,
                             self.plugin.endpoint)

    def start(self):
        for part in (self.plugin, self.etcd, self.api):
            part.start()
        for item in WRITTEN:
            self.api.must("POST", item.path, item.body)

    def stop(self):
        for part in (self.api, self.plugin, self.etcd):
            part.stop()

    def restart_api(self):
        """It forgets all seeds, and asks the plugin for its key at once."""
        self.api.stop()
        self.api.start()

    def key(self, *words):
        self.plugin.command("key", *words, "--config", self.plugin.config)

    def key_ids(self):
        """Of all encrypted values: whose keys they need."""
        return {atrest.parse(value).key_id for value in self.etcd.registry().values()
                if value.startswith(atrest.PREFIX)}

    def key_id(self, generation):
        return next(kek["key_id"] for kek in self.plugin.keys()
                    if kek["generation"] == generation)

    def has_generation_1(self):
        """For old values, as the running plugin says."""
        told = json.loads(self.plugin.command("status", "--socket", self.plugin.socket, "-o",
                                              "json"))
        return (1, "decrypt-only") in [(kek["generation"], kek["state"]) for kek in told["keks"]]

    def rewrite_until_gone(self, key_id):
        def is_gone():
            rewrite_everything(self.api)
            return key_id not in self.key_ids()
        wait_until(is_gone, f"no object under {key_id}", REWRITE_S,
                   alive=[self.etcd.daemon, self.plugin.daemon, self.api.daemon])

    def stored_key_ids(self):
        """Of what the test wrote."""
        return {atrest.parse(self.etcd.get(item.etcd_key)).key_id for item in WRITTEN}

    def can_destroy(self, *source, code):
        """What verify says of generation 1."""
        done = self.plugin.finish("verify", *source, "--can-destroy", 1, "-o", "json", "--config",
                                  self.plugin.config)
        if done.returncode != code:
            raise RuntimeError(f"exit {done.returncode}: {done.stdout}{done.stderr}")
        return json.loads(done.stdout)["verdict"]

    def running(self):
        return "--etcd", self.etcd.url


def check_readable(checks, cluster, when):
    for item in WRITTEN:
        with checks.attempt(f"restored, {when}: the {item.kind} is readable"):
            read = cluster.api.must("GET", f"{item.path}/{item.name}")
            if read["metadata"]["labels"]["mark"] != objects.MARK:
                raise RuntimeError("it came back changed")


def leave_generation_1(checks, cluster, old, snapshot):
    """What an operator does in months: a backup, a rotation, a rewrite, an end."""
    with checks.attempt("restored: a snapshot is taken while generation 1 is promoted"):
        cluster.etcd.save(snapshot)
    with checks.attempt("restored: after a rotation and a rewrite nothing names generation 1"):
        cluster.key("create", "--activate", "now", "--force")
        wait_until(lambda: cluster.plugin.is_serving() and cluster.plugin.promoted() == 2,
                   "generation 2 is promoted", READ_S, alive=[cluster.plugin.daemon])
        cluster.restart_api()
        cluster.rewrite_until_gone(old)
    with checks.attempt("restored: verify says that etcd doesn't need it, and the snapshot does"):
        checks.equal("restored: of etcd", cluster.can_destroy(*cluster.running(), code=0), "clean")
        checks.equal("restored: of the snapshot",
                     cluster.can_destroy("--snapshot", snapshot, code=NEEDED), "needed")
    with checks.attempt("restored: generation 1 is disabled, and everything readable without it"):
        cluster.key("disable", "1")
        cluster.restart_api()
    check_readable(checks, cluster, "generation 2")


def restore(checks, cluster, snapshot):
    """The old etcd is back: kube-apiserver can't read it, and says why."""
    cluster.api.stop()
    with checks.attempt("restored: etcd runs on the old snapshot"):
        cluster.etcd.restore(snapshot)
        cluster.etcd.start()
    item = objects.secret("s1")
    answers = []

    def is_refused():
        try:
            answers.append(cluster.api.call("GET", f"{item.path}/{item.name}"))
        except OSError:
            return False
        return answers[-1][0] == 500
    cluster.api.daemon.start()
    with checks.attempt("restored: an object of generation 1 can't be read"):
        wait_until(is_refused, "an answer", READ_S, alive=[cluster.api.daemon])
        checks.record("restored: and the answer says that its KEK is disabled",
                      b"is disabled: " in answers[-1][1], answers[-1][1])


def recover(checks, cluster, old):
    """docs/operations.md, 'An old snapshot was restored'."""
    checks.equal("restored: what was written names generation 1", cluster.stored_key_ids(), {old})
    with checks.attempt("restored: with generation 1 enabled kube-apiserver comes up"):
        cluster.key("enable", "1")
        wait_until(cluster.has_generation_1, "the plugin uses generation 1", READ_S,
                   alive=[cluster.plugin.daemon])
        cluster.restart_api()
    check_readable(checks, cluster, "generation 1 enabled")
    with checks.attempt("restored: verify says that etcd needs generation 1"):
        checks.equal("restored: before the rewrite",
                     cluster.can_destroy(*cluster.running(), code=NEEDED), "needed")
    with checks.attempt("restored: a rewrite moves everything to generation 2"):
        cluster.rewrite_until_gone(old)
    checks.equal("restored: all that is encrypted names generation 2", cluster.key_ids(),
                 {cluster.key_id(2)})
    with checks.attempt("restored: verify says that etcd doesn't need it any more"):
        checks.equal("restored: after the rewrite",
                     cluster.can_destroy(*cluster.running(), code=0), "clean")
    with checks.attempt("restored: generation 1 is disabled again, and nobody misses it"):
        cluster.key("disable", "1")
        cluster.restart_api()
    check_readable(checks, cluster, "generation 1 disabled again")


def run(checks, binary, apiserver_binary, directory):
    began = time.monotonic()
    cluster = Cluster(binary, apiserver_binary, directory)
    snapshot = directory / "old.db"
    try:
        cluster.start()
        old = cluster.key_id(1)
        leave_generation_1(checks, cluster, old, snapshot)
        restore(checks, cluster, snapshot)
        recover(checks, cluster, old)
    finally:
        cluster.stop()
    print(f"     restored took {time.monotonic() - began:.0f} s", flush=True)
