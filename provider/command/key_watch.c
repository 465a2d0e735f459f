/* SPDX-License-Identifier: Apache-2.0 */
#include "key_watch.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "kms/clock.h"
#include "text.h"
#include "wire.h"

enum { SEED_LEN = 32, CALL_TIMEOUT_MS = 5000, PAUSE_MS = 250 };

enum kms_code kms_watch_init(struct kms_watch *watch, const struct kms_node_sources *sources,
                             struct kms_error *err)
{
    watch->nodes = kms_must_alloc(calloc(sources->socket_count + 1, sizeof(watch->nodes[0])));
    for (size_t i = 0; i < sources->socket_count; i++) {
        struct kms_watched *watched = &watch->nodes[i];
        watched->node.source = sources->sockets[i];
        enum kms_code rc = kms_client_open(sources->sockets[i], &watched->client, err);
        if (rc != KMS_OK)
            return rc;
        watch->count++;
    }
    return KMS_OK;
}

void kms_watch_done(struct kms_watch *watch)
{
    for (size_t i = 0; i < watch->count; i++)
        kms_client_close(watch->nodes[i].client);
    free(watch->nodes);
    *watch = (struct kms_watch){ 0 };
}

/* Whether Status answers @key_id (any if NULL). */
static bool status_answers(struct kms_client *client, const char *key_id, struct kms_error *err)
{
    V2__StatusResponse *response = NULL;
    if (kms_client_status(client, kms_monotonic_ms() + CALL_TIMEOUT_MS, &response, err) != KMS_OK)
        return false;
    const struct kms_bytes answered = { response->key_id.data, response->key_id.len };
    bool same = key_id == NULL || kms_bytes_equal(answered, kms_bytes_of(key_id));
    if (!same)
        (void)kms_fail(err, KMS_E_UNAVAILABLE, "Status still answers the old key_id");
    kms_client_free_status(response);
    return same;
}

enum kms_code kms_watch_describe(struct kms_watch *watch, struct kms_error *err)
{
    for (size_t i = 0; i < watch->count; i++) {
        struct kms_watched *watched = &watch->nodes[i];
        struct kms_error why = { 0 }; /* an unhealthy node still describes itself */
        (void)status_answers(watched->client, NULL, &why);
        enum kms_code rc = kms_node_ask(watched->client, watched->node.source, &watched->node, NULL,
                                        &why);
        if (rc != KMS_OK)
            return kms_fail(err, rc, "the node on %s does not answer: %s", watched->node.source,
                            why.msg);
    }
    return KMS_OK;
}

/* --- steps --- */

static void announce(const struct kms_watched *watched, const char *text)
{
    char title[KMS_NODE_TITLE_MAX], stamp[KMS_RFC3339_LEN + 1];
    kms_node_title(&watched->node, title);
    kms_rfc3339_format(kms_utc_s(), stamp);
    (void)fprintf(stderr, "%s  ", stamp);
    kms_text_put(stderr, title);
    (void)fputs(": ", stderr);
    kms_text_put(stderr, text);
    (void)fputc('\n', stderr);
}

static void announce_step(const struct kms_watched *watched, const struct kms_watch_goal *goal,
                          const char *step)
{
    char text[128];
    (void)snprintf(text, sizeof(text), "generation %" PRIu32 " %s", goal->generation, step);
    announce(watched, text);
}

static enum kms_code make_seed(struct kms_secret *seed, struct kms_error *err)
{
    enum kms_code rc = kms_secret_init(seed, SEED_LEN, err);
    if (rc == KMS_OK && getrandom(seed->data, seed->len, 0) != SEED_LEN)
        return kms_fail_errno(err, KMS_E_INTERNAL, "getrandom", errno, "no random bytes");
    return rc;
}

/* Only a listing connects anew. */
static enum kms_code wrap(const struct kms_watch_goal *goal, const struct kms_secret *seed,
                          int64_t deadline_ms, struct kms_wrapped *ret_wrapped,
                          struct kms_error *err)
{
    const struct kms_kek_ref kek = { goal->kek->label, goal->kek->fingerprint, NULL };
    enum kms_code rc = kms_keystore_wrap(goal->keystore, &kek, kms_secret_bytes(seed), deadline_ms,
                                         ret_wrapped, err);
    if (rc != KMS_E_UNAVAILABLE)
        return rc;
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
    rc = kms_keystore_inventory(goal->keystore, kek.label, deadline_ms, &inventory, err);
    if (rc != KMS_OK)
        return rc;
    return kms_keystore_wrap(goal->keystore, &kek, kms_secret_bytes(seed), deadline_ms, ret_wrapped,
                             err);
}

