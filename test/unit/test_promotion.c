/* SPDX-License-Identifier: Apache-2.0 */
/* Promotions on the real server: clients over its socket, a witness at each client and one inside. */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "check.h"
#include "kms/clock.h"
#include "kms/log.h"
#include "promotion_rig.h"
#include "watched_rpc.h"

/* So short that listings are under way whenever a Status publishes a promotion. */
enum { HOUR_MS = 3600000, REFRESH_MS = 1 };

static struct promotion_rig rig;

static int64_t soon(void)
{
    return kms_monotonic_ms() + PROMOTION_CALL_MS;
}

static void assert_obeyed(const char *who, const struct witness *seen)
{
    uint32_t generation;
    const char *fault = witness_fault(seen, &generation);
    if (fault != NULL)
        fail_msg("%s, generation %u: %s", who, (unsigned)generation, fault);
}

static void assert_fault(const struct witness *seen, const char *text)
{
    uint32_t generation;
    const char *fault = witness_fault(seen, &generation);
    assert_non_null(fault);
    assert_contains(fault, text);
}

static void assert_worked(const struct promotion_client *client)
{
    if (client->complaint[0] != '\0')
        fail_msg("%s", client->complaint);
}

/* --- one rotation, step by step --- */

/* Two listings show generation 2: the next Status tells it. */
static void stage_generation_2(void)
{
    fake_keystore_add(rig.policy.token, promotion_label(2), 2);
    rig_refresh(&rig.policy);
    rig_refresh(&rig.policy);
    KMS_CLEANUP(kms_snapshot_release_ptr)
    struct kms_snapshot *newest = kms_ring_acquire_newest(rig.policy.ring);
    assert_int_equal(newest->promoted, 2);
}

struct encrypting {
    pthread_t thread;
    struct promotion_client client;
    uint32_t generation;
};

static void *encrypt_once(void *arg)
{
    struct encrypting *encrypting = arg;
    (void)promotion_encrypt(&encrypting->client, &encrypting->generation);
    return NULL;
}

static void start_encrypt(struct encrypting *encrypting)
{
    promotion_client_open(&encrypting->client, &rig);
    assert_true(promotion_status(&encrypting->client));
    assert_int_equal(pthread_create(&encrypting->thread, NULL, encrypt_once, encrypting), 0);
}

static void join_encrypt(struct encrypting *encrypting, struct witness *seen)
{
    pthread_join(encrypting->thread, NULL);
    assert_worked(&encrypting->client);
    witness_join(seen, &encrypting->client.seen);
    promotion_client_close(&encrypting->client);
}

/* A call that arrives takes a reference: that shows that one more has, while nothing is listed. */
static void await_refs(struct kms_snapshot *snapshot, unsigned refs)
{
    int64_t deadline_ms = soon();
    while (atomic_load(&snapshot->refs) < refs && kms_monotonic_ms() < deadline_ms)
        sched_yield();
    assert_true(atomic_load(&snapshot->refs) >= refs);
}

/* The only worker is held by one Encrypt, and another has arrived and waits, when a Status tells
 * generation 2.  Returns what the second used. */
static uint32_t encrypt_across_a_promotion(const struct kms_rpc_method *methods,
                                           struct witness *ret_at_clients,
                                           struct witness *ret_in_server)
{
    struct encrypting held, waiting;
    struct promotion_client other;
    witness_init(ret_at_clients);
    promotion_rig_open(&rig, methods, 1, HOUR_MS);
    rig_refresh(&rig.policy);
    struct kms_snapshot *now = kms_ring_acquire(rig.policy.ring);
    unsigned refs = atomic_load(&now->refs);
    fake_keystore_block(rig.policy.token, FAKE_WRAP);
    start_encrypt(&held);
    await_refs(now, refs + 1);
    fake_keystore_wait_blocked(rig.policy.token, FAKE_WRAP, 1);
    start_encrypt(&waiting);
    await_refs(now, refs + 2);
    kms_snapshot_release(now);
    stage_generation_2();
    promotion_client_open(&other, &rig);
    assert_true(promotion_status(&other));
    assert_int_equal(other.believed, 2);
    fake_keystore_unblock(rig.policy.token, FAKE_WRAP);
    join_encrypt(&held, ret_at_clients);
    join_encrypt(&waiting, ret_at_clients);
    witness_join(ret_at_clients, &other.seen);
    promotion_client_close(&other);
    promotion_rig_close(&rig, ret_in_server);
    return waiting.generation;
}

