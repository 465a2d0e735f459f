/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>

#include "check.h"
#include "kms/clock.h"
#include "policy_rig.h"

#define PAST "20260101T000000Z"
enum { HOUR_MS = 3600000, PATIENCE_MS = 30000, SEED_LEN = 32, SEALED_LEN = 40 };

static struct rig rig;

/* Started, with generation 1. */
static int start(int64_t refresh_ms)
{
    int rc = rig_open(&rig, refresh_ms, HOUR_MS);
    fake_keystore_add(rig.token, "prod.v1@" PAST, 1);
    rig_start(&rig);
    return rc;
}

static int set_up(void **unused)
{
    (void)unused;
    return start(HOUR_MS);
}

/* Listings are under way whenever a Status publishes a promotion. */
static int set_up_listing_always(void **unused)
{
    (void)unused;
    return start(1);
}

static int tear_down(void **unused)
{
    (void)unused;
    return rig_close(&rig);
}

static int64_t soon(void)
{
    return kms_monotonic_ms() + PATIENCE_MS;
}

static enum kms_code encrypt(struct kms_bytes plaintext, struct kms_bytes uid,
                             struct kms_encrypt_reply *ret_reply, struct kms_error *err)
{
    KMS_CLEANUP(kms_snapshot_release_ptr)
    struct kms_snapshot *arrived = kms_service_arrive(rig.service);
    struct kms_encrypt_request request = { .plaintext = plaintext, .uid = uid };
    return kms_service_encrypt(rig.service, arrived, &request, soon(), ret_reply, err);
}

static const uint8_t seed[SEED_LEN] = "0123456789abcdef0123456789abcde";

static struct kms_encrypt_reply encrypt_seed(void)
{
    struct kms_encrypt_reply reply;
    struct kms_error err;
    assert_ok(encrypt((struct kms_bytes){ seed, SEED_LEN }, kms_bytes_of("u"), &reply, &err), &err);
    return reply;
}

/* A Decrypt request for what encrypt_seed() made; a test spoils a field of it. */
static struct kms_decrypt_request request_for(const struct kms_encrypt_reply *reply)
{
    return (struct kms_decrypt_request){
        .ciphertext = { reply->ciphertext.data, reply->ciphertext.len },
        .uid = kms_bytes_of("u"),
        .key_id = kms_bytes_of(reply->key_id),
    };
}

static enum kms_code decrypt(const struct kms_decrypt_request *request, struct kms_error *err)
{
    KMS_CLEANUP(kms_secret_done) struct kms_secret plaintext = { 0 };
    enum kms_code rc = kms_service_decrypt(rig.service, request, soon(), &plaintext, err);
    if (rc == KMS_OK) {
        assert_int_equal(plaintext.len, SEED_LEN);
        assert_memory_equal(plaintext.data, seed, SEED_LEN);
    } else {
        assert_null(plaintext.data);
    }
    return rc;
}

static void encrypt_and_decrypt_round_trip(void **unused)
{
    (void)unused;
    struct kms_error err;
    struct kms_encrypt_reply reply = encrypt_seed();
    assert_int_equal(reply.ciphertext.len, SEALED_LEN);
    assert_string_equal(reply.key_id, rig_key_id(1, 1));
    struct kms_decrypt_request request = request_for(&reply);
    assert_ok(decrypt(&request, &err), &err);
}

static void encrypt_takes_exactly_what_key_wrap_carries(void **unused)
{
    (void)unused;
    struct kms_error err;
    struct kms_encrypt_reply reply;
    static const uint8_t bytes[KMS_SEED_MAX + 8];
    for (size_t len = 0; len <= sizeof bytes; len++) {
        bool fits = len >= 16 && len <= 256 && len % 8 == 0;
        enum kms_code rc = encrypt((struct kms_bytes){ bytes, len }, kms_bytes_of("u"), &reply,
                                   &err);
        assert_int_equal(rc, fits ? KMS_OK : KMS_E_INVALID);
        if (!fits)
            assert_contains(err.msg, "a multiple of 8 from 16 to 256");
    }
}

