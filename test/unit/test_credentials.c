/* SPDX-License-Identifier: Apache-2.0 */
/* The latch seen from a keystore: each keystore here is a process that starts. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <glob.h>

#include "pin_check.h"
#include "pkcs11_rig.h"

static const char right[] = FAKE_PIN;
static const char wrong[] = "4321";

static unsigned logins(const struct rig *rig)
{
    return fake_module_calls(rig->module, "C_Login");
}

static void set_flags(const struct rig *rig, CK_FLAGS flags)
{
    fake_module_behaviour(rig->module)->token_flags = flags;
}

static struct pkcs11_keystore_options options_of(struct rig *rig, const struct kms_secret *pin)
{
    return (struct pkcs11_keystore_options){
        .uri = FAKE_URI, .pin = pin, .sessions = 1, .lock_dir = rig->dir, .latch_dir = rig->dir
    };
}

/* Opens a keystore with the PIN @text, lists @times, and closes it.  The last answer. */
static enum kms_code start(struct rig *rig, const char *text, int times)
{
    struct kms_keystore *keystore = NULL;
    KMS_CLEANUP(kms_secret_done) struct kms_secret pin = { 0 };
    assert_ok(kms_secret_copy(&pin, kms_bytes_of(text), &rig->err), &rig->err);
    const struct pkcs11_keystore_options options = options_of(rig, &pin);
    const struct pkcs11_seam seam = { .fn = fake_module_functions(rig->module) };
    assert_ok(pkcs11_keystore_open_at(&options, &seam, &keystore, &rig->err), &rig->err);
    enum kms_code rc = KMS_E_INTERNAL;
    for (int i = 0; i < times; i++) {
        struct kms_inventory inventory = { 0 };
        rc = kms_keystore_inventory(keystore, "", rig_soon_ms(), &inventory, &rig->err);
        kms_inventory_done(&inventory);
    }
    kms_keystore_close(keystore);
    return rc;
}

static struct pkcs11_pin_trial check(struct rig *rig, const char *text,
                                     struct pkcs11_pin_trial trial)
{
    KMS_CLEANUP(kms_secret_done) struct kms_secret pin = { 0 };
    assert_ok(kms_secret_copy(&pin, kms_bytes_of(text), &rig->err), &rig->err);
    const struct pkcs11_keystore_options options = options_of(rig, &pin);
    const struct pkcs11_seam seam = { .fn = fake_module_functions(rig->module) };
    assert_ok(pkcs11_pin_check(&options, &seam, rig_soon_ms(), &trial, &rig->err), &rig->err);
    return trial;
}

static const struct pkcs11_pin_trial spend = { .spend = true };

/* The one latch file's content, or "". */
static void read_latch(const struct rig *rig, char *ret_text, size_t size)
{
    char pattern[128];
    glob_t found = { 0 };
    (void)snprintf(pattern, sizeof(pattern), "%s/pin-latch.????????????????????????????????",
                   rig->dir);
    ret_text[0] = '\0';
    if (glob(pattern, 0, NULL, &found) == 0) {
        FILE *file = fopen(found.gl_pathv[0], "r");
        assert_non_null(file);
        ret_text[fread(ret_text, 1, size - 1, file)] = '\0';
        assert_int_equal(fclose(file), 0);
    }
    globfree(&found);
}

static void write_latch(const struct rig *rig, const char *text)
{
    char pattern[128];
    glob_t found = { 0 };
    (void)snprintf(pattern, sizeof(pattern), "%s/pin-latch.*", rig->dir);
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    FILE *file = fopen(found.gl_pathv[0], "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    globfree(&found);
}

/* --- restarts --- */

static void a_refused_pin_is_tried_once_over_any_number_of_starts(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(start(rig, wrong, 3), KMS_E_PRECONDITION);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(start(rig, wrong, 2), KMS_E_PRECONDITION);
        assert_contains(rig->err.msg, "refused this PIN");
    }
    assert_int_equal(logins(rig), 1);
}

static void a_changed_pin_is_tried_and_opens_the_latch(void **state)
{
    struct rig *rig = *state;
    char text[4096];
    assert_int_equal(start(rig, wrong, 1), KMS_E_PRECONDITION);
    set_flags(rig, CKF_USER_PIN_COUNT_LOW);
    assert_ok(start(rig, right, 1), &rig->err);
    read_latch(rig, text, sizeof(text));
    assert_null(strstr(text, "refused"));
    assert_contains(text, "good ");
}

