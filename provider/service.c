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

static enum kms_code fail_by_snapshot(const struct kms_snapshot *snapshot, struct kms_error *err)
{
    return kms_fail(err, snapshot->code, "%s", snapshot->problem);
}

enum kms_code kms_service_status(struct kms_service *service, struct kms_status *ret_status,
                                 struct kms_error *err)
{
    int64_t since;
    enum kms_code rc = kms_refresher_health(service->options.refresher, &since, err);
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
    return kms_refresher_health(service->options.refresher, &since, err);
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
    };
    kms_keystore_describe(options->keystore, &ret_description->token);
    ret_description->health.code = kms_refresher_health(
        options->refresher, &ret_description->health_since_utc_s, &ret_description->health);
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
    if (len < KMS_SEED_MIN || len > KMS_SEED_MAX || len % 8 != 0)
        return kms_fail(err, KMS_E_INVALID,
                        "plaintext has %zu bytes; AES key wrap takes a multiple of 8 from %d to %d",
                        len, (int)KMS_SEED_MIN, (int)KMS_SEED_MAX);
    if (arrived->code != KMS_OK)
        return fail_by_snapshot(arrived, err);

    struct kms_kek_ref kek = { .label = arrived->label, .fingerprint = arrived->fingerprint };
    rc = kms_keystore_wrap(service->options.keystore, &kek, request->plaintext, deadline_ms,
                           &ret_reply->ciphertext, err);
    if (rc != KMS_OK) {
        doubt_if_token_failed(service, rc, true, err);
        return rc;
    }
    memcpy(ret_reply->key_id, arrived->key_id, sizeof ret_reply->key_id);
    return KMS_OK;
}

static enum kms_code check_annotations(const struct kms_decrypt_request *request,
                                       struct kms_error *err)
{
    if (request->annotation_count == 0)
        return KMS_OK;
    return kms_fail(err, KMS_E_INVALID,
                    "%zu annotation(s) given; this plugin writes none, so the value is not its own",
                    request->annotation_count);
}

static enum kms_code check_decrypt(const struct kms_service *service,
                                   const struct kms_decrypt_request *request,
                                   struct kms_key_id *ret_key_id, struct kms_error *err)
{
    enum kms_code rc = check_uid(request->uid, err);
    if (rc == KMS_OK)
        rc = check_annotations(request, err);
    if (rc != KMS_OK)
        return rc;
    size_t len = request->ciphertext.len;
    if (len < KMS_SEED_MIN + KMS_WRAP_OVERHEAD || len > KMS_WRAPPED_MAX || len % 8 != 0)
        return kms_fail(
            err, KMS_E_INVALID,
            "ciphertext has %zu bytes; AES key wrap makes a multiple of 8 from %d to %d", len,
            (int)(KMS_SEED_MIN + KMS_WRAP_OVERHEAD), (int)KMS_WRAPPED_MAX);
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

/* Unwraps under the KEK that @snapshot has for @key_id.  KMS_E_KEY_UNKNOWN and *ret_absent: the
 * snapshot has none, and the token wasn't asked. */
static enum kms_code unwrap_by(struct kms_service *service, const struct kms_snapshot *snapshot,
                               const struct kms_key_id *key_id, struct kms_bytes ciphertext,
                               int64_t deadline_ms, bool *ret_absent, struct kms_secret *ret_seed,
                               struct kms_error *err)
{
    const struct kms_ring_entry *entry = kms_snapshot_find(snapshot, key_id, err);
    *ret_absent = entry == NULL;
    if (entry == NULL)
        return err->code;
    struct kms_kek_ref kek = { .label = entry->kek.label, .fingerprint = entry->kek.fingerprint };
    enum kms_code rc = kms_keystore_unwrap(service->options.keystore, &kek, ciphertext, deadline_ms,
                                           ret_seed, err);
    doubt_if_token_failed(service, rc, entry->state == KMS_KEK_ACTIVE, err);
    return rc;
}

enum kms_code kms_service_decrypt(struct kms_service *service,
                                  const struct kms_decrypt_request *request, int64_t deadline_ms,
                                  struct kms_secret *ret_plaintext, struct kms_error *err)
{
    struct kms_key_id key_id;
    enum kms_code rc = check_decrypt(service, request, &key_id, err);
    if (rc != KMS_OK)
        return rc;

    bool absent;
    KMS_CLEANUP(kms_snapshot_release_ptr)
    struct kms_snapshot *snapshot = kms_ring_acquire(service->options.keks);
    rc = unwrap_by(service, snapshot, &key_id, request->ciphertext, deadline_ms, &absent,
                   ret_plaintext, err);
    if (!absent)
        return rc;

    /* Another node may be ahead of us: only a listing begun after this request can say "unknown". */
    rc = kms_refresher_wait(service->options.refresher, deadline_ms, err);
    if (rc != KMS_OK)
        return rc;
    KMS_CLEANUP(kms_snapshot_release_ptr)
    struct kms_snapshot *fresh = kms_ring_acquire(service->options.keks);
    return unwrap_by(service, fresh, &key_id, request->ciphertext, deadline_ms, &absent,
                     ret_plaintext, err);
}