static void bad_uids_are_refused(void **unused)
{
    (void)unused;
    struct kms_error err;
    struct kms_encrypt_reply reply = encrypt_seed();
    uint8_t long_uid[1025];
    memset(long_uid, 'u', sizeof long_uid);
    const struct kms_bytes bad[] = {
        { NULL, 0 },
        { (const uint8_t *)"a\0b", 3 },
        { (const uint8_t *)"\xff", 1 },
        { (const uint8_t *)"a\nb", 3 },
        { long_uid, sizeof long_uid },
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct kms_encrypt_reply other;
        assert_int_equal(encrypt((struct kms_bytes){ seed, SEED_LEN }, bad[i], &other, &err),
                         KMS_E_INVALID);
        assert_contains(err.msg, "uid");
        struct kms_decrypt_request request = request_for(&reply);
        request.uid = bad[i];
        assert_int_equal(decrypt(&request, &err), KMS_E_INVALID);
        assert_contains(err.msg, "uid");
    }
}

static void bad_key_ids_are_refused(void **unused)
{
    (void)unused;
    struct kms_error err;
    struct kms_encrypt_reply reply = encrypt_seed();
    char other_ring[KMS_KEY_ID_LEN + 1];
    snprintf(other_ring, sizeof other_ring, "test%s", strchr(reply.key_id, '.'));
    uint8_t long_id[1025];
    memset(long_id, 'k', sizeof long_id);
    const struct kms_bytes bad[] = {
        { NULL, 0 },
        { (const uint8_t *)"prod.v1.\0", 9 },
        { (const uint8_t *)"prod.v1.\xc3", 9 },
        { long_id, sizeof long_id },
        kms_bytes_of(other_ring),
        kms_bytes_of("k1"),
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct kms_decrypt_request request = request_for(&reply);
        request.key_id = bad[i];
        assert_int_equal(decrypt(&request, &err), KMS_E_INVALID);
        assert_contains(err.msg, "key_id");
    }
}

static void any_annotation_is_refused(void **unused)
{
    (void)unused;
    struct kms_error err;
    struct kms_encrypt_reply reply = encrypt_seed();
    struct kms_annotation annotations[2] = {
        { kms_bytes_of("a.example.com"), kms_bytes_of("x") },
        { kms_bytes_of("a.example.com"), kms_bytes_of("x") },
    };
    for (size_t count = 1; count <= 2; count++) { /* one unknown; the same twice */
        struct kms_decrypt_request request = request_for(&reply);
        request.annotations = annotations;
        request.annotation_count = count;
        assert_int_equal(decrypt(&request, &err), KMS_E_INVALID);
        assert_contains(err.msg, "annotation");
    }
}

/* --- other algorithms --- */

static struct kms_decrypt_request annotated(const struct kms_encrypt_reply *reply,
                                            struct kms_annotation *annotation, const char *value)
{
    struct kms_decrypt_request request = request_for(reply);
    *annotation = (struct kms_annotation){ kms_bytes_of(KMS_ANNOTATION_ALGORITHM),
                                           kms_bytes_of(value) };
    request.annotations = annotation;
    request.annotation_count = 1;
    return request;
}

static void what_the_annotation_names_is_read_so(void **unused)
{
    (void)unused;
    struct kms_error err;
    struct kms_annotation annotation;
    *fake_keystore_algorithm(rig.token) = KMS_ALGORITHM_AES_GCM;
    struct kms_encrypt_reply reply = encrypt_seed();
    assert_int_equal(reply.ciphertext.algorithm, KMS_ALGORITHM_AES_GCM);
    assert_int_equal(reply.ciphertext.len, SEED_LEN + 28);
    struct kms_decrypt_request request = annotated(&reply, &annotation, "aes-gcm");
    assert_ok(decrypt(&request, &err), &err);
    request.annotation_count = 0;
    assert_int_equal(decrypt(&request, &err), KMS_E_INVALID); /* 60 bytes are no key wrap's */
}