static void the_latch_holds_neither_the_pin_nor_a_plain_hash_of_it(void **state)
{
    struct rig *rig = *state;
    char text[4096], hex[2 * KMS_SHA256_LEN + 1];
    uint8_t digest[KMS_SHA256_LEN];
    static const char secret[] = "correct-horse";
    assert_int_equal(start(rig, secret, 1), KMS_E_PRECONDITION);
    kms_sha256(kms_bytes_of(secret), digest);
    kms_hex_encode((struct kms_bytes){ digest, sizeof(digest) }, hex);
    read_latch(rig, text, sizeof(text));
    assert_contains(text, "refused ");
    assert_null(strstr(text, secret));
    assert_null(strstr(text, hex));
    kms_hex_encode(kms_bytes_of(secret), hex);
    assert_null(strstr(text, hex));
}

static void a_login_failure_that_says_nothing_of_the_pin_leaves_no_mark(void **state)
{
    struct rig *rig = *state;
    char before[4096], after[4096];
    assert_ok(start(rig, right, 1), &rig->err);
    read_latch(rig, before, sizeof(before));
    fake_module_fail_next(rig->module, "C_Login", CKR_DEVICE_ERROR);
    assert_int_equal(start(rig, right, 1), KMS_E_UNAVAILABLE);
    read_latch(rig, after, sizeof(after));
    assert_string_equal(before, after);
}

static void a_damaged_latch_lets_no_login_happen(void **state)
{
    struct rig *rig = *state;
    assert_ok(start(rig, right, 1), &rig->err);
    write_latch(rig, "hsm-kms pin latch 1\nsalt");
    assert_int_equal(start(rig, right, 2), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "pin-latch.");
    assert_int_equal(logins(rig), 1);
}

static void without_a_place_for_the_latch_memory_still_holds(void **state)
{
    struct rig *rig = *state;
    struct kms_keystore *keystore = NULL;
    struct kms_inventory inventory = { 0 };
    KMS_CLEANUP(kms_secret_done) struct kms_secret pin = { 0 };
    assert_ok(kms_secret_copy(&pin, kms_bytes_of(wrong), &rig->err), &rig->err);
    struct pkcs11_keystore_options options = options_of(rig, &pin);
    options.latch_dir = "/proc/self/fdinfo"; /* nobody can write there */
    const struct pkcs11_seam seam = { .fn = fake_module_functions(rig->module) };
    assert_ok(pkcs11_keystore_open_at(&options, &seam, &keystore, &rig->err), &rig->err);
    for (int i = 0; i < 3; i++)
        assert_int_equal(kms_keystore_inventory(keystore, "", rig_soon_ms(), &inventory, &rig->err),
                         KMS_E_PRECONDITION);
    kms_keystore_close(keystore);
    assert_int_equal(logins(rig), 1);
}

/* --- the token's flags --- */

static void attempts_that_others_spent_hold_an_unknown_pin_back(void **state)
{
    struct rig *rig = *state;
    set_flags(rig, CKF_USER_PIN_COUNT_LOW);
    assert_int_equal(start(rig, right, 2), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "hsm-kms pin check");
    assert_int_equal(logins(rig), 0);
}

static void attempts_that_others_spent_don_t_hold_a_known_pin_back(void **state)
{
    struct rig *rig = *state;
    assert_ok(start(rig, right, 1), &rig->err);
    set_flags(rig, CKF_USER_PIN_COUNT_LOW);
    assert_ok(start(rig, right, 1), &rig->err);
}

static void the_last_attempt_is_not_spent_even_on_a_known_pin(void **state)
{
    struct rig *rig = *state;
    assert_ok(start(rig, right, 1), &rig->err);
    set_flags(rig, CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY);
    assert_int_equal(start(rig, right, 2), KMS_E_PRECONDITION);
    assert_int_equal(logins(rig), 1);
}

static void a_locked_pin_is_not_tried(void **state)
{
    struct rig *rig = *state;
    set_flags(rig, CKF_USER_PIN_LOCKED);
    assert_int_equal(start(rig, right, 2), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "locked");
    assert_int_equal(logins(rig), 0);
}

