# SPDX-License-Identifier: Apache-2.0
"""What hsm-kms reads of a real etcd and of its files, against etcdctl and what was written."""

import pathlib
import random
import shutil
import signal
import socket
import tempfile
import threading
import unittest

from kms_etcd import Certificates, Dump, Etcd, dump, dump_process, free_ports

SECRETS = "/registry/secrets/"
MIB = 1024 * 1024


def secret(number):
    return f"{SECRETS}namespace-{number % 7}/secret-{number}".encode()


def fill(etcd):
    """Thousands of keys; updated, deleted, made anew; large values in a row, and other prefixes."""
    data = random.Random(6)
    etcd.write([(secret(i), data.randbytes(data.randrange(1, 3000))) for i in range(3000)])
    etcd.write([(secret(i), b"updated %d" % i) for i in range(0, 900, 3)])
    etcd.write([(secret(i), b"again %d" % i) for i in range(0, 900, 9)])
    etcd.write([(secret(i), None) for i in range(1000, 1200)])
    etcd.write([(secret(i), b"new %d" % i) for i in range(1100, 1150)])
    for i in range(12):
        etcd.write([(f"/registry/configmaps/big-{i:02}".encode(), data.randbytes(MIB + i))])
    etcd.write([(b"/registry/secret", b"beside the prefix"), (b"/registry/secrets0", b"behind it"),
                (b"a", b""), (b"\xff\xff", b"last"), (b"\x00", b"first")])
    return etcd