static void a_ring_that_changed_its_algorithm_reads_both(void **unused)
{
    (void)unused;
    struct kms_error err;
    struct kms_annotation annotation;
    struct kms_encrypt_reply old = encrypt_seed();
    *fake_keystore_algorithm(rig.token) = KMS_ALGORITHM_AES_GCM;
    struct kms_encrypt_reply new = encrypt_seed();
    struct kms_decrypt_request request = request_for(&old);
    assert_ok(decrypt(&request, &err), &err);
    request = annotated(&new, &annotation, "aes-gcm");
    assert_ok(decrypt(&request, &err), &err);
}

static void an_algorithm_that_is_never_annotated_is_refused(void **unused)
{
    (void)unused;
    struct kms_error err;
    struct kms_annotation annotation;
    struct kms_encrypt_reply reply = encrypt_seed();
    static const char *const values[] = { "aes-kw", "aes-cbc", "", "AES-GCM", "aes-gcm " };
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        struct kms_decrypt_request request = annotated(&reply, &annotation, values[i]);
        assert_int_equal(decrypt(&request, &err), KMS_E_INVALID);
        assert_contains(err.msg, "names no algorithm");
    }
}

static void the_same_annotation_twice_is_refused(void **unused)
{
    (void)unused;
    struct kms_error err;
    struct kms_annotation annotations[2];
    *fake_keystore_algorithm(rig.token) = KMS_ALGORITHM_AES_GCM;
    struct kms_encrypt_reply reply = encrypt_seed();
    struct kms_decrypt_request request = annotated(&reply, &annotations[0], "aes-gcm");
    annotations[1] = annotations[0];
    request.annotation_count = 2;
    assert_int_equal(decrypt(&request, &err), KMS_E_INVALID);
    assert_contains(err.msg, "2 annotation(s)");
}

static void lengths_are_those_of_the_annotated_algorithm(void **unused)
{
    (void)unused;
    struct kms_error err;
    struct kms_annotation annotation;
    struct kms_encrypt_reply reply = encrypt_seed();
    unsigned calls = fake_keystore_calls(rig.token, FAKE_UNWRAP);
    static const size_t wrong[] = { 0, 12, 28, 40, 43, 45, 285 };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct kms_decrypt_request request = annotated(&reply, &annotation, "aes-gcm");
        request.ciphertext.len = wrong[i];
        assert_int_equal(decrypt(&request, &err), KMS_E_INVALID);
        assert_contains(err.msg, "AES-GCM makes 28 more");
    }
    assert_int_equal(fake_keystore_calls(rig.token, FAKE_UNWRAP), calls);
}

static void wrong_ciphertext_lengths_never_reach_the_token(void **unused)
{
    (void)unused;
    struct kms_error err;
    struct kms_encrypt_reply reply = encrypt_seed();
    static const uint8_t bytes[KMS_WRAPPED_MAX + 8];
    unsigned before = fake_keystore_calls(rig.token, FAKE_UNWRAP);
    static const size_t bad[] = { 0, 1, 8, 16, 23, 39, 41, 272 };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct kms_decrypt_request request = request_for(&reply);
        request.ciphertext = (struct kms_bytes){ bytes, bad[i] };
        assert_int_equal(decrypt(&request, &err), KMS_E_INVALID);
    }
    assert_int_equal(fake_keystore_calls(rig.token, FAKE_UNWRAP), before);
}

static void a_changed_ciphertext_is_corrupt_and_health_stays(void **unused)
{
    (void)unused;
    struct kms_error err;
    struct kms_encrypt_reply reply = encrypt_seed();
    for (size_t bit = 0; bit < 8 * SEALED_LEN; bit++) {
        struct kms_encrypt_reply spoilt = reply;
        spoilt.ciphertext.data[bit / 8] ^= (uint8_t)(1U << bit % 8);
        struct kms_decrypt_request request = request_for(&spoilt);
        assert_int_equal(decrypt(&request, &err), KMS_E_CORRUPT);
    }
    assert_ok(kms_service_health(rig.service, &err), &err);
}