/* --- a process that dies in C_Login --- */

static void *start_right(void *arg)
{
    struct rig *rig = arg;
    (void)start(rig, right, 1);
    return NULL;
}

/* What kill -9 within C_Login would leave. */
static void die_in_login(struct rig *rig, char *ret_text, size_t size)
{
    pthread_t thread;
    fake_module_hold_next(rig->module, "C_Login");
    assert_int_equal(pthread_create(&thread, NULL, start_right, rig), 0);
    fake_module_wait_held(rig->module);
    read_latch(rig, ret_text, size);
    fake_module_let_go(rig->module);
    assert_int_equal(pthread_join(thread, NULL), 0);
    write_latch(rig, ret_text);
}

static void the_mark_is_on_disk_before_the_token_hears_the_pin(void **state)
{
    struct rig *rig = *state;
    char text[4096];
    die_in_login(rig, text, sizeof(text));
    assert_contains(text, "trying ");
}

static void a_login_that_was_cut_short_is_repeated_where_the_token_counts_nothing(void **state)
{
    struct rig *rig = *state;
    char text[4096];
    die_in_login(rig, text, sizeof(text));
    assert_ok(start(rig, right, 1), &rig->err);
    read_latch(rig, text, sizeof(text));
    assert_null(strstr(text, "trying"));
}

static void a_login_that_was_cut_short_is_not_repeated_where_the_token_counts_one(void **state)
{
    struct rig *rig = *state;
    char text[4096];
    die_in_login(rig, text, sizeof(text));
    unsigned before = logins(rig);
    set_flags(rig, CKF_USER_PIN_COUNT_LOW);
    assert_int_equal(start(rig, right, 2), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "cut short");
    assert_int_equal(logins(rig), before);
}

/* --- reload --- */

struct running {
    struct kms_keystore *keystore;
    struct kms_secret pin;
};

static void run(struct rig *rig, const char *text, struct running *running)
{
    assert_ok(kms_secret_copy(&running->pin, kms_bytes_of(text), &rig->err), &rig->err);
    const struct pkcs11_keystore_options options = options_of(rig, &running->pin);
    const struct pkcs11_seam seam = { .fn = fake_module_functions(rig->module) };
    assert_ok(pkcs11_keystore_open_at(&options, &seam, &running->keystore, &rig->err), &rig->err);
}

static enum kms_code list(struct rig *rig, const struct running *running)
{
    struct kms_inventory inventory = { 0 };
    enum kms_code rc = kms_keystore_inventory(running->keystore, "", rig_soon_ms(), &inventory,
                                              &rig->err);
    kms_inventory_done(&inventory);
    return rc;
}

static void stop(struct running *running)
{
    kms_keystore_close(running->keystore);
    kms_secret_done(&running->pin);
}

static void reload_with_a_live_login_logs_in_no_more(void **state)
{
    struct rig *rig = *state;
    KMS_CLEANUP(stop) struct running running = { 0 };
    run(rig, right, &running);
    for (int i = 0; i < 3; i++) {
        assert_ok(list(rig, &running), &rig->err);
        kms_keystore_reload(running.keystore);
    }
    assert_ok(list(rig, &running), &rig->err);
    assert_int_equal(logins(rig), 1);
}

static void reload_with_a_live_login_is_no_leave_for_later(void **state)
{
    struct rig *rig = *state;
    KMS_CLEANUP(stop) struct running running = { 0 };
    run(rig, right, &running);
    assert_ok(list(rig, &running), &rig->err);
    kms_keystore_reload(running.keystore);
    set_flags(rig, CKF_USER_PIN_COUNT_LOW);
    write_latch(rig, "damaged");
    fake_module_drop_sessions(rig->module);
    fake_module_log_out(rig->module);
    assert_int_not_equal(list(rig, &running), KMS_OK);
    assert_int_equal(logins(rig), 1);
}

