/* SPDX-License-Identifier: Apache-2.0 */
/* Calls through a token host: what comes back, and what happens when a host dies under them. */
#include <stdio.h>

#include "remote_rig.h"

enum { LANES = 4 };

/* --- what comes back --- */

static void what_the_host_lists_comes_back(void **state)
{
    struct remote_rig *rig = *state;
    struct kms_inventory list = { 0 };
    remote_rig_serve(rig, LANES);
    assert_ok(kms_keystore_inventory(rig->keystore, "ring.", INT64_MAX, &list, &rig->err),
              &rig->err);
    assert_int_equal(list.count, REMOTE_KEKS);
    for (size_t i = 0; i < list.count; i++) {
        assert_true(list.keks[i].fingerprinted);
        assert_memory_equal(list.keks[i].fingerprint, rig->fingerprints[i], KMS_FINGERPRINT_LEN);
    }
    kms_inventory_done(&list);
}

static enum kms_code sign(struct remote_rig *rig, struct kms_signature *ret_signature)
{
    return kms_keystore_sign(rig->keystore, "ring.audit", kms_bytes_of("text"), INT64_MAX,
                             ret_signature, &rig->err);
}

static void what_the_host_signs_comes_back(void **state)
{
    struct remote_rig *rig = *state;
    struct kms_signature signature = { .len = 0 };
    static const uint8_t no_key[KMS_SHA256_LEN];
    remote_rig_serve(rig, LANES);
    assert_ok(sign(rig, &signature), &rig->err);
    assert_true(signature.len > 64); /* of P-256, in DER */
    assert_memory_not_equal(signature.key_sha256, no_key, sizeof(no_key));
}

/* Or a library that can't sign would end hosts for ever. */
static void a_signature_that_ends_its_host_is_not_tried_again(void **state)
{
    struct remote_rig *rig = *state;
    struct kms_signature signature;
    remote_rig_serve(rig, LANES);
    size_t hosts = remote_rig_hosts(rig);
    remote_rig_tell(rig, "sign.ring.audit", "crash");
    assert_int_equal(sign(rig, &signature), KMS_E_UNAVAILABLE);
    remote_rig_wait_serves(rig);
    assert_int_equal(remote_rig_hosts(rig), hosts + 1);
}

static void a_filter_with_names_reaches_the_host(void **state)
{
    struct remote_rig *rig = *state;
    const struct kms_kek_name name = { .label = "ring.b" };
    const struct kms_kek_filter filter = { "nothing.", &name, 1, 0 };
    struct kms_inventory list = { 0 };
    remote_rig_serve(rig, LANES);
    assert_ok(kms_keystore_list(rig->keystore, &filter, INT64_MAX, &list, &rig->err), &rig->err);
    assert_int_equal(list.count, 1);
    assert_string_equal(list.keks[0].label, "ring.b");
    assert_int_equal(list.other_count, REMOTE_KEKS - 1);
    kms_inventory_done(&list);
}

static void what_the_host_wraps_is_right(void **state)
{
    struct remote_rig *rig = *state;
    remote_rig_serve(rig, LANES);
    assert_ok(remote_rig_wrap(rig, 'b', REMOTE_PATIENCE_MS, &rig->err), &rig->err);
}

static void what_the_host_unwraps_is_right(void **state)
{
    struct remote_rig *rig = *state;
    remote_rig_serve(rig, LANES);
    assert_ok(remote_rig_unwrap(rig, 'b', REMOTE_PATIENCE_MS, &rig->err), &rig->err);
}

static void the_token_is_described_as_the_last_answer_said(void **state)
{
    struct remote_rig *rig = *state;
    struct kms_token_info infos[KMS_TOKENS_MAX];
    remote_rig_serve(rig, LANES);
    kms_keystore_describe(rig->keystore, infos);
    assert_string_equal(infos[0].label, "fake");
    assert_true(infos[0].connected);
}

static void without_a_host_the_token_is_not_connected(void **state)
{
    struct remote_rig *rig = *state;
    struct kms_token_info infos[KMS_TOKENS_MAX];
    remote_rig_serve(rig, LANES);
    remote_rig_tell(rig, "start", "crash");
    remote_rig_kill(rig);
    assert_int_equal(remote_rig_wrap(rig, 'a', REMOTE_PATIENCE_MS, &rig->err), KMS_E_UNAVAILABLE);
    kms_keystore_describe(rig->keystore, infos);
    assert_false(infos[0].connected);
}

