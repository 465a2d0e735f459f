# SPDX-License-Identifier: Apache-2.0
"""A kube-apiserver that starts on a full etcd, and what load does to everybody else."""

import concurrent.futures
import os
import unittest

import grpc

import kms_wire as wire
from kms_case import Case
from kms_client import plaintext

SEEDS = 1000
STREAMS = 50


class ColdStart(Case):
    def test_1000_distinct_seeds_over_50_streams_right_after_start(self):
        node = self.ready_node()
        kms = node.client()
        seeds = [os.urandom(32) for _ in range(SEEDS)]
        with concurrent.futures.ThreadPoolExecutor(STREAMS) as pool:
            answers = list(pool.map(kms.encrypt, seeds))
        self.assertEqual(node.stop(), 0)
        node.hang_up()
        node.start().wait_status()
        kms = node.client()
        with concurrent.futures.ThreadPoolExecutor(STREAMS) as pool:
            self.assertEqual(list(pool.map(kms.unseal, answers)), seeds)

    def test_many_parallel_decrypts_of_one_seed_agree(self):
        # kube-apiserver has no single flight: each reader of a cold seed asks for itself.
        node = self.ready_node()
        kms = node.client()
        seed = os.urandom(32)
        answer = kms.encrypt(seed)
        request = wire.decrypt_request(answer.ciphertext, answer.key_id.encode())
        calls = [kms.start(wire.DECRYPT, request) for _ in range(500)]
        self.assertEqual({plaintext(call.result()) for call in calls}, {seed})


class Fairness(Case):
    def test_status_is_answered_while_a_flood_of_calls_waits(self):
        node = self.ready_node()
        flood, kms = node.client(), node.client()
        calls = [flood.start(wire.ENCRYPT, wire.encrypt_request(os.urandom(32)))
                 for _ in range(2000)]
        for _ in range(10):
            self.assertEqual(kms.status().healthz, "ok")
        codes = {call.code() for call in calls}
        self.assertLessEqual(codes, {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED})
        self.assertIn(grpc.StatusCode.OK, codes)

    def test_load_rotation_and_outage_together_never_give_a_wrong_seed(self):
        node = self.ready_node(canary="1s")
        kms = node.client()
        kept = []
        for _ in range(2):
            seed = os.urandom(32)
            kept.append((seed, kms.encrypt(seed)))
            node.rotate()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            jobs = [pool.submit(self.unseal_often, kms, *pair) for pair in kept * 4]
            node.token.take_away()
            node.wait_failing(grpc.StatusCode.UNAVAILABLE)
            node.token.put_back()
            node.wait_status()
            codes = set().union(*(job.result() for job in jobs))
        self.assertLessEqual(codes, {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE,
                                     grpc.StatusCode.FAILED_PRECONDITION})

    def unseal_often(self, kms, seed, answer):
        codes = set()
        for _ in range(200):
            try:
                self.assertEqual(kms.unseal(answer), seed)
                codes.add(grpc.StatusCode.OK)
            except grpc.RpcError as error:
                codes.add(error.code())
        return codes


if __name__ == "__main__":
    unittest.main()