static void an_unknown_key_id_is_unknown_only_after_a_new_listing(void **unused)
{
    (void)unused;
    struct kms_error err;
    struct kms_encrypt_reply reply = encrypt_seed();
    struct kms_decrypt_request request = request_for(&reply);
    request.key_id = kms_bytes_of(rig_key_id(7, 7));
    unsigned before = fake_keystore_calls(rig.token, FAKE_INVENTORY);
    assert_int_equal(decrypt(&request, &err), KMS_E_KEY_UNKNOWN);
    assert_true(fake_keystore_calls(rig.token, FAKE_INVENTORY) > before);
    assert_contains(err.msg, "do not delete objects");
}

static void an_unknown_key_id_is_unavailable_while_the_token_is_away(void **unused)
{
    (void)unused;
    struct kms_error err;
    struct kms_encrypt_reply reply = encrypt_seed();
    struct kms_decrypt_request request = request_for(&reply);
    request.key_id = kms_bytes_of(rig_key_id(7, 7));
    fake_keystore_fail(rig.token, FAKE_INVENTORY, KMS_E_UNAVAILABLE, -1);
    assert_int_equal(decrypt(&request, &err), KMS_E_UNAVAILABLE);
}

static void a_key_that_another_node_made_decrypts_at_once(void **unused)
{
    (void)unused;
    struct kms_error err;
    struct kms_encrypt_reply reply = encrypt_seed();
    fake_keystore_add(rig.token, "prod.v2@" PAST,
                      1); /* the same material: what it wrapped is known */
    struct kms_decrypt_request request = request_for(&reply);
    request.key_id = kms_bytes_of(rig_key_id(2, 1));
    assert_ok(decrypt(&request, &err), &err);
}

static void a_pinned_but_missing_key_is_a_precondition(void **unused)
{
    (void)unused;
    struct kms_error err;
    struct kms_encrypt_reply reply = encrypt_seed();
    fake_keystore_remove(rig.token, "prod.v1@" PAST);
    rig_refresh(&rig);
    struct kms_decrypt_request request = request_for(&reply);
    assert_int_equal(decrypt(&request, &err), KMS_E_PRECONDITION);
    assert_contains(err.msg, "do not delete objects");
}

static void a_token_failure_in_encrypt_makes_status_fail_until_the_canary(void **unused)
{
    (void)unused;
    struct kms_error err;
    struct kms_encrypt_reply reply;
    fake_keystore_block(rig.token, FAKE_CANARY);
    fake_keystore_fail(rig.token, FAKE_WRAP, KMS_E_UNAVAILABLE, 1);
    assert_int_equal(encrypt((struct kms_bytes){ seed, SEED_LEN }, kms_bytes_of("u"), &reply, &err),
                     KMS_E_UNAVAILABLE);
    struct kms_status status;
    assert_int_equal(kms_service_status(rig.service, &status, &err), KMS_E_UNAVAILABLE);
    fake_keystore_unblock(rig.token, FAKE_CANARY);
    rig_await_status(&rig, KMS_OK, NULL);
}

static void a_busy_token_does_not_make_status_fail(void **unused)
{
    (void)unused;
    struct kms_error err;
    struct kms_encrypt_reply reply;
    fake_keystore_fail(rig.token, FAKE_WRAP, KMS_E_BUSY, 1);
    assert_int_equal(encrypt((struct kms_bytes){ seed, SEED_LEN }, kms_bytes_of("u"), &reply, &err),
                     KMS_E_BUSY);
    assert_ok(kms_service_health(rig.service, &err), &err);
}

static void an_old_keys_own_fault_does_not_make_status_fail(void **unused)
{
    (void)unused;
    struct kms_error err;
    struct kms_encrypt_reply reply = encrypt_seed();
    fake_keystore_add(rig.token, "prod.v2@" PAST, 2);
    rig_await_status(&rig, KMS_OK, rig_key_id(2, 2));
    fake_keystore_block(rig.token, FAKE_CANARY);
    fake_keystore_fail(rig.token, FAKE_UNWRAP, KMS_E_PRECONDITION, 1);
    struct kms_decrypt_request request = request_for(&reply);
    assert_int_equal(decrypt(&request, &err), KMS_E_PRECONDITION);
    assert_ok(kms_service_health(rig.service, &err), &err);
    fake_keystore_unblock(rig.token, FAKE_CANARY);
}