static void a_failure_comes_back_whole(void **state)
{
    static const char *const told[] = { "list", "canary.ring.a", "wrap.ring.a", "unwrap.ring.a" };
    struct remote_rig *rig = *state;
    remote_rig_serve(rig, LANES);
    for (size_t i = 0; i < sizeof(told) / sizeof(told[0]); i++)
        remote_rig_tell(rig, told[i], "fail 4");
    const enum kms_code results[] = {
        remote_rig_list(rig, REMOTE_PATIENCE_MS, NULL),
        remote_rig_canary(rig, 'a', REMOTE_PATIENCE_MS),
        remote_rig_unwrap(rig, 'a', REMOTE_PATIENCE_MS, &rig->err),
        remote_rig_wrap(rig, 'a', REMOTE_PATIENCE_MS, &rig->err),
    };
    for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++)
        assert_int_equal(results[i], KMS_E_PRECONDITION);
    assert_int_equal(rig->err.code, KMS_E_PRECONDITION);
    assert_int_equal(rig->err.ckr, 0x30);
    assert_string_equal(rig->err.op, "wrap");
    assert_string_equal(rig->err.msg, "told to fail");
    assert_int_equal(remote_rig_hosts(rig), 1);
}

static void every_code_comes_back(void **state)
{
    struct remote_rig *rig = *state;
    char word[32];
    remote_rig_serve(rig, LANES);
    for (int code = KMS_OK + 1; code < KMS_CODE_COUNT; code++) {
        (void)snprintf(word, sizeof(word), "fail %d", code);
        remote_rig_tell(rig, "wrap.ring.a", word);
        assert_int_equal(remote_rig_wrap(rig, 'a', REMOTE_PATIENCE_MS, &rig->err), code);
    }
}

static void a_caller_may_ignore_the_error(void **state)
{
    struct remote_rig *rig = *state;
    remote_rig_serve(rig, LANES);
    remote_rig_tell(rig, "wrap.ring.a", "fail 4");
    assert_int_equal(remote_rig_wrap(rig, 'a', REMOTE_PATIENCE_MS, NULL), KMS_E_PRECONDITION);
}

/* --- a host dies --- */

static void a_call_whose_host_dies_is_done_again(void **state)
{
    struct remote_rig *rig = *state;
    remote_rig_serve(rig, LANES);
    remote_rig_tell(rig, "wrap.ring.a", "once crash");
    assert_ok(remote_rig_wrap(rig, 'a', REMOTE_PATIENCE_MS, &rig->err), &rig->err);
    remote_rig_tell(rig, "unwrap.ring.a", "once crash");
    assert_ok(remote_rig_unwrap(rig, 'a', REMOTE_PATIENCE_MS, &rig->err), &rig->err);
    remote_rig_tell(rig, "canary.ring.a", "once crash");
    assert_ok(remote_rig_canary(rig, 'a', REMOTE_PATIENCE_MS), &rig->err);
    remote_rig_tell(rig, "list", "once crash");
    assert_ok(remote_rig_list(rig, REMOTE_PATIENCE_MS, NULL), &rig->err);
    assert_int_equal(remote_rig_hosts(rig), 5);
}

static void the_log_says_how_a_host_ended(void **state)
{
    struct remote_rig *rig = *state;
    remote_rig_serve(rig, LANES);
    remote_rig_kill(rig);
    remote_rig_wait_logged(rig, "signal 9 (KILL)");
}

static void a_call_that_ends_every_host_fails_and_later_ones_work(void **state)
{
    struct remote_rig *rig = *state;
    remote_rig_serve(rig, LANES);
    remote_rig_tell(rig, "wrap.ring.a", "crash");
    assert_int_equal(remote_rig_wrap(rig, 'a', REMOTE_PATIENCE_MS, &rig->err), KMS_E_UNAVAILABLE);
    assert_contains(rig->err.msg, "ended 4 times during this call");
    assert_int_equal(remote_rig_count(rig, "wrap ring.a"), 4);
    assert_ok(remote_rig_wrap(rig, 'b', REMOTE_PATIENCE_MS, &rig->err), &rig->err);
}

static void other_calls_survive_one_that_ends_its_host(void **state)
{
    struct remote_rig *rig = *state;
    struct remote_caller waiting[LANES - 1];
    remote_rig_serve(rig, LANES);
    remote_rig_tell(rig, "wrap.ring.b", "gate");
    for (size_t i = 0; i < LANES - 1; i++)
        remote_caller_start(&waiting[i], rig, 'b', REMOTE_PATIENCE_MS);
    remote_rig_wait_count(rig, "wrap ring.b", LANES - 1);
    remote_rig_tell(rig, "wrap.ring.b", NULL);
    remote_rig_tell(rig, "wrap.ring.a", "once crash");
    assert_ok(remote_rig_wrap(rig, 'a', REMOTE_PATIENCE_MS, &rig->err), &rig->err);
    for (size_t i = 0; i < LANES - 1; i++)
        assert_ok(remote_caller_join(&waiting[i]), &waiting[i].err);
    assert_int_equal(remote_rig_hosts(rig), 2);
}