static void an_encrypt_that_waits_while_status_tells_a_new_key_uses_the_old(void **unused)
{
    (void)unused;
    struct witness at_clients, in_server;
    assert_int_equal(encrypt_across_a_promotion(watched_methods, &at_clients, &in_server), 1);
    assert_obeyed("at the clients", &at_clients);
    assert_obeyed("in the server", &in_server);
}

static void the_witness_in_the_server_sees_a_key_taken_too_late(void **unused)
{
    (void)unused;
    struct witness at_clients, in_server;
    assert_int_equal(encrypt_across_a_promotion(late_methods, &at_clients, &in_server), 2);
    assert_obeyed("at the clients", &at_clients); /* they can't know when it arrived */
    assert_fault(&in_server, "Encrypt used a key before a Status told it");
}

/* Encrypt, a promotion, Status, Encrypt.  Returns what the last used. */
static uint32_t encrypt_after_a_promotion(const struct kms_rpc_method *methods,
                                          struct witness *ret_at_client,
                                          struct witness *ret_in_server)
{
    struct promotion_client client;
    uint32_t generation = 0;
    promotion_rig_open(&rig, methods, 1, HOUR_MS);
    promotion_client_open(&client, &rig);
    (void)(promotion_status(&client) && promotion_encrypt(&client, NULL));
    stage_generation_2();
    (void)(promotion_encrypt(&client, &generation) && promotion_status(&client));
    assert_int_equal(generation, 1); /* until Status told */
    (void)promotion_encrypt(&client, &generation);
    assert_worked(&client);
    *ret_at_client = client.seen;
    promotion_client_close(&client);
    promotion_rig_close(&rig, ret_in_server);
    return generation;
}

static void an_encrypt_uses_the_new_key_from_the_status_that_told_it(void **unused)
{
    (void)unused;
    struct witness at_client, in_server;
    assert_int_equal(encrypt_after_a_promotion(watched_methods, &at_client, &in_server), 2);
    assert_obeyed("at the client", &at_client);
    assert_obeyed("in the server", &in_server);
}

static void both_witnesses_see_a_key_kept_too_long(void **unused)
{
    (void)unused;
    struct witness at_client, in_server;
    assert_int_equal(encrypt_after_a_promotion(stale_methods, &at_client, &in_server), 1);
    assert_fault(&at_client, "Encrypt used an older key than a Status before it told");
    assert_fault(&in_server, "Encrypt used an older key than a Status before it told");
}

/* --- load --- */

enum {
    CLIENTS = 16,
    WORKERS = 8,
    ROTATIONS = 100,
    ENCRYPTS_A_STATUS = 8,
    DISTURBED_EVERY = 2, /* rotations: this often a key comes before that is never promoted */
};

struct loader {
    pthread_t thread;
    struct promotion_client client; /* the thread's until it ends */
    unsigned rounds;                /* load.lock */
};

static struct {
    pthread_mutex_t lock;   /* guards all but the clients */
    pthread_cond_t changed; /* a round ended */
    bool ends, failed;
    uint32_t told; /* the highest generation that a client knows from Status */
    struct loader loaders[CLIENTS];
} load = { .lock = PTHREAD_MUTEX_INITIALIZER };

static bool run_round(struct promotion_client *client)
{
    bool good = promotion_status(client);
    for (int i = 1; i < ENCRYPTS_A_STATUS && good; i++)
        good = promotion_encrypt(client, NULL);
    return good && promotion_round_trip(client);
}

/* True: go on. */
static bool note_round(struct loader *loader, bool good)
{
    pthread_mutex_lock(&load.lock);
    loader->rounds++;
    load.failed |= !good;
    if (loader->client.believed > load.told)
        load.told = loader->client.believed;
    bool go_on = !load.ends && !load.failed;
    pthread_cond_broadcast(&load.changed);
    pthread_mutex_unlock(&load.lock);
    return go_on;
}

static void *run_rounds(void *arg)
{
    struct loader *loader = arg;
    while (note_round(loader, run_round(&loader->client)))
        continue;
    return NULL;
}

static void start_load(void)
{
    kms_cond_init(&load.changed);
    for (int i = 0; i < CLIENTS; i++) {
        struct loader *loader = &load.loaders[i];
        promotion_client_open(&loader->client, &rig);
        assert_int_equal(pthread_create(&loader->thread, NULL, run_rounds, loader), 0);
    }
}

