# SPDX-License-Identifier: Apache-2.0
"""Two kube-apiservers on one etcd, each with its own hsm-kms; both plugins share one token."""

import collections
import itertools
import json
import secrets

import atrest
from cluster import ApiServer, Etcd
from daemon import free_ports, wait_until
import objects
from plugin import RING, Plugin
from rewrite import rewrite_everything
from softhsm import Token

PROVIDER = "hsm"
IMPORTED_LABEL = f"{RING}.v1@20260101T000000Z"
SERVED_S = 60
PROMOTION_S = 30  # 2 x refresh + clock_skew, and a listing
SWITCH_S = 150    # kube-apiserver looks once a minute, every 20 s while /readyz is polled
REWRITE_S = 90

Server = collections.namedtuple("Server", "name plugin api")


class Pair:
    def __init__(self, binary, apiserver_binary, directory):
        self.kek = secrets.token_bytes(32)
        self.token = Token(directory, "e2e-two")
        self.token.import_kek(IMPORTED_LABEL, self.kek)
        client_port, peer_port, *api_ports = free_ports(4)
        self.etcd = Etcd(directory, client_port, peer_port)
        self.servers = []
        for name, port in zip("ab", api_ports):
            own = directory / name
            own.mkdir()
            plugin = Plugin(binary, own, self.token, pins=[(1, atrest.fingerprint(self.kek))])
            self.servers.append(Server(name, plugin, ApiServer(
                apiserver_binary, own, self.etcd, port, PROVIDER, plugin.endpoint)))
        self.probes = itertools.count(1)
        self.written = []

    def start(self):
        for server in self.servers:
            server.plugin.start()
        self.etcd.start()
        for server in self.servers:
            server.api.start()

    def stop(self):
        for server in self.servers:
            server.api.stop()
            server.plugin.stop()
        self.etcd.stop()

    def daemons(self):
        return [self.etcd.daemon] + [daemon for server in self.servers
                                     for daemon in (server.plugin.daemon, server.api.daemon)]

    def write(self, server, item):
        server.api.must("POST", item.path, item.body)
        self.written.append(item)

    def stored(self, item):
        return atrest.parse(self.etcd.get(item.etcd_key))

    def writes_under(self, server, key_id):
        """Whether a new object that the server writes now carries the key_id."""
        server.api.is_ready()  # makes kube-apiserver ask for Status every 20 s
        item = objects.secret(f"probe-{server.name}-{next(self.probes)}")
        self.write(server, item)
        return self.stored(item).key_id == key_id

    def wait_writing_under(self, key_id):
        """Until all servers do; then none goes back."""
        for server in self.servers:
            wait_until(lambda s=server: self.writes_under(s, key_id),
                       f"writes of {server.name} under {key_id}", SWITCH_S, 1,
                       alive=self.daemons())

    def keks(self):
        return {kek["generation"]: kek for kek in self.servers[0].plugin.keys()}

    def encrypted(self):
        """(etcd key, key_id) of all values that are."""
        return [(key.decode(), atrest.parse(value).key_id)
                for key, value in self.etcd.registry().items() if value.startswith(atrest.PREFIX)]

    def keys_naming(self, key_id):
        """The etcd keys whose values need the KEK."""
        return sorted(key for key, named in self.encrypted() if named == key_id)

    def key_ids(self):
        return {key_id for _, key_id in self.encrypted()}


def named(kind, item, name):
    """Another object like it."""
    body = json.loads(json.dumps(item.body))
    body["metadata"]["name"] = name
    return objects.Object(kind, item.path, name, item.etcd_key.rsplit("/", 1)[0] + "/" + name, body)


def write_through_both(checks, pair, suffix):
    for server in pair.servers:
        name = f"{server.name}-{suffix}"
        for item in (objects.secret(name), named("ConfigMap", objects.CONFIG_MAP, name),
                     named("custom resource", objects.CUSTOM_RESOURCE, name)):
            with checks.attempt(f"two: {server.name} writes the {item.kind} {name}"):
                pair.write(server, item)


def check_readable(checks, pair, when):
    for server in pair.servers:
        with checks.attempt(f"two, {when}: all {len(pair.written)} objects are readable "
                            f"through {server.name}"):
            for item in pair.written:
                read = server.api.must("GET", f"{item.path}/{item.name}")
                if read["metadata"]["labels"]["mark"] != objects.MARK:
                    raise RuntimeError(f"{item.etcd_key} came back changed")