static void describe_tells_what_status_tells(void **unused)
{
    (void)unused;
    KMS_CLEANUP(kms_description_done) struct kms_description description;
    kms_service_describe(rig.service, &description);
    assert_string_equal(description.node, "node");
    assert_string_equal(description.snapshot->key_id, rig_key_id(1, 1));
    assert_int_equal(description.health.code, KMS_OK);
    assert_string_equal(description.tokens[0].label, "fake");
}

/* --- the sent/received rule (ring.h) under load: F02 --- */

enum { CALLERS = 16, ROTATIONS = 100, GENERATIONS = ROTATIONS + 2 };

static atomic_bool load_ends;
static _Atomic uint32_t told; /* the highest generation in any Status answer that anybody has */
/* By generation: when the first Status that told it began, when the first Encrypt that used it ended
 * (CLOCK_MONOTONIC). */
static _Atomic int64_t status_began_us[GENERATIONS], encrypt_ended_us[GENERATIONS];

struct caller {
    pthread_t thread;
    unsigned calls;
    unsigned drops;    /* answers whose key_id isn't the last Status': kube-apiserver retries */
    uint32_t dropped;  /* generation of the last of them */
    uint32_t believed; /* from this caller's last Status */
    const char *complaint;
};

/* 0: not a key_id of ours. */
static uint32_t generation_of(const char *key_id)
{
    struct kms_key_id parsed;
    return kms_key_id_parse("prod", kms_bytes_of(key_id), &parsed) ? parsed.generation : 0;
}

static void lower_to(_Atomic int64_t *least_us, int64_t us)
{
    int64_t seen = atomic_load(least_us);
    while (us < seen && !atomic_compare_exchange_weak(least_us, &seen, us))
        continue;
}

static const char *ask_status(struct caller *caller)
{
    struct kms_status status;
    struct kms_error err;
    uint32_t floor = atomic_load(&told);
    int64_t began_us = kms_monotonic_us();
    if (kms_service_status(rig.service, &status, &err) != KMS_OK)
        return "Status failed";
    caller->believed = generation_of(status.key_id);
    if (caller->believed < floor)
        return "Status told an older key than a Status before it";
    lower_to(&status_began_us[caller->believed], began_us);
    while (floor < caller->believed &&
           !atomic_compare_exchange_weak(&told, &floor, caller->believed))
        continue;
    return NULL;
}

/* One Encrypt; an answer under another key than this caller knows is dropped, once a generation. */
static const char *ask_encrypt(struct caller *caller)
{
    struct kms_encrypt_reply reply;
    struct kms_error err;
    uint32_t floor = atomic_load(&told);
    if (encrypt((struct kms_bytes){ seed, SEED_LEN }, kms_bytes_of("u"), &reply, &err) != KMS_OK)
        return "Encrypt failed";
    uint32_t used = generation_of(reply.key_id);
    lower_to(&encrypt_ended_us[used], kms_monotonic_us());
    if (used < floor)
        return "Encrypt used an older key than Status told";
    if (used == caller->believed)
        return NULL;
    if (used <= caller->dropped)
        return "a second answer had to be dropped for one rotation";
    caller->dropped = used;
    caller->drops++;
    return ask_status(caller); /* as kube-apiserver does before it tries again */
}

static void *call_until_load_ends(void *arg)
{
    enum { ENCRYPTS_A_STATUS = 8 };
    struct caller *caller = arg;
    while (!atomic_load(&load_ends) && caller->complaint == NULL) {
        caller->complaint = ask_status(caller);
        for (int i = 0; i < ENCRYPTS_A_STATUS && caller->complaint == NULL; i++)
            caller->complaint = ask_encrypt(caller);
        caller->calls++;
    }
    return NULL;
}

