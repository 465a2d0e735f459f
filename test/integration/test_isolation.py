# SPDX-License-Identifier: Apache-2.0
"""The PKCS#11 library lives in a child of serve, which may be killed at any time after its login."""

import contextlib
import glob
import os
import random
import re
import signal
import threading

import grpc

from kms_case import Case
from kms_node import wait_for

KILLS = 200 if os.environ.get("KMS_LONG") else 20
STARTS = 100 if os.environ.get("KMS_LONG") else 10
CALLERS = 32


def hosts_of(pid):
    """Living children of the process."""
    with open("/proc/%d/task/%d/children" % (pid, pid), encoding="ascii") as file:
        own = file.read().split()
    for task in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/children" % (pid, task), encoding="ascii") as file:
            own += file.read().split()
    return sorted({int(child) for child in own})


def read(pid, name):
    with open("/proc/%d/%s" % (pid, name), "rb") as file:
        return file.read()


def is_gone(pid):
    try:
        return read(pid, "stat").rsplit(b")", 1)[1].split()[0] == b"Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


class Caller(threading.Thread):
    """Encrypts and decrypts until told to stop; every fault is kept."""

    def __init__(self, node):
        super().__init__()
        self.kms = node.client()
        self.ending = threading.Event()
        self.faults = []
        self.good = 0
        self.start()

    def run(self):
        while not self.ending.is_set() and not self.faults:
            seed = os.urandom(32)
            try:
                answer = self.kms.encrypt(seed)
                if self.kms.unseal(answer) != seed:
                    self.faults.append("another seed came back")
                self.good += 1
            except grpc.RpcError as error:
                self.faults.append("%s: %s" % (error.code(), error.details()))

    def end(self):
        self.ending.set()
        self.join()


