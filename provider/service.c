/* SPDX-License-Identifier: Apache-2.0 */
#include "service.h"

#include <stdlib.h>
#include <string.h>

#include "kms/clock.h"
#include "refresher.h"

enum { UID_MAX = 1024 /* bytes; kube-apiserver sends a UUID */ };

struct kms_service {
    struct kms_service_options options;
};

enum kms_code kms_service_open(const struct kms_service_options *options,
                               struct kms_service **ret_service, struct kms_error *err)
{
    struct kms_service *service = calloc(1, sizeof *service);
    if (service == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    service->options = *options;
    *ret_service = service;
    return KMS_OK;
}

void kms_service_close(struct kms_service *service)
{
    free(service);
}

/* --- answered from memory --- */

struct kms_audit *kms_service_audit(struct kms_service *service)
{
    return service->options.audit;
}

static enum kms_code health_of(struct kms_service *service, int64_t *ret_since_utc_s,
                               struct kms_error *err)
{
    enum kms_code rc = kms_refresher_health(service->options.refresher, ret_since_utc_s, err);
    return rc == KMS_OK ? kms_audit_health(service->options.audit, err) : rc;
}

static enum kms_code fail_by_snapshot(const struct kms_snapshot *snapshot, struct kms_error *err)
{
    return kms_fail(err, snapshot->code, "%s", snapshot->problem);
}

enum kms_code kms_service_status(struct kms_service *service, struct kms_status *ret_status,
                                 struct kms_error *err)
{
    int64_t since;
    enum kms_code rc = health_of(service, &since, err);
    if (rc != KMS_OK)
        return rc;
    KMS_CLEANUP(kms_snapshot_release_ptr)
    struct kms_snapshot *snapshot = kms_ring_acquire_for_status(service->options.keks);
    if (snapshot->code != KMS_OK)
        return fail_by_snapshot(snapshot, err);
    memcpy(ret_status->key_id, snapshot->key_id, sizeof ret_status->key_id);
    return KMS_OK;
}

enum kms_code kms_service_health(struct kms_service *service, struct kms_error *err)
{
    int64_t since;
    return health_of(service, &since, err);
}

void kms_service_describe(struct kms_service *service, struct kms_description *ret_description)
{
    const struct kms_service_options *options = &service->options;
    *ret_description = (struct kms_description){
        .node = options->node,
        .version = options->version,
        .ring = options->ring,
        .now_utc_ms = kms_utc_ms(),
        .snapshot = kms_ring_acquire(options->keks),
        .refresh_ms = options->refresh_ms,
        .canary_ms = options->canary_ms,
        .clock_skew_ms = options->clock_skew_ms,
        .max_age_ms = options->max_age_ms,
        .settings = options->settings,
        .vouched = kms_ring_vouched_mark(options->keks),
    };
    ret_description->audited = options->audit != NULL;
    ret_description->audit.code = kms_audit_failure(options->audit, &ret_description->audit);
    ret_description->audit_counts = kms_audit_count(options->audit);
    ret_description->token_count = kms_keystore_describe(options->keystore,
                                                         ret_description->tokens);
    ret_description->health.code = health_of(service, &ret_description->health_since_utc_s,
                                             &ret_description->health);
}

void kms_description_done(struct kms_description *description)
{
    kms_snapshot_release(description->snapshot);
    *description = (struct kms_description){ 0 };
}

struct kms_snapshot *kms_service_arrive(struct kms_service *service)
{
    return kms_ring_acquire(service->options.keks);
}

/* --- on the token --- */

static enum kms_code check_uid(struct kms_bytes uid, struct kms_error *err)
{
    if (uid.len == 0)
        return kms_fail(err, KMS_E_INVALID, "uid is empty");
    if (uid.len > UID_MAX)
        return kms_fail(err, KMS_E_INVALID, "uid has %zu bytes, at most %d may be", uid.len,
                        (int)UID_MAX);
    if (!kms_text_is_clean(uid))
        return kms_fail(err, KMS_E_INVALID, "uid is not UTF-8 text without control characters");
    return KMS_OK;
}

/* A failure on the token itself, not of this request: Status must not say ok until it is cleared.
 * What is wrong with one KEK only concerns Status if that KEK is the one that wraps. */
static void doubt_if_token_failed(struct kms_service *service, enum kms_code rc, bool wraps,
                                  const struct kms_error *err)
{
    if (rc == KMS_E_UNAVAILABLE || rc == KMS_E_INTERNAL || (rc == KMS_E_PRECONDITION && wraps))
        kms_refresher_doubt(service->options.refresher, err);
    else if (rc == KMS_E_PRECONDITION)
        kms_refresher_kick(service->options.refresher);
}

enum kms_code kms_service_encrypt(struct kms_service *service, const struct kms_snapshot *arrived,
                                  const struct kms_encrypt_request *request, int64_t deadline_ms,
                                  struct kms_encrypt_reply *ret_reply, struct kms_error *err)
{
    enum kms_code rc = check_uid(request->uid, err);
    if (rc != KMS_OK)
        return rc;
    size_t len = request->plaintext.len;
    if (!kms_seed_len_is_valid(len))
        return kms_fail(err, KMS_E_INVALID,
                        "plaintext has %zu bytes; AES key wrap takes a multiple of 8 from %d to %d",
                        len, (int)KMS_SEED_MIN, (int)KMS_SEED_MAX);
    if (arrived->code != KMS_OK)
        return fail_by_snapshot(arrived, err);