def set_up(checks, pair):
    first = pair.servers[0]
    with checks.attempt("two: a namespace and a definition for both"):
        for item in (objects.NAMESPACE_OBJECT, objects.DEFINITION):
            pair.write(first, item)
        for server in pair.servers:
            wait_until(lambda s=server: s.api.call("GET", objects.CUSTOM_RESOURCE.path)[0] == 200,
                       "the custom resource is served", SERVED_S, alive=pair.daemons())
    write_through_both(checks, pair, "one")
    check_readable(checks, pair, "generation 1")
    seeds = {pair.stored(item).wrapped for item in pair.written}
    checks.record("two: each server has a seed of its own", len(seeds) == 2, f"{len(seeds)} seeds")


def rotate(pair, *command):
    """One command, which follows both plugins until they use the new key."""
    first = pair.servers[0].plugin
    sockets = [word for server in pair.servers for word in ("--socket", server.plugin.socket)]
    first.command("key", *command, "--config", first.config, "--wait", "--timeout",
                  f"{PROMOTION_S}s", *sockets)


def check_servers_follow(checks, pair, generation):
    key_id = pair.keks()[generation]["key_id"]
    for server in pair.servers:
        checks.equal(f"two: {server.name}'s plugin uses generation {generation}",
                     server.plugin.promoted(), generation)
    with checks.attempt(f"two: both servers come to write under generation {generation}"):
        pair.wait_writing_under(key_id)
    before = len(pair.written)
    write_through_both(checks, pair, f"g{generation}")
    checks.equal(f"two: what they write then carries generation {generation}",
                 {pair.stored(item).key_id for item in pair.written[before:]}, {key_id})
    check_readable(checks, pair, f"generation {generation}")


def check_rotation(checks, pair):
    old = pair.keks()[1]["key_id"]
    with checks.attempt("two: key rotate --wait sees both plugins use generation 2"):
        rotate(pair, "rotate", "--from", "1")
    check_servers_follow(checks, pair, 2)
    checks.record("two: objects that weren't written again name generation 1",
                  pair.written[0].etcd_key in pair.keys_naming(old))
    with checks.attempt("two: after a rewrite of all objects no value in etcd names generation 1"):
        rewrite_away(pair, old)
    checks.equal("two: all encrypted values name generation 2", pair.key_ids(),
                 {pair.keks()[2]["key_id"]})
    check_readable(checks, pair, "rewritten")


def rewrite_away(pair, key_id):
    counts = []

    def rewritten():
        counts.append(rewrite_everything(pair.servers[-1].api))
        return not pair.keys_naming(key_id)
    try:
        wait_until(rewritten, f"no object under {key_id}", REWRITE_S, alive=pair.daemons())
    finally:
        print(f"     objects rewritten: {counts}; left: {pair.keys_naming(key_id)}", flush=True)


def check_revert(checks, pair):
    with checks.attempt("two: key revert makes the material of generation 1 generation 3"):
        first = pair.servers[0].plugin
        # Imported material is given a day for being accepted on every node: here less will do.
        first.command("key", "revert", "--to", "1", "--activate", "+20s", "--config", first.config)
        for server in pair.servers:
            # The copy of an imported key wasn't generated on the token either.
            server.plugin.command("key", "accept", "--generation", 3, "--fingerprint",
                                  atrest.fingerprint(pair.kek), "--config", server.plugin.config)
        for server in pair.servers:
            # A Status, as probe sends one, brings out a promotion.
            wait_until(lambda s=server: s.plugin.is_serving() and s.plugin.promoted() == 3,
                       f"generation 3 on {server.name}", PROMOTION_S, alive=pair.daemons())
    keks = pair.keks()
    checks.equal("two: generation 3 has the fingerprint of generation 1",
                 keks[3]["fingerprint"], keks[1]["fingerprint"])
    checks.record("two: and another key_id", keks[3]["key_id"] != keks[1]["key_id"])
    check_servers_follow(checks, pair, 3)
    item = pair.written[-1]
    with checks.attempt("two: openssl opens an object of generation 3 with the KEK of 1"):
        stored = pair.stored(item)
        seed = atrest.openssl_unwrap(pair.kek, stored.wrapped)
        if objects.MARK.encode() not in atrest.decrypt(stored, seed, item.etcd_key):
            raise RuntimeError("it opens to something else")


def run(checks, binary, apiserver_binary, directory):
    pair = Pair(binary, apiserver_binary, directory)
    try:
        pair.start()
        set_up(checks, pair)
        check_rotation(checks, pair)
        check_revert(checks, pair)
    finally:
        pair.stop()