static void a_host_that_talks_nonsense_is_replaced(void **state)
{
    struct remote_rig *rig = *state;
    remote_rig_serve(rig, LANES);
    remote_rig_tell(rig, "wrap.ring.a", "once nonsense");
    assert_ok(remote_rig_wrap(rig, 'a', REMOTE_PATIENCE_MS, &rig->err), &rig->err);
    assert_int_equal(remote_rig_hosts(rig), 2);
}

static void an_answer_of_another_call_is_never_taken(void **state)
{
    struct remote_rig *rig = *state;
    remote_rig_serve(rig, LANES);
    remote_rig_tell(rig, "wrap.ring.a", "once stale");
    assert_ok(remote_rig_wrap(rig, 'a', REMOTE_PATIENCE_MS, &rig->err), &rig->err);
    assert_int_equal(remote_rig_hosts(rig), 2);
    remote_rig_tell(rig, "wrap.ring.a", "stale");
    assert_int_equal(remote_rig_wrap(rig, 'a', REMOTE_PATIENCE_MS, &rig->err), KMS_E_UNAVAILABLE);
}

static void a_host_that_answers_twice_does_not_mislead_the_next_call(void **state)
{
    struct remote_rig *rig = *state;
    remote_rig_serve(rig, LANES);
    remote_rig_tell(rig, "canary.ring.c", "once stale");
    (void)remote_rig_canary(rig, 'c', REMOTE_PATIENCE_MS);
    for (size_t i = 0; i < 2 * LANES; i++)
        assert_ok(remote_rig_wrap(rig, 'b', REMOTE_PATIENCE_MS, &rig->err), &rig->err);
}

/* --- the operator's reload --- */

static void a_reload_reaches_the_host_once(void **state)
{
    struct remote_rig *rig = *state;
    remote_rig_serve(rig, LANES);
    kms_keystore_reload(rig->keystore);
    for (int i = 0; i < 3; i++)
        assert_ok(remote_rig_list(rig, REMOTE_PATIENCE_MS, NULL), &rig->err);
    assert_int_equal(remote_rig_count(rig, "reload"), 1);
}

static void a_reload_waits_for_a_host(void **state)
{
    struct remote_rig *rig = *state;
    remote_rig_serve(rig, LANES);
    remote_rig_tell(rig, "start", "crash");
    remote_rig_kill(rig);
    kms_keystore_reload(rig->keystore);
    assert_int_equal(remote_rig_list(rig, REMOTE_PATIENCE_MS, NULL), KMS_E_UNAVAILABLE);
    assert_int_equal(remote_rig_count(rig, "reload"), 0);
    remote_rig_tell(rig, "start", NULL);
    remote_rig_wait_serves(rig);
    assert_ok(remote_rig_list(rig, REMOTE_PATIENCE_MS, NULL), &rig->err);
    assert_int_equal(remote_rig_count(rig, "reload"), 1);
}

#define remote_test(name)                                                                          \
    cmocka_unit_test_setup_teardown(name, remote_rig_setup, remote_rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        remote_test(what_the_host_lists_comes_back),
        remote_test(a_filter_with_names_reaches_the_host),
        remote_test(what_the_host_wraps_is_right),
        remote_test(what_the_host_unwraps_is_right),
        remote_test(the_token_is_described_as_the_last_answer_said),
        remote_test(without_a_host_the_token_is_not_connected),
        remote_test(a_failure_comes_back_whole),
        remote_test(every_code_comes_back),
        remote_test(a_caller_may_ignore_the_error),
        remote_test(a_call_whose_host_dies_is_done_again),
        remote_test(the_log_says_how_a_host_ended),
        remote_test(a_call_that_ends_every_host_fails_and_later_ones_work),
        remote_test(other_calls_survive_one_that_ends_its_host),
        remote_test(a_host_that_talks_nonsense_is_replaced),
        remote_test(an_answer_of_another_call_is_never_taken),
        remote_test(a_host_that_answers_twice_does_not_mislead_the_next_call),
        remote_test(what_the_host_signs_comes_back),
        remote_test(a_signature_that_ends_its_host_is_not_tried_again),
        remote_test(a_reload_reaches_the_host_once),
        remote_test(a_reload_waits_for_a_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