static void rotate_to(uint32_t generation)
{
    char label[KMS_KEK_LABEL_LEN + 1];
    struct caller caller = { 0 };
    kms_label_format("prod", generation, 1767225600, label);
    fake_keystore_add(rig.token, label, (uint8_t)generation);
    for (int64_t deadline_ms = soon(); kms_monotonic_ms() < deadline_ms; sched_yield()) {
        const char *complaint = ask_status(&caller);
        if (complaint != NULL)
            fail_msg("%s", complaint);
        if (caller.believed == generation)
            return;
    }
    fail_msg("generation %u was never promoted", (unsigned)generation);
}

static void check_caller(struct caller *caller)
{
    pthread_join(caller->thread, NULL);
    if (caller->complaint != NULL)
        fail_msg("%s", caller->complaint);
    assert_true(caller->calls > 0);
    assert_in_range(caller->drops, 0, ROTATIONS);
}

static void rotations_under_load_cost_a_caller_one_answer_each_at_most(void **unused)
{
    (void)unused;
    struct caller callers[CALLERS] = { 0 };
    atomic_store(&load_ends, false);
    atomic_store(&told, 0);
    for (size_t g = 0; g < GENERATIONS; g++) {
        atomic_store(&status_began_us[g], INT64_MAX);
        atomic_store(&encrypt_ended_us[g], INT64_MAX);
    }
    for (int i = 0; i < CALLERS; i++)
        assert_int_equal(
            pthread_create(&callers[i].thread, NULL, call_until_load_ends, &callers[i]), 0);
    for (uint32_t g = 2; g <= ROTATIONS + 1; g++)
        rotate_to(g);
    atomic_store(&load_ends, true);
    for (int i = 0; i < CALLERS; i++)
        check_caller(&callers[i]);
    for (size_t g = 2; g < GENERATIONS; g++) {
        if (atomic_load(&encrypt_ended_us[g]) < atomic_load(&status_began_us[g]))
            fail_msg("Encrypt used generation %zu before a Status told it", g);
    }
}

#define SERVICE_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVICE_TEST(encrypt_and_decrypt_round_trip),
        SERVICE_TEST(encrypt_takes_exactly_what_key_wrap_carries),
        SERVICE_TEST(bad_uids_are_refused),
        SERVICE_TEST(bad_key_ids_are_refused),
        SERVICE_TEST(any_annotation_is_refused),
        SERVICE_TEST(what_the_annotation_names_is_read_so),
        SERVICE_TEST(a_ring_that_changed_its_algorithm_reads_both),
        SERVICE_TEST(an_algorithm_that_is_never_annotated_is_refused),
        SERVICE_TEST(the_same_annotation_twice_is_refused),
        SERVICE_TEST(lengths_are_those_of_the_annotated_algorithm),
        SERVICE_TEST(wrong_ciphertext_lengths_never_reach_the_token),
        SERVICE_TEST(a_changed_ciphertext_is_corrupt_and_health_stays),
        SERVICE_TEST(an_unknown_key_id_is_unknown_only_after_a_new_listing),
        SERVICE_TEST(an_unknown_key_id_is_unavailable_while_the_token_is_away),
        SERVICE_TEST(a_key_that_another_node_made_decrypts_at_once),
        SERVICE_TEST(a_pinned_but_missing_key_is_a_precondition),
        SERVICE_TEST(a_token_failure_in_encrypt_makes_status_fail_until_the_canary),
        SERVICE_TEST(a_busy_token_does_not_make_status_fail),
        SERVICE_TEST(an_old_keys_own_fault_does_not_make_status_fail),
        SERVICE_TEST(describe_tells_what_status_tells),
        cmocka_unit_test_setup_teardown(rotations_under_load_cost_a_caller_one_answer_each_at_most,
                                        set_up_listing_always, tear_down),
    };
    return cmocka_run_group_tests_name("service", tests, NULL, NULL);
}