/* What this command wrapped on its own way to the token, the node must be able to unwrap. */
static enum kms_code prove(struct kms_watched *watched, const struct kms_watch_goal *goal,
                           struct kms_error *err)
{
    KMS_CLEANUP(kms_secret_done) struct kms_secret seed = { 0 };
    KMS_CLEANUP(kms_secret_done) struct kms_secret opened = { 0 };
    struct kms_wrapped wrapped = { .len = 0 };
    int64_t deadline_ms = kms_monotonic_ms() + CALL_TIMEOUT_MS;
    enum kms_code rc = make_seed(&seed, err);
    if (rc == KMS_OK)
        rc = wrap(goal, &seed, deadline_ms, &wrapped, err);
    if (rc != KMS_OK)
        return rc;
    V2__EncryptResponse sealed = V2__ENCRYPT_RESPONSE__INIT;
    sealed.ciphertext = kms_pack_data((struct kms_bytes){ wrapped.data, wrapped.len });
    sealed.key_id = kms_pack_data(kms_bytes_of(goal->key_id));
    rc = kms_client_decrypt(watched->client, &sealed, "hsm-kms-rotate", deadline_ms, &opened, err);
    if (rc == KMS_OK && !kms_secret_equal(&seed, &opened))
        return kms_fail(err, KMS_E_CORRUPT, "Decrypt gave other bytes than were wrapped");
    return rc;
}

static void take_proof(struct kms_watched *watched, const struct kms_watch_goal *goal)
{
    struct kms_error err = { 0 };
    if (prove(watched, goal, &err) != KMS_OK) {
        (void)snprintf(watched->why, sizeof(watched->why), "it can't be used there: %.256s",
                       err.msg);
        return;
    }
    watched->proved = true;
    announce_step(watched, goal,
                  "is usable: a seed wrapped by this command came back by its Decrypt");
}

/* Status brings out a promotion that the node has made: the plugin waits for one to change over. */
static void take_activation(struct kms_watched *watched, const struct kms_watch_goal *goal,
                            enum kms_node_sight sight)
{
    struct kms_error err = { 0 };
    if (kms_utc_s() < goal->activation_utc_s && sight != KMS_NODE_PROMOTED)
        return;
    if (status_answers(watched->client, goal->key_id, &err)) {
        announce_step(watched, goal, "is active: Status answers its key_id");
        watched->active = true;
        return;
    }
    if (watched->node.promoted > goal->generation) {
        announce_step(watched, goal, "was active; a later one is promoted");
        watched->active = true;
        return;
    }
    (void)snprintf(watched->why, sizeof(watched->why), "it is not promoted there: %.256s", err.msg);
}

static void look_at(struct kms_watched *watched, const struct kms_watch_goal *goal)
{
    const struct kms_bytes fingerprint = { goal->kek->fingerprint, KMS_FINGERPRINT_LEN };
    Hsmkms__Node__V1__DescribeResponse *description = NULL;
    struct kms_error err = { 0 };
    watched->why[0] = '\0';
    if (kms_node_ask(watched->client, watched->node.source, &watched->node, &description, &err) !=
        KMS_OK) {
        (void)snprintf(watched->why, sizeof(watched->why), "it does not answer: %.256s", err.msg);
        return;
    }
    enum kms_node_sight sight = kms_node_sees(description, goal->generation, fingerprint,
                                              watched->why);
    kms_client_free_describe(description);
    if (sight == KMS_NODE_ABSENT)
        return;
    if (!watched->listed)
        announce_step(watched, goal, "is listed");
    watched->listed = true;
    if (!watched->proved)
        take_proof(watched, goal);
    if (watched->proved)
        take_activation(watched, goal, sight);
}

bool kms_watch_look(struct kms_watch *watch, const struct kms_watch_goal *goal)
{
    bool all = true;
    for (size_t i = 0; i < watch->count; i++) {
        struct kms_watched *watched = &watch->nodes[i];
        if (!watched->active)
            look_at(watched, goal);
        if (watched->why[0] != '\0' && strcmp(watched->why, watched->said) != 0) {
            announce(watched, watched->why);
            memcpy(watched->said, watched->why, sizeof(watched->said));
        }
        all = all && watched->active;
    }
    return all;
}

bool kms_watch_follow(struct kms_watch *watch, const struct kms_watch_goal *goal,
                      int64_t deadline_ms)
{
    const struct timespec pause = { .tv_nsec = PAUSE_MS * 1000L * 1000L };
    while (!kms_watch_look(watch, goal)) {
        if (kms_monotonic_ms() >= deadline_ms)
            return false;
        (void)nanosleep(&pause, NULL);
    }
    return true;
}