/* *ret_seen: by all clients. */
static void end_load(struct witness *ret_seen)
{
    pthread_mutex_lock(&load.lock);
    load.ends = true;
    pthread_mutex_unlock(&load.lock);
    witness_init(ret_seen);
    for (int i = 0; i < CLIENTS; i++) {
        struct promotion_client *client = &load.loaders[i].client;
        pthread_join(load.loaders[i].thread, NULL);
        assert_worked(client);
        witness_join(ret_seen, &client->seen);
        promotion_client_close(client);
    }
}

/* Waits until each client has made a round that began after this call.  False: one failed; end_load()
 * tells how. */
static bool await_rounds(void)
{
    unsigned least[CLIENTS];
    int64_t deadline_ms = soon();
    bool in_time = true;
    pthread_mutex_lock(&load.lock);
    for (int i = 0; i < CLIENTS; i++)
        least[i] = load.loaders[i].rounds + 2; /* the end of one that runs, and of a whole one */
    for (int i = 0; i < CLIENTS; i++) {
        while (load.loaders[i].rounds < least[i] && !load.failed && in_time)
            in_time = kms_cond_wait_until(&load.changed, &load.lock, deadline_ms);
    }
    bool good = in_time && !load.failed;
    pthread_mutex_unlock(&load.lock);
    assert_true(in_time);
    return good;
}

/* The same for a Status that tells @generation to any client. */
static bool await_told(uint32_t generation)
{
    int64_t deadline_ms = soon();
    bool in_time = true;
    pthread_mutex_lock(&load.lock);
    while (load.told < generation && !load.failed && in_time)
        in_time = kms_cond_wait_until(&load.changed, &load.lock, deadline_ms);
    bool good = in_time && !load.failed;
    pthread_mutex_unlock(&load.lock);
    if (!in_time)
        fail_msg("generation %u was never told", (unsigned)generation);
    return good;
}

/* --- what must not be promoted, and must not disturb --- */

enum anomaly {
    DUPLICATE,       /* two keys with the next number */
    SUBSTITUTE,      /* another key under the label of the promoted one */
    EXTRACTABLE,     /* could leave the token */
    FOREIGN,         /* was not made on it */
    MISTAKEN_LABEL,  /* no activation */
    MISTAKEN_NUMBER, /* sound, but far too high and for later; destroyed again */
    ANOMALY_KINDS
};

enum { ODD_FILL = 200 }; /* and up: of keys that share a number with another */

static size_t count_in_state(const char *label, enum kms_kek_state state)
{
    KMS_CLEANUP(kms_snapshot_release_ptr)
    struct kms_snapshot *newest = kms_ring_acquire_newest(rig.policy.ring);
    size_t count = 0;
    for (size_t i = 0; i < newest->count; i++) {
        const struct kms_ring_entry *entry = &newest->entries[i];
        count += strcmp(entry->kek.label, label) == 0 && entry->state == state ? 1 : 0;
    }
    return count;
}

/* Two listings show what was planted: enough to pin or promote, were it sound. */
static void assert_listed(const char *label, enum kms_kek_state state, size_t count)
{
    rig_refresh(&rig.policy);
    rig_refresh(&rig.policy);
    assert_int_equal(count_in_state(label, state), count);
}

/* At once as a listing sees it: a key is never on the token without its blemish. */
static void plant(const char *label, uint8_t fill, unsigned copies, uint32_t set, uint32_t clear)
{
    fake_keystore_block(rig.policy.token, FAKE_INVENTORY);
    for (unsigned i = 0; i < copies; i++)
        fake_keystore_add(rig.policy.token, label, (uint8_t)(fill + i));
    if (set != 0 || clear != 0)
        fake_keystore_set(rig.policy.token, label, set, clear);
    fake_keystore_unblock(rig.policy.token, FAKE_INVENTORY);
}

static bool disturb_by_mistaken_number(void)
{
    static uint32_t number = 100000;
    char label[KMS_KEK_LABEL_LEN + 1], bare[KMS_KEK_LABEL_LEN + 1];
    number++;
    snprintf(label, sizeof label, "prod.v%u@29990101T000000Z", (unsigned)number);
    snprintf(bare, sizeof bare, "prod.v%u", (unsigned)number);
    plant(label, ODD_FILL, 1, 0, 0);
    assert_listed(label, KMS_KEK_PREACTIVE, 1);
    if (!await_rounds())
        return false;
    fake_keystore_remove(rig.policy.token, label);
    assert_listed(bare, KMS_KEK_MISSING, 1); /* it was pinned */
    return await_rounds();
}

