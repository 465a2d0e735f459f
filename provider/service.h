/* SPDX-License-Identifier: Apache-2.0 */
/* The KMS v2 contract on plain structs (KEP-3299; kube-apiserver 1.34 .. 1.37).  Knows neither gRPC
 * nor PKCS#11. */
#ifndef KMS_SERVICE_H
#define KMS_SERVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "audit.h"
#include "kms/error.h"
#include "kms/keystore.h"
#include "ring.h"

struct kms_service;
struct kms_refresher;

struct kms_service_options {
    const char *ring;
    const char *version;                          /* of the program, for Describe */
    const char *node;                             /* host name, for Describe */
    struct kms_keystore *keystore;                /* borrowed */
    struct kms_ring *keks;                        /* borrowed */
    struct kms_refresher *refresher;              /* borrowed */
    struct kms_audit *audit;                      /* borrowed; NULL: none is configured */
    int64_t refresh_ms, canary_ms, clock_skew_ms; /* for Describe */
    int64_t max_age_ms;                           /* for Describe; 0: none */
    struct kms_source_mark settings; /* all of the configuration but pins and adopt, for Describe */
};
KMS_MUST_CHECK enum kms_code kms_service_open(const struct kms_service_options *options,
                                              struct kms_service **ret_service,
                                              struct kms_error *err);
void kms_service_close(struct kms_service *service);
KMS_DEFINE_CLOSE_PTR(struct kms_service *, kms_service_close)

/* --- answered from memory, on the poller; never block --- */

struct kms_status {
    char key_id[KMS_KEY_ID_LEN + 1];
};
/* KMS_OK means: version "v2", healthz "ok".  Anything else must fail the RPC: a key_id beside bad
 * health would keep kube-apiserver writing (kubernetes/kubernetes#138950). */
KMS_MUST_CHECK enum kms_code kms_service_status(struct kms_service *service,
                                                struct kms_status *ret_status,
                                                struct kms_error *err);

/* The same health without a promotion step: for grpc.health.v1 and sd_notify. */
KMS_MUST_CHECK enum kms_code kms_service_health(struct kms_service *service, struct kms_error *err);

/* Where the uses of keys are recorded; NULL: nowhere. */
struct kms_audit *kms_service_audit(struct kms_service *service);

/* What Node/Describe tells.  The snapshot is owned: kms_description_done(). */
struct kms_description {
    const char *node, *version, *ring; /* borrowed from the service */
    int64_t now_utc_ms;
    struct kms_snapshot *snapshot;
    struct kms_token_info tokens[KMS_TOKENS_MAX];
    size_t token_count;
    struct kms_error health; /* code KMS_OK: healthy */
    int64_t health_since_utc_s;
    int64_t refresh_ms, canary_ms, clock_skew_ms, max_age_ms;
    struct kms_source_mark settings, vouched; /* of the configuration; the latter pins and adopt */
    bool audited;                             /* the two below are filled */
    struct kms_error audit; /* why its log can't be written; code KMS_OK: it can */
    struct kms_audit_counts audit_counts;
};
void kms_service_describe(struct kms_service *service, struct kms_description *ret_description);
void kms_description_done(struct kms_description *description);

/* Taken on the poller when a call arrives, so that a call received before any Status that answers a
 * new key_id never uses it.  Released by kms_snapshot_release(). */
struct kms_snapshot *kms_service_arrive(struct kms_service *service);

/* --- blocking, on a worker; @deadline_ms is CLOCK_MONOTONIC --- */

/* Beside a ciphertext that isn't by AES key wrap: names its algorithm. A domain name, as kube-apiserver
 * wants it. */
#define KMS_ANNOTATION_ALGORITHM "algorithm.hsm-kms.dev"

struct kms_annotation {
    struct kms_bytes key;
    struct kms_bytes value;
};

/* By which algorithm a ciphertext was made.  KMS_E_INVALID: Encrypt doesn't write these annotations. */
KMS_MUST_CHECK enum kms_code kms_annotations_read(const struct kms_annotation *annotations,
                                                  size_t count, enum kms_algorithm *ret_algorithm,
                                                  struct kms_error *err);

struct kms_encrypt_request {
    struct kms_bytes plaintext;
    struct kms_bytes uid;
};
struct kms_encrypt_reply {
    struct kms_wrapped ciphertext;
    char key_id[KMS_KEY_ID_LEN + 1];
};
KMS_MUST_CHECK enum kms_code kms_service_encrypt(struct kms_service *service,
                                                 const struct kms_snapshot *arrived,
                                                 const struct kms_encrypt_request *request,
                                                 int64_t deadline_ms,
                                                 struct kms_encrypt_reply *ret_reply,
                                                 struct kms_error *err);

struct kms_decrypt_request {
    struct kms_bytes ciphertext;
    struct kms_bytes uid;
    struct kms_bytes key_id;
    const struct kms_annotation *annotations;
    size_t annotation_count;
};
/* On success *ret_plaintext owns the seed. */
KMS_MUST_CHECK enum kms_code kms_service_decrypt(struct kms_service *service,
                                                 const struct kms_decrypt_request *request,
                                                 int64_t deadline_ms,
                                                 struct kms_secret *ret_plaintext,
                                                 struct kms_error *err);

#endif