static void reload_lets_a_latched_pin_be_tried_once_more(void **state)
{
    struct rig *rig = *state;
    KMS_CLEANUP(stop) struct running running = { 0 };
    assert_int_equal(start(rig, wrong, 1), KMS_E_PRECONDITION);
    set_flags(rig, CKF_USER_PIN_COUNT_LOW);
    run(rig, wrong, &running);
    assert_int_equal(list(rig, &running), KMS_E_PRECONDITION);
    assert_int_equal(logins(rig), 1);
    kms_keystore_reload(running.keystore);
    assert_int_equal(list(rig, &running), KMS_E_PRECONDITION);
    assert_int_equal(list(rig, &running), KMS_E_PRECONDITION);
    assert_int_equal(logins(rig), 2);
}

static void reload_never_spends_the_last_attempt(void **state)
{
    struct rig *rig = *state;
    KMS_CLEANUP(stop) struct running running = { 0 };
    run(rig, wrong, &running);
    assert_int_equal(list(rig, &running), KMS_E_PRECONDITION);
    set_flags(rig, CKF_USER_PIN_FINAL_TRY);
    kms_keystore_reload(running.keystore);
    assert_int_equal(list(rig, &running), KMS_E_PRECONDITION);
    assert_int_equal(logins(rig), 1);
}

/* --- pin check --- */

static void a_good_pin_is_told_and_kept(void **state)
{
    struct rig *rig = *state;
    set_flags(rig, CKF_USER_PIN_COUNT_LOW);
    struct pkcs11_pin_trial trial = check(rig, right, spend);
    assert_int_equal(trial.outcome, PKCS11_PIN_GOOD);
    assert_true(trial.spent && trial.kept && trial.before.count_low);
    assert_string_equal(trial.token_label, "fake");
    assert_string_equal(trial.token_serial, "0001");
    assert_ok(start(rig, right, 1), &rig->err);
}

static void a_refused_pin_is_told_and_latched(void **state)
{
    struct rig *rig = *state;
    struct pkcs11_pin_trial trial = check(rig, wrong, spend);
    assert_int_equal(trial.outcome, PKCS11_PIN_REFUSED);
    assert_int_equal(trial.why.ckr, CKR_PIN_INCORRECT);
    assert_int_equal(start(rig, wrong, 2), KMS_E_PRECONDITION);
    assert_int_equal(logins(rig), 1);
}

static void a_latched_pin_is_tried_all_the_same_and_let_go_if_it_is_good(void **state)
{
    struct rig *rig = *state;
    KMS_CLEANUP(stop) struct running running = { 0 };
    run(rig, wrong, &running);
    assert_int_equal(list(rig, &running), KMS_E_PRECONDITION);
    memcpy(fake_module_behaviour(rig->module)->pin, wrong, sizeof(wrong));
    assert_int_equal(list(rig, &running), KMS_E_PRECONDITION);
    struct pkcs11_pin_trial trial = check(rig, wrong, spend);
    assert_int_equal(trial.memory, PKCS11_PIN_MEMORY_REFUSED);
    assert_int_equal(trial.outcome, PKCS11_PIN_GOOD);
    assert_ok(list(rig, &running), &rig->err);
}

static void looking_spends_nothing(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(start(rig, wrong, 1), KMS_E_PRECONDITION);
    struct pkcs11_pin_trial trial = check(rig, wrong, (struct pkcs11_pin_trial){ 0 });
    assert_int_equal(trial.outcome, PKCS11_PIN_NOT_TRIED);
    assert_int_equal(trial.memory, PKCS11_PIN_MEMORY_REFUSED);
    assert_false(trial.spent);
    assert_int_equal(logins(rig), 1);
}

static void the_last_attempt_is_spent_only_if_that_is_said(void **state)
{
    struct rig *rig = *state;
    set_flags(rig, CKF_USER_PIN_FINAL_TRY);
    struct pkcs11_pin_trial trial = check(rig, right, spend);
    assert_int_equal(trial.outcome, PKCS11_PIN_WITHHELD);
    assert_int_equal(logins(rig), 0);
    trial = check(rig, right, (struct pkcs11_pin_trial){ .spend = true, .last_attempt = true });
    assert_int_equal(trial.outcome, PKCS11_PIN_GOOD);
    assert_int_equal(logins(rig), 1);
}

static void a_locked_pin_is_told_without_a_login(void **state)
{
    struct rig *rig = *state;
    set_flags(rig, CKF_USER_PIN_LOCKED);
    struct pkcs11_pin_trial trial = check(
        rig, right, (struct pkcs11_pin_trial){ .spend = true, .last_attempt = true });
    assert_int_equal(trial.outcome, PKCS11_PIN_LOCKED);
    assert_int_equal(logins(rig), 0);
}