class Relay:
    """A port in front of an etcd's, until it is closed: then its connections end."""

    def __init__(self, port):
        self.port = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.sockets = [self.listener]
        self.threads = []
        self.start(self.accept)

    def start(self, run, *args):
        self.threads.append(threading.Thread(target=run, args=args))
        self.threads[-1].start()

    def accept(self):
        try:
            while True:
                near, _ = self.listener.accept()
                far = socket.create_connection(("127.0.0.1", self.port))
                self.sockets += [near, far]
                self.start(self.copy, near, far)
                self.start(self.copy, far, near)
        except OSError:
            pass  # closed

    @staticmethod
    def copy(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass  # closed

    def close(self):
        for one in self.sockets:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # its peer was faster
        for thread in self.threads:
            thread.join()
        for one in self.sockets:
            one.close()


class Source(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = pathlib.Path(tempfile.mkdtemp(prefix="etcd-source-"))
        cls.addClassCleanup(shutil.rmtree, cls.directory)
        cls.etcd = cls.enterClassContext(Etcd(cls.directory))
        fill(cls.etcd)
        cls.snapshot = cls.directory / "snapshot.db"
        cls.etcd.etcdctl("snapshot", "save", cls.snapshot)

    def copy_of_snapshot(self, name):
        path = self.directory / name
        shutil.copyfile(self.snapshot, path)
        self.addCleanup(path.unlink)
        return path

    def test_a_server_gives_what_etcdctl_gives(self):
        for prefix in (SECRETS, "/registry/", "", "/nothing/"):
            with self.subTest(prefix=prefix):
                header, expected = self.etcd.get(prefix)
                found = dump(self.etcd.url, prefix)
                self.assertIsInstance(found, Dump, found)
                self.assertEqual(found.entries, expected)
                self.assertEqual(found.summary["kind"], "server")
                self.assertEqual(found.summary["stopped"], "0")
                self.assertEqual(found.summary["cluster"], "%x" % header["cluster_id"])
                self.assertEqual(found.summary["member"], "%x" % header["member_id"])
                self.assertEqual(found.spans, [(header["revision"], prefix.encode())])

    def test_a_snapshot_gives_current_values_and_history(self):
        for prefix in (SECRETS, ""):
            with self.subTest(prefix=prefix):
                header, expected = self.etcd.get(prefix)
                found = dump(self.snapshot, prefix)
                self.assertIsInstance(found, Dump, found)
                self.assertEqual(sorted(found.current), sorted(expected))
                history = {entry for entry in self.etcd.history()
                           if bytes.fromhex(entry[3]).startswith(prefix.encode())}
                self.assertEqual(found.history(), history)
                self.assertEqual(len(found.entries), len(expected) + len(history))
                self.assertEqual(found.summary["kind"], "snapshot")
                self.assertEqual(found.spans, [(header["revision"], prefix.encode())])

    def test_a_snapshot_is_read_from_the_newest_revision_on(self):
        revisions = [int(line.split(" ")[1]) for line in dump(self.snapshot).entries]
        self.assertEqual(revisions, sorted(revisions, reverse=True))

    def test_the_file_of_a_running_etcd_is_refused(self):
        found = dump(self.etcd.db)
        self.assertIn("precondition", found)
        self.assertIn("in use by a running etcd: use --etcd or etcdctl snapshot save", found)

    def test_a_changed_snapshot_is_refused(self):
        path = self.copy_of_snapshot("changed.db")
        with open(path, "r+b") as file:
            file.seek(path.stat().st_size // 2)
            byte = file.read(1)
            file.seek(-1, 1)
            file.write(bytes([byte[0] ^ 1]))
        self.assertIn("corrupt: the SHA-256", dump(path))

    def test_a_snapshot_without_its_sha256_is_a_member_db(self):
        path = self.copy_of_snapshot("short.db")
        with open(path, "r+b") as file:
            file.truncate(path.stat().st_size - 32)
        found = dump(path)
        self.assertEqual(found.summary["kind"], "member-db")
        self.assertEqual(found.entries, dump(self.snapshot).entries)

    def test_a_snapshot_that_was_cut_off_is_refused(self):
        path = self.copy_of_snapshot("cut.db")
        for cut in (100, 4096 * 5 + 32):
            with self.subTest(cut=cut), open(path, "r+b") as file:
                file.truncate(self.snapshot.stat().st_size - cut)
                self.assertIn("corrupt", dump(path))

    def test_sigint_ends_it_with_a_summary_that_says_so(self):
        for source in (self.etcd.url, self.snapshot):
            with self.subTest(source=source), dump_process(source, "", 50) as process:
                lines = [process.stdout.readline() for _ in range(51)]
                self.assertEqual(lines[-1], "paused\n")
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=60)
                self.assertEqual(process.returncode, 0, err)
                found = Dump("".join(lines) + out)
                self.assertEqual(found.summary["stopped"], "1")
                self.assertEqual(len(found.entries), 50)
                self.assertEqual(len(found.spans), 1)

    def test_an_endpoint_that_is_away_is_passed_over(self):
        away = f"http://127.0.0.1:{free_ports(1)[0]}"
        found = dump(f"{away},{self.etcd.url}", SECRETS)
        self.assertIsInstance(found, Dump, found)
        self.assertEqual(found.entries, self.etcd.get(SECRETS)[1])
        refused = dump(away)
        self.assertIn("unavailable: etcd at " + away.removeprefix("http://"), refused)

    def test_an_endpoint_that_goes_away_is_left_for_the_next(self):
        relay = Relay(self.etcd.port)
        with dump_process(f"{relay.url},{self.etcd.url}", SECRETS, 50) as process:
            lines = [process.stdout.readline() for _ in range(51)]
            relay.close()
            out, err = process.communicate("\n", timeout=60)
        self.assertEqual(process.returncode, 0, err)
        found = Dump("".join(lines) + out)
        self.assertEqual(found.entries, self.etcd.get(SECRETS)[1])
        self.assertEqual(len(found.spans), 1)

    def test_an_endpoint_that_hangs_costs_one_timeout(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            hanging = f"http://127.0.0.1:{silent.getsockname()[1]}"
            found = dump(f"{hanging},{self.etcd.url}", SECRETS, ETCD_TIMEOUT_MS="1000")
            self.assertIsInstance(found, Dump, found)
            self.assertEqual(found.entries, self.etcd.get(SECRETS)[1])
            self.assertIn("deadline: etcd at", dump(hanging, ETCD_TIMEOUT_MS="200"))

    def test_sigint_does_not_wait_for_an_endpoint_that_hangs(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            hanging = f"http://127.0.0.1:{silent.getsockname()[1]}"
            with dump_process(hanging, "", ETCD_TIMEOUT_MS="600000") as process:
                near, _ = silent.accept()
                with near:
                    process.send_signal(signal.SIGINT)
                    out, _ = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0)
        self.assertEqual(Dump(out).summary["stopped"], "1")

    def test_what_is_no_etcd_is_refused(self):
        path = self.directory / "text.db"
        path.write_bytes(b"no database" * 4096)
        self.addCleanup(path.unlink)
        self.assertIn("corrupt: pages 0 and 1", dump(path))
        self.assertIn("precondition", dump(self.directory / "absent.db"))
        self.assertIn("is not a regular file", dump(self.directory))


class OwnEtcd(unittest.TestCase):
    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="etcd-source-"))
        self.addCleanup(shutil.rmtree, self.directory)

    def run_etcd(self, **options):
        etcd = Etcd(self.directory, **options)
        self.addCleanup(etcd.stop)
        return etcd.__enter__()

    def test_a_compaction_between_pages_names_the_range(self):
        etcd = self.run_etcd()
        etcd.write([(secret(i), b"old %d" % i) for i in range(1000)])
        first = etcd.writes[-1][0]
        with dump_process(etcd.url, SECRETS, 100) as process:
            lines = [process.stdout.readline() for _ in range(101)]
            etcd.write([(secret(i), b"new %d" % i) for i in range(1000)])
            etcd.compact()
            out, err = process.communicate("\n", timeout=60)
        self.assertEqual(process.returncode, 0, err)
        found = Dump("".join(lines) + out)
        self.assertEqual([revision for revision, _ in found.spans], [first, etcd.writes[-1][0]])
        self.assertEqual(found.spans[0][1], SECRETS.encode())
        border = found.spans[1][1].hex()
        self.assertEqual(len(found.entries), 1000)
        for line in found.entries:
            revision, key = int(line.split(" ")[1]), line.split(" ")[-1]
            self.assertEqual(revision <= first, key < border, line)

    def test_an_endpoint_of_another_cluster_is_refused(self):
        etcd = self.run_etcd()
        etcd.write([(secret(1), b"value")])
        other = Etcd(self.directory / "other")
        other.directory.mkdir()
        self.addCleanup(other.stop)
        other.__enter__().write([(secret(1), b"other")])
        self.assertIn(f"etcd at 127.0.0.1:{other.port} belongs to another cluster than "
                      f"127.0.0.1:{etcd.port}", dump(f"{etcd.url},{other.url}", SECRETS))
        other.stop()
        found = dump(f"{etcd.url},{other.url}", SECRETS)
        self.assertEqual(len(found.entries), 1)

    def test_a_member_db_after_its_etcd_ended(self):
        etcd = fill(self.run_etcd())
        compacted = etcd.compact()
        etcd.write([(secret(1), b"after"), (secret(2), None)])
        header, expected = etcd.get("")
        etcd.stop()
        found = dump(etcd.db)
        self.assertIsInstance(found, Dump, found)
        self.assertEqual(sorted(found.current), sorted(expected))
        self.assertEqual(found.summary["kind"], "member-db")
        self.assertEqual(found.summary["compact"], str(compacted))
        self.assertGreater(int(found.summary["index"]), 0)
        self.assertEqual(found.spans[0][0], header["revision"])

    def test_tls_with_client_certificates(self):
        certificates = Certificates(self.directory)
        etcd = self.run_etcd(tls=certificates)
        etcd.write([(secret(i), b"value %d" % i) for i in range(500)])
        cert, key = etcd.client
        found = dump(etcd.url, SECRETS, ETCD_CA=certificates.ca, ETCD_CERT=cert, ETCD_KEY=key)
        self.assertIsInstance(found, Dump, found)
        self.assertEqual(found.entries, etcd.get(SECRETS)[1])
        self.assertIn("unavailable", dump(etcd.url, ETCD_CA=certificates.ca))
        other = Certificates(self.directory, "other")
        self.assertIn("unavailable",
                      dump(etcd.url, ETCD_CA=other.ca, ETCD_CERT=cert, ETCD_KEY=key))
        self.assertIn("go together", dump(etcd.url, ETCD_CA=certificates.ca, ETCD_CERT=cert))
        self.assertIn("is not a PEM file",
                      dump(etcd.url, ETCD_CA=str(etcd.db), ETCD_CERT=cert, ETCD_KEY=key))


if __name__ == "__main__":
    unittest.main()