static bool disturb_by_mistaken_label(void)
{
    static unsigned number = 1000;
    char label[KMS_KEK_LABEL_LEN + 1];
    snprintf(label, sizeof label, "prod.v%u", ++number);
    plant(label, ODD_FILL, 1, 0, 0);
    assert_listed(label, KMS_KEK_REFUSED, 1);
    return await_rounds();
}

static bool disturb_by_refused(uint32_t generation, unsigned copies, uint32_t set, uint32_t clear)
{
    const char *label = promotion_label(generation);
    plant(label, ODD_FILL, copies, set, clear);
    assert_listed(label, KMS_KEK_REFUSED, copies);
    return await_rounds();
}

/* Each client makes a round beside the anomaly. @promoted + 1 is its number, where it needs one. */
static bool disturb(enum anomaly kind, uint32_t promoted)
{
    switch (kind) {
    case DUPLICATE:
        return disturb_by_refused(promoted + 1, 2, 0, 0);
    case SUBSTITUTE:
        return disturb_by_refused(promoted, 1, 0, 0);
    case EXTRACTABLE:
        return disturb_by_refused(promoted + 1, 1, KMS_KEK_EXTRACTABLE, KMS_KEK_NEVER_EXTRACTABLE);
    case FOREIGN:
        return disturb_by_refused(promoted + 1, 1, 0, KMS_KEK_LOCAL);
    case MISTAKEN_LABEL:
        return disturb_by_mistaken_label();
    case MISTAKEN_NUMBER:
        return disturb_by_mistaken_number();
    case ANOMALY_KINDS:
        break;
    }
    return false;
}

/* Returns the last generation; @ret_skipped[g]: g is one that must never be told. */
static uint32_t rotate_often(bool ret_skipped[static WITNESS_GENERATIONS])
{
    uint32_t generation = 1;
    for (unsigned rotation = 0; rotation < ROTATIONS; rotation++) {
        if (rotation % DISTURBED_EVERY == 1) {
            if (!disturb((rotation / DISTURBED_EVERY) % ANOMALY_KINDS, generation))
                return generation;
            ret_skipped[++generation] = true;
        }
        generation++;
        fake_keystore_add(rig.policy.token, promotion_label(generation), (uint8_t)generation);
        if (!await_told(generation))
            return generation;
    }
    (void)await_rounds();
    return generation;
}

static unsigned count_calls(void)
{
    unsigned calls = 0;
    for (int i = 0; i < CLIENTS; i++)
        calls += load.loaders[i].client.calls;
    return calls;
}

static void rotations_under_load_obey_the_sent_received_rule(void **unused)
{
    (void)unused;
    static struct witness at_clients, in_server;
    bool skipped[WITNESS_GENERATIONS] = { false };
    promotion_rig_open(&rig, watched_methods, WORKERS, REFRESH_MS);
    start_load();
    uint32_t last = rotate_often(skipped);
    end_load(&at_clients);
    promotion_rig_close(&rig, &in_server);

    assert_obeyed("at the clients", &at_clients);
    assert_obeyed("in the server", &in_server);
    unsigned told = 0;
    for (uint32_t generation = 2; generation <= last; generation++) {
        assert_int_equal(witness_was_told(&at_clients, generation), !skipped[generation]);
        told += witness_was_told(&at_clients, generation) ? 1 : 0;
    }
    assert_int_equal(told, ROTATIONS);
    print_message("%u rotations, %u calls, %u answers dropped\n", told, count_calls(),
                  at_clients.drops);
}

int main(void)
{
    kms_log_open(KMS_LOG_TEXT, KMS_LOG_ERROR, STDERR_FILENO);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_encrypt_that_waits_while_status_tells_a_new_key_uses_the_old),
        cmocka_unit_test(the_witness_in_the_server_sees_a_key_taken_too_late),
        cmocka_unit_test(an_encrypt_uses_the_new_key_from_the_status_that_told_it),
        cmocka_unit_test(both_witnesses_see_a_key_kept_too_long),
        cmocka_unit_test(rotations_under_load_obey_the_sent_received_rule),
    };
    return cmocka_run_group_tests_name("promotion", tests, NULL, NULL);
}
