/* SPDX-License-Identifier: Apache-2.0 */
#include "watched_rpc.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "kms/clock.h"
#include "proto/kmsv2.pb-c.h"
#include "wire.h"

#define STATUS "/v2.KeyManagementService/Status"
#define ENCRYPT "/v2.KeyManagementService/Encrypt"
#define DECRYPT "/v2.KeyManagementService/Decrypt"
enum { THREADS_MAX = 80 }; /* the poller and at most 64 workers */

/* Each thread has a witness of its own: a shared one would need a lock in each call, and that could
 * hide a race of the server's from ThreadSanitizer. */
static struct witness views[THREADS_MAX];
static atomic_uint view_count;
static _Thread_local struct witness *my_view; /* a server's threads don't outlive it */
static _Atomic(struct kms_snapshot *) first_arrived;

static struct witness *view(void)
{
    if (my_view != NULL)
        return my_view;
    unsigned at = atomic_fetch_add(&view_count, 1);
    if (at >= THREADS_MAX)
        abort();
    my_view = &views[at];
    return my_view;
}

void watch_start(void)
{
    atomic_store(&view_count, 0);
    for (size_t i = 0; i < THREADS_MAX; i++)
        witness_init(&views[i]);
}

void watch_end(struct witness *ret_seen)
{
    witness_init(ret_seen);
    for (size_t i = 0; i < atomic_load(&view_count); i++)
        witness_join(ret_seen, &views[i]);
    kms_snapshot_release(atomic_exchange(&first_arrived, NULL));
}

uint32_t watch_generation(struct kms_bytes key_id)
{
    struct kms_key_id parsed;
    return kms_key_id_parse("prod", key_id, &parsed) ? parsed.generation : 0;
}

static uint32_t generation_of_status(const struct kms_secret *reply)
{
    V2__StatusResponse *answer = v2__status_response__unpack(NULL, reply->len, reply->data);
    if (answer == NULL)
        return 0;
    uint32_t generation = watch_generation(kms_pack_bytes(answer->key_id));
    v2__status_response__free_unpacked(answer, NULL);
    return generation;
}

static uint32_t generation_of_encrypt(const struct kms_secret *reply)
{
    V2__EncryptResponse *answer = v2__encrypt_response__unpack(NULL, reply->len, reply->data);
    if (answer == NULL)
        return 0;
    uint32_t generation = watch_generation(kms_pack_bytes(answer->key_id));
    v2__encrypt_response__free_unpacked(answer, NULL);
    return generation;
}

static enum kms_code handle_really(const char *path, const struct kms_rpc_call *call,
                                   struct kms_secret *ret_reply, struct kms_error *err)
{
    const struct kms_rpc_method *method = kms_rpc_methods;
    while (strcmp(method->path, path) != 0)
        method++;
    return method->handle(call, ret_reply, err);
}

static enum kms_code watch_status(const struct kms_rpc_call *call, struct kms_secret *ret_reply,
                                  struct kms_error *err)
{
    int64_t began_us = kms_monotonic_us();
    enum kms_code rc = handle_really(STATUS, call, ret_reply, err);
    if (rc == KMS_OK)
        witness_status(view(), generation_of_status(ret_reply), began_us, kms_monotonic_us());
    return rc;
}

static enum kms_code watch_encrypt(const struct kms_rpc_call *call, struct kms_secret *ret_reply,
                                   struct kms_error *err)
{
    enum kms_code rc = handle_really(ENCRYPT, call, ret_reply, err);
    if (rc == KMS_OK)
        witness_encrypt(view(), generation_of_encrypt(ret_reply), call->arrived_us,
                        call->arrived_us);
    return rc;
}

static enum kms_code pass_decrypt(const struct kms_rpc_call *call, struct kms_secret *ret_reply,
                                  struct kms_error *err)
{
    return handle_really(DECRYPT, call, ret_reply, err);
}

static enum kms_code encrypt_late(const struct kms_rpc_call *call, struct kms_secret *ret_reply,
                                  struct kms_error *err)
{
    KMS_CLEANUP(kms_snapshot_release_ptr)
    struct kms_snapshot *now = kms_service_arrive(call->service);
    struct kms_rpc_call late = *call;
    late.arrived = now;
    return watch_encrypt(&late, ret_reply, err);
}

static enum kms_code encrypt_stale(const struct kms_rpc_call *call, struct kms_secret *ret_reply,
                                   struct kms_error *err)
{
    struct kms_snapshot *now = kms_service_arrive(call->service), *none = NULL;
    if (!atomic_compare_exchange_strong(&first_arrived, &none, now))
        kms_snapshot_release(now);
    struct kms_rpc_call stale = *call;
    stale.arrived = atomic_load(&first_arrived);
    return watch_encrypt(&stale, ret_reply, err);
}

const struct kms_rpc_method watched_methods[] = {
    { STATUS, watch_status, false },
    { ENCRYPT, watch_encrypt, true },
    { DECRYPT, pass_decrypt, true },
    { NULL, NULL, false },
};

const struct kms_rpc_method late_methods[] = {
    { STATUS, watch_status, false },
    { ENCRYPT, encrypt_late, true },
    { NULL, NULL, false },
};

const struct kms_rpc_method stale_methods[] = {
    { STATUS, watch_status, false },
    { ENCRYPT, encrypt_stale, true },
    { NULL, NULL, false },
};
