/* SPDX-License-Identifier: Apache-2.0 */
#include "promotion_rig.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "check.h"
#include "kms/clock.h"
#include "watched_rpc.h"
#include "wire.h"

enum { HOUR_MS = 3600000, GRACE_MS = 20000, LONG_AGO_S = 1767225600 };

const char *promotion_label(uint32_t generation)
{
    static char label[KMS_KEK_LABEL_LEN + 1];
    kms_label_format("prod", generation, LONG_AGO_S, label);
    return label;
}

static void serve(struct promotion_rig *rig, const struct kms_rpc_method *methods, unsigned workers)
{
    struct kms_error err;
    snprintf(rig->dir, sizeof rig->dir, "/tmp/test-promotion-XXXXXX");
    assert_non_null(mkdtemp(rig->dir));
    snprintf(rig->path, sizeof rig->path, "%s/kms.sock", rig->dir);
    struct kms_socket_options socket = { .path = rig->path, .mode = 0600 };
    assert_ok(kms_socket_open(&socket, &rig->socket, &err), &err);
    struct kms_server_options server = { .service = rig->policy.service,
                                         .methods = methods,
                                         .workers = workers };
    assert_ok(kms_server_open(&server, &rig->server, &err), &err);
    assert_ok(kms_socket_serve(rig->socket, rig->server, &err), &err);
}

void promotion_rig_open(struct promotion_rig *rig, const struct kms_rpc_method *methods,
                        unsigned workers, int64_t refresh_ms)
{
    watch_start();
    assert_int_equal(rig_open(&rig->policy, refresh_ms, HOUR_MS), 0);
    fake_keystore_add(rig->policy.token, promotion_label(1), 1);
    rig_start(&rig->policy);
    serve(rig, methods, workers);
}

void promotion_rig_close(struct promotion_rig *rig, struct witness *ret_seen)
{
    kms_socket_stop(rig->socket);
    assert_true(kms_server_stop(rig->server, GRACE_MS));
    kms_socket_close(rig->socket);
    char lock[96];
    snprintf(lock, sizeof lock, "%s.lock", rig->path);
    unlink(lock);
    assert_int_equal(rmdir(rig->dir), 0);
    watch_end(ret_seen);
    assert_int_equal(rig_close(&rig->policy), 0);
}

/* --- clients --- */

static const uint8_t seed[] = "0123456789abcdef0123456789abcde"; /* 32 bytes with the 0 */

/* Later for whoever comes later: no two calls get the same, whatever a clock's grain. */
static int64_t tick(void)
{
    static _Atomic int64_t ticks;
    return atomic_fetch_add(&ticks, 1);
}

static int64_t soon(void)
{
    return kms_monotonic_ms() + PROMOTION_CALL_MS;
}

void promotion_client_open(struct promotion_client *client, const struct promotion_rig *rig)
{
    struct kms_error err;
    *client = (struct promotion_client){ .believed = 0 };
    witness_init(&client->seen);
    assert_ok(kms_client_open(rig->path, &client->rpc, &err), &err);
}

void promotion_client_close(struct promotion_client *client)
{
    kms_client_close(client->rpc);
    client->rpc = NULL;
}

static bool complain(struct promotion_client *client, const char *what, const char *why)
{
    snprintf(client->complaint, sizeof client->complaint, "%s: %.150s", what, why);
    return false;
}

bool promotion_status(struct promotion_client *client)
{
    V2__StatusResponse *answer = NULL;
    struct kms_error err;
    int64_t sent = tick();
    client->calls++;
    if (kms_client_status(client->rpc, soon(), &answer, &err) != KMS_OK)
        return complain(client, "Status failed", err.msg);
    client->believed = watch_generation(kms_pack_bytes(answer->key_id));
    kms_client_free_status(answer);
    witness_status(&client->seen, client->believed, sent, tick());
    return true;
}

/* On success *ret_answer is the caller's to free. */
static bool encrypt(struct promotion_client *client, V2__EncryptResponse **ret_answer,
                    uint32_t *ret_generation)
{
    struct kms_error err;
    int64_t sent = tick();
    client->calls++;
    if (kms_client_encrypt(client->rpc, (struct kms_bytes){ seed, sizeof seed }, "uid", soon(),
                           ret_answer, &err) != KMS_OK)
        return complain(client, "Encrypt failed", err.msg);
    *ret_generation = watch_generation(kms_pack_bytes((*ret_answer)->key_id));
    witness_encrypt(&client->seen, *ret_generation, sent, tick());
    return true;
}

/* As kube-apiserver, which takes no answer but under the key that it knows from Status. */
static bool take_or_drop(struct promotion_client *client, uint32_t generation)
{
    if (generation == client->believed)
        return true;
    witness_drop(&client->seen, generation);
    return promotion_status(client);
}

bool promotion_encrypt(struct promotion_client *client, uint32_t *ret_generation)
{
    V2__EncryptResponse *answer = NULL;
    uint32_t generation;
    if (!encrypt(client, &answer, &generation))
        return false;
    kms_client_free_encrypt(answer);
    if (ret_generation != NULL)
        *ret_generation = generation;
    return take_or_drop(client, generation);
}

static bool decrypt(struct promotion_client *client, const V2__EncryptResponse *sealed)
{
    KMS_CLEANUP(kms_secret_done) struct kms_secret back = { 0 };
    struct kms_error err;
    client->calls++;
    if (kms_client_decrypt(client->rpc, sealed, "uid", soon(), &back, &err) != KMS_OK)
        return complain(client, "Decrypt failed", err.msg);
    if (!kms_bytes_equal(kms_secret_bytes(&back), (struct kms_bytes){ seed, sizeof seed }))
        return complain(client, "Decrypt failed", "it gave another seed");
    return true;
}

bool promotion_round_trip(struct promotion_client *client)
{
    V2__EncryptResponse *answer = NULL;
    uint32_t generation;
    if (!encrypt(client, &answer, &generation))
        return false;
    bool good = decrypt(client, answer);
    kms_client_free_encrypt(answer);
    return good && take_or_drop(client, generation);
}