static void an_attempt_that_locks_the_pin_says_so(void **state)
{
    struct rig *rig = *state;
    fake_module_fail_next(rig->module, "C_Login", CKR_PIN_LOCKED);
    struct pkcs11_pin_trial trial = check(rig, wrong, spend);
    assert_int_equal(trial.outcome, PKCS11_PIN_LOCKED);
    assert_true(trial.spent);
}

static void a_failure_that_says_nothing_of_the_pin_stays_one(void **state)
{
    struct rig *rig = *state;
    fake_module_fail_next(rig->module, "C_Login", CKR_DEVICE_ERROR);
    struct pkcs11_pin_trial trial = spend;
    const struct pkcs11_keystore_options options = options_of(rig, &rig->pin);
    const struct pkcs11_seam seam = { .fn = fake_module_functions(rig->module) };
    assert_int_equal(pkcs11_pin_check(&options, &seam, rig_soon_ms(), &trial, &rig->err),
                     KMS_E_UNAVAILABLE);
    assert_ok(start(rig, right, 1), &rig->err);
}

static void a_damaged_latch_is_written_anew(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(start(rig, wrong, 1), KMS_E_PRECONDITION);
    write_latch(rig, "damaged");
    struct pkcs11_pin_trial trial = check(rig, right, spend);
    assert_int_equal(trial.memory, PKCS11_PIN_MEMORY_DAMAGED);
    assert_ok(start(rig, right, 1), &rig->err);
}

static void an_administrator_s_pin_is_not_kept(void **state)
{
    struct rig *rig = *state;
    char text[4096];
    struct pkcs11_pin_trial trial = spend;
    struct pkcs11_keystore_options options = options_of(rig, &rig->pin);
    options.administrator = true;
    const struct pkcs11_seam seam = { .fn = fake_module_functions(rig->module) };
    assert_ok(pkcs11_pin_check(&options, &seam, rig_soon_ms(), &trial, &rig->err), &rig->err);
    assert_int_equal(trial.outcome, PKCS11_PIN_GOOD);
    read_latch(rig, text, sizeof(text));
    assert_null(strstr(text, "good "));
    assert_null(strstr(text, "trying "));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_refused_pin_is_tried_once_over_any_number_of_starts),
        TEST(a_changed_pin_is_tried_and_opens_the_latch),
        TEST(the_latch_holds_neither_the_pin_nor_a_plain_hash_of_it),
        TEST(a_login_failure_that_says_nothing_of_the_pin_leaves_no_mark),
        TEST(a_damaged_latch_lets_no_login_happen),
        TEST(without_a_place_for_the_latch_memory_still_holds),
        TEST(attempts_that_others_spent_hold_an_unknown_pin_back),
        TEST(attempts_that_others_spent_don_t_hold_a_known_pin_back),
        TEST(the_last_attempt_is_not_spent_even_on_a_known_pin),
        TEST(a_locked_pin_is_not_tried),
        TEST(the_mark_is_on_disk_before_the_token_hears_the_pin),
        TEST(a_login_that_was_cut_short_is_repeated_where_the_token_counts_nothing),
        TEST(a_login_that_was_cut_short_is_not_repeated_where_the_token_counts_one),
        TEST(reload_with_a_live_login_logs_in_no_more),
        TEST(reload_with_a_live_login_is_no_leave_for_later),
        TEST(reload_lets_a_latched_pin_be_tried_once_more),
        TEST(reload_never_spends_the_last_attempt),
        TEST(a_good_pin_is_told_and_kept),
        TEST(a_refused_pin_is_told_and_latched),
        TEST(a_latched_pin_is_tried_all_the_same_and_let_go_if_it_is_good),
        TEST(looking_spends_nothing),
        TEST(the_last_attempt_is_spent_only_if_that_is_said),
        TEST(a_locked_pin_is_told_without_a_login),
        TEST(an_attempt_that_locks_the_pin_says_so),
        TEST(a_failure_that_says_nothing_of_the_pin_stays_one),
        TEST(a_damaged_latch_is_written_anew),
        TEST(an_administrator_s_pin_is_not_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