    struct kms_kek_ref kek = { .label = arrived->label,
                               .fingerprint = arrived->fingerprint,
                               .key_id = arrived->key_id };
    rc = kms_keystore_wrap(service->options.keystore, &kek, request->plaintext, deadline_ms,
                           &ret_reply->ciphertext, err);
    if (rc != KMS_OK) {
        doubt_if_token_failed(service, rc, true, err);
        return rc;
    }
    memcpy(ret_reply->key_id, arrived->key_id, sizeof ret_reply->key_id);
    return KMS_OK;
}

/* Exactly what Encrypt writes: nothing for AES key wrap, else one. */
enum kms_code kms_annotations_read(const struct kms_annotation *annotations, size_t count,
                                   enum kms_algorithm *ret_algorithm, struct kms_error *err)
{
    enum kms_algorithm algorithm = KMS_ALGORITHM_AES_KW;
    if (count > 1 || (count == 1 &&
                      !kms_bytes_equal(annotations[0].key, kms_bytes_of(KMS_ANNOTATION_ALGORITHM))))
        return kms_fail(err, KMS_E_INVALID,
                        "%zu annotation(s) given; this plugin writes none but one "
                        "\"" KMS_ANNOTATION_ALGORITHM "\", so the value is not its own",
                        count);
    if (count == 1 && (!kms_algorithm_parse(annotations[0].value, &algorithm) ||
                       algorithm == KMS_ALGORITHM_AES_KW))
        return kms_fail(err, KMS_E_INVALID,
                        "annotation \"" KMS_ANNOTATION_ALGORITHM
                        "\" names no algorithm that this plugin writes there");
    *ret_algorithm = algorithm;
    return KMS_OK;
}

static enum kms_code check_ciphertext(struct kms_bytes ciphertext, enum kms_algorithm algorithm,
                                      struct kms_error *err)
{
    size_t overhead = kms_algorithm_overhead(algorithm);
    if (kms_wrapped_len_is_valid(algorithm, ciphertext.len))
        return KMS_OK;
    if (algorithm == KMS_ALGORITHM_AES_GCM)
        return kms_fail(err, KMS_E_INVALID,
                        "ciphertext has %zu bytes; AES-GCM makes %zu more than a multiple of 8 "
                        "from %d to %d",
                        ciphertext.len, overhead, (int)KMS_SEED_MIN, (int)KMS_SEED_MAX);
    return kms_fail(err, KMS_E_INVALID,
                    "ciphertext has %zu bytes; AES key wrap makes a multiple of 8 from %zu to %zu",
                    ciphertext.len, KMS_SEED_MIN + overhead, KMS_SEED_MAX + overhead);
}

static enum kms_code check_decrypt(const struct kms_service *service,
                                   const struct kms_decrypt_request *request,
                                   enum kms_algorithm *ret_algorithm, struct kms_key_id *ret_key_id,
                                   struct kms_error *err)
{
    enum kms_code rc = check_uid(request->uid, err);
    if (rc == KMS_OK)
        rc = kms_annotations_read(request->annotations, request->annotation_count, ret_algorithm,
                                  err);
    if (rc == KMS_OK)
        rc = check_ciphertext(request->ciphertext, *ret_algorithm, err);
    if (rc != KMS_OK)
        return rc;
    if (request->key_id.len == 0 || request->key_id.len > KMS_KEY_ID_WIRE_MAX)
        return kms_fail(err, KMS_E_INVALID, "key_id has %zu bytes; 1 to %d may be",
                        request->key_id.len, (int)KMS_KEY_ID_WIRE_MAX);
    if (!kms_text_is_clean(request->key_id))
        return kms_fail(err, KMS_E_INVALID, "key_id is not UTF-8 text without control characters");
    if (!kms_key_id_parse(service->options.ring, request->key_id, ret_key_id))
        return kms_fail(err, KMS_E_INVALID, "key_id is not one of ring '%s'",
                        service->options.ring);
    return KMS_OK;
}

struct sealed {
    struct kms_key_id key_id;
    enum kms_algorithm algorithm;
    struct kms_bytes ciphertext;
};

/* Unwraps under the KEK that @snapshot has for @sealed.  KMS_E_KEY_UNKNOWN and *ret_absent: the
 * snapshot has none, and the token wasn't asked. */
static enum kms_code unwrap_by(struct kms_service *service, const struct kms_snapshot *snapshot,
                               const struct sealed *sealed, int64_t deadline_ms, bool *ret_absent,
                               struct kms_secret *ret_seed, struct kms_error *err)
{
    const struct kms_ring_entry *entry = kms_snapshot_find(snapshot, &sealed->key_id, err);
    *ret_absent = entry == NULL;
    if (entry == NULL)
        return err->code;
    struct kms_kek_ref kek = { .label = entry->kek.label,
                               .fingerprint = entry->kek.fingerprint,
                               .key_id = entry->key_id };
    enum kms_code rc = kms_keystore_unwrap(service->options.keystore, &kek, sealed->algorithm,
                                           sealed->ciphertext, deadline_ms, ret_seed, err);
    doubt_if_token_failed(service, rc, entry->state == KMS_KEK_ACTIVE, err);
    return rc;
}

enum kms_code kms_service_decrypt(struct kms_service *service,
                                  const struct kms_decrypt_request *request, int64_t deadline_ms,
                                  struct kms_secret *ret_plaintext, struct kms_error *err)
{
    struct sealed sealed = { .ciphertext = request->ciphertext };
    enum kms_code rc = check_decrypt(service, request, &sealed.algorithm, &sealed.key_id, err);
    if (rc != KMS_OK)
        return rc;

    bool absent;
    KMS_CLEANUP(kms_snapshot_release_ptr)
    struct kms_snapshot *snapshot = kms_ring_acquire(service->options.keks);
    rc = unwrap_by(service, snapshot, &sealed, deadline_ms, &absent, ret_plaintext, err);
    if (!absent)
        return rc;

    /* Another node may be ahead of us: only a listing begun after this request can say "unknown". */
    rc = kms_refresher_wait(service->options.refresher, deadline_ms, err);
    if (rc != KMS_OK)
        return rc;
    KMS_CLEANUP(kms_snapshot_release_ptr)
    struct kms_snapshot *fresh = kms_ring_acquire(service->options.keks);
    return unwrap_by(service, fresh, &sealed, deadline_ms, &absent, ret_plaintext, err);
}