class Isolation(Case):
    def host_of(self, node):
        return wait_for("a token host", lambda: hosts_of(node.process.pid))[0]

    def served(self, node):
        """How many hosts have been ready so far."""
        return node.log().count('"token host serves"')

    def kill_host(self, node):
        """Returns once the next one is logged in: SoftHSM's token doesn't survive a kill in C_Login."""
        before = self.served(node)
        os.kill(self.host_of(node), signal.SIGKILL)
        wait_for("the next host to serve", lambda: node.alive() and self.served(node) > before)

    def test_the_plugin_maps_no_vendor_library(self):
        node = self.ready_node()
        self.assertNotIn(b"softhsm", read(node.process.pid, "maps"))
        self.assertIn(b"softhsm", read(self.host_of(node), "maps"))

    def test_without_isolation_there_is_no_child(self):
        node = self.new_node().make_token()
        node.config["tokens"][0]["isolation"] = "none"
        node.configure()
        node.key_create()
        node.up()
        self.assertEqual(hosts_of(node.process.pid), [])
        self.assertIn(b"softhsm", read(node.process.pid, "maps"))

    def test_the_host_sees_lanes_and_few_variables(self):
        node = self.new_node().make_token()
        node.config["tokens"][0]["environment"] = ["VENDOR_SETTING"]
        node.configure()
        node.env.update(VENDOR_SETTING="a", SECRET_OF_ANOTHER="b", LD_PRELOAD="")
        node.key_create()
        host = self.host_of(node.up())
        names = {item.split(b"=")[0] for item in read(host, "environ").split(b"\0") if item}
        self.assertIn(b"SOFTHSM2_CONF", names)
        self.assertIn(b"VENDOR_SETTING", names)
        self.assertNotIn(b"SECRET_OF_ANOTHER", names)
        self.assertNotIn(b"LD_PRELOAD", names)
        inherited = [os.readlink("/proc/%d/fd/%s" % (host, fd))
                     for fd in os.listdir("/proc/%d/fd" % host)]
        self.assertEqual(len([link for link in inherited if link.startswith("socket:")]), 5)
        self.assertFalse([link for link in inherited if "eventpoll" in link], inherited)
        self.assertNotIn(node.token.pin.encode(), read(host, "cmdline"))

    def test_the_host_ends_with_the_plugin(self):
        node = self.ready_node()
        host = self.host_of(node)
        self.assertEqual(node.stop(), 0)
        self.assertTrue(is_gone(host))
        self.assertIn("stopped", node.log())

    def test_the_host_ends_when_the_plugin_is_killed(self):
        node = self.ready_node()
        host = self.host_of(node)
        node.hang_up()
        node.kill()
        wait_for("the host to end", lambda: is_gone(host))
        node.up()

    def test_a_signal_to_the_whole_group_is_the_plugins_to_take(self):
        node = self.ready_node()
        host = self.host_of(node)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(host, number)
        kms, seed = node.client(), os.urandom(32)
        self.assertEqual(kms.unseal(kms.encrypt(seed)), seed)
        self.assertEqual(self.host_of(node), host)

    def test_a_killed_host_is_started_again_and_says_so(self):
        node = self.ready_node()
        kms, seed = node.client(), os.urandom(32)
        sealed = kms.encrypt(seed)
        self.kill_host(node)
        self.assertEqual(kms.unseal(sealed), seed)
        ended = [event for event in node.log_events() if event["msg"] == "token host ended"]
        self.assertEqual([event["by"] for event in ended], ["signal 9 (KILL)"])

    def test_no_call_fails_while_hosts_are_killed(self):
        node = self.ready_node()
        rng = random.Random(7)
        callers = [Caller(node) for _ in range(CALLERS)]
        try:
            for _ in range(KILLS):
                moment = sum(caller.good for caller in callers) + rng.randrange(1, 40)
                wait_for("some calls", lambda goal=moment: any(c.faults for c in callers) or
                         sum(caller.good for caller in callers) >= goal)
                self.kill_host(node)
        finally:
            for caller in callers:
                caller.end()
        self.assertEqual([fault for caller in callers for fault in caller.faults], [])
        self.assertGreaterEqual(len(re.findall('"token host ended"', node.log())), KILLS)

    def restore(self, tokens, whole):
        """SoftHSM's files as they were: a kill within C_Login may have cut them short."""
        for path, content in whole.items():
            with open(path + ".whole", "wb") as out:
                out.write(content)
            os.replace(path + ".whole", path)
        for path in glob.glob(os.path.join(tokens, "*", "*")):
            if path not in whole and path.endswith(".object"):
                os.unlink(path)

    def test_hosts_that_are_killed_while_they_start_lose_nothing_but_time(self):
        node = self.ready_node()
        kms, seed = node.client(), os.urandom(32)
        sealed = kms.encrypt(seed)
        whole = {}
        for path in glob.glob(os.path.join(node.token.tokens, "*", "*")):
            with open(path, "rb") as content:
                whole[path] = content.read()
        rng = random.Random(11)
        for _ in range(STARTS):
            before = self.host_of(node)
            with contextlib.suppress(ProcessLookupError):  # it was the last round's
                os.kill(before, signal.SIGKILL)
            host = wait_for("the next host", lambda before=before: [
                pid for pid in hosts_of(node.process.pid) if pid != before])[0]
            threading.Event().wait(rng.uniform(0, 0.12))  # some moment of its start
            with contextlib.suppress(ProcessLookupError):
                os.kill(host, signal.SIGKILL)
            wait_for("its end", lambda host=host: is_gone(host))
            self.restore(node.token.tokens, whole)
        node.wait_status()
        self.assertEqual(kms.unseal(sealed), seed)

    def test_one_login_for_each_host(self):
        node = self.ready_node()
        for _ in range(3):
            self.kill_host(node)
        self.assertEqual(self.served(node), 4)
        self.assertEqual(node.log().count('"token connected"'), 4)

    def test_a_host_that_has_too_much_memory_is_replaced_between_two_calls(self):
        node = self.new_node().make_token()
        node.config["tokens"][0]["memory_limit"] = 1  # MiB: any host has more
        node.configure()
        node.key_create()
        node.up()
        first = self.host_of(node)
        callers = [Caller(node) for _ in range(4)]
        try:
            wait_for("the next host to serve", lambda: node.alive() and self.served(node) > 1)
        finally:
            for caller in callers:
                caller.end()
        self.assertEqual([fault for caller in callers for fault in caller.faults], [])
        self.assertTrue(is_gone(first))
        ended = [event for event in node.log_events() if event["msg"] == "token host ended"]
        self.assertEqual(ended[0]["by"], "exit status 0")
