/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "inbox.h"
#include "kms/clock.h"
#include "kms/log.h"
#include "policy_rig.h"
#include "request.h"

#define PAST "20260101T000000Z"
enum { HOUR_MS = 3600000, PATIENCE_MS = 30000 };

static struct rig rig;
static FILE *log_file;

static int set_up(void **unused)
{
    (void)unused;
    log_file = tmpfile();
    if (log_file == NULL)
        return -1;
    kms_log_open(KMS_LOG_TEXT, KMS_LOG_WARN, fileno(log_file));
    return rig_open(&rig, HOUR_MS, HOUR_MS);
}

static int tear_down(void **unused)
{
    (void)unused;
    int rc = rig_close(&rig);
    kms_log_open(KMS_LOG_TEXT, KMS_LOG_WARN, STDERR_FILENO);
    fclose(log_file);
    return rc;
}

/* How many lines of the log have @word in them. */
static unsigned logged(const char *word)
{
    char line[2048];
    unsigned count = 0;
    rewind(log_file);
    while (fgets(line, sizeof line, log_file) != NULL)
        count += strstr(line, word) != NULL;
    return count;
}

static const char *path_of(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", rig.dir_path, name);
    return path;
}

static bool is_there(const char *name)
{
    return access(path_of(name), F_OK) == 0;
}

static void ask_accept(uint32_t generation, uint8_t fill)
{
    struct kms_error err;
    uint8_t fingerprint[KMS_FINGERPRINT_LEN];
    fake_keystore_fingerprint(fill, fingerprint);
    assert_ok(kms_request_accept(rig.dir_path, generation, fingerprint, &err), &err);
}

static void ask_tombstone(uint32_t generation)
{
    struct kms_error err;
    assert_ok(kms_request_tombstone(rig.dir_path, generation, &err), &err);
}

/* How many entries of the view that Describe shows have @generation. */
static unsigned shown(uint32_t generation)
{
    KMS_CLEANUP(kms_snapshot_release_ptr)
    struct kms_snapshot *snapshot = kms_ring_acquire(rig.ring);
    unsigned count = 0;
    for (size_t i = 0; i < snapshot->count; i++)
        count += snapshot->entries[i].generation == generation;
    return count;
}

static struct kms_state read_state(void)
{
    struct kms_error err;
    struct kms_state state;
    bool is_new;
    assert_ok(kms_state_read(rig.dir_path, "prod", &state, &is_new, &err), &err);
    return state;
}

static void an_accepted_foreign_key_is_promoted(void **unused)
{
    (void)unused;
    fake_keystore_add(rig.token, "prod.v1@" PAST, 1);
    fake_keystore_add(rig.token, "prod.v2@" PAST, 2);
    fake_keystore_set(rig.token, "prod.v2@" PAST, 0, KMS_KEK_LOCAL);
    rig_start(&rig);
    rig_refresh(&rig);
    rig_refresh(&rig);
    rig_await_status(&rig, KMS_OK, rig_key_id(1, 1));
    ask_accept(2, 2);
    rig_await_status(&rig, KMS_OK, rig_key_id(2, 2));
    assert_false(is_there("request.accept.2.json"));
    assert_int_equal(logged("request applied"), 1);
}

static void a_request_is_applied_at_start_before_the_token_is_reached(void **unused)
{
    (void)unused;
    struct kms_error err;
    fake_keystore_fail(rig.token, FAKE_INVENTORY, KMS_E_UNAVAILABLE, -1);
    ask_accept(2, 2);
    assert_ok(kms_refresher_start(rig.refresher, &err), &err);
    assert_int_equal(kms_refresher_wait(rig.refresher, kms_monotonic_ms() + PATIENCE_MS, &err),
                     KMS_E_UNAVAILABLE);
    assert_false(is_there("request.accept.2.json"));
    KMS_CLEANUP(kms_state_done) struct kms_state state = read_state();
    assert_non_null(kms_state_pin(&state, 2));
}

static void replace_promoted_key(void)
{
    fake_keystore_add(rig.token, "prod.v1@" PAST, 1);
    rig_start(&rig);
    rig_await_status(&rig, KMS_OK, rig_key_id(1, 1));
    fake_keystore_remove(rig.token, "prod.v1@" PAST);
    fake_keystore_add(rig.token, "prod.v1@" PAST, 7);
    rig_await_status(&rig, KMS_E_PRECONDITION, NULL);
}

static void an_accepted_replacement_of_the_promoted_key_makes_status_well_again(void **unused)
{
    (void)unused;
    replace_promoted_key();
    ask_accept(1, 7);
    rig_await_status(&rig, KMS_OK, rig_key_id(1, 7));
    assert_int_equal(shown(1), 1);
}

static void no_encrypt_uses_an_accepted_key_that_no_status_announced(void **unused)
{
    (void)unused;
    replace_promoted_key();
    ask_accept(1, 7);
    rig_refresh(&rig);
    assert_false(is_there("request.accept.1.json"));
    KMS_CLEANUP(kms_snapshot_release_ptr)
    struct kms_snapshot *before = kms_ring_acquire(rig.ring);
    assert_int_not_equal(before->code, KMS_OK);
    rig_await_status(&rig, KMS_OK, rig_key_id(1, 7));
    KMS_CLEANUP(kms_snapshot_release_ptr)
    struct kms_snapshot *after = kms_ring_acquire(rig.ring);
    assert_string_equal(after->key_id, rig_key_id(1, 7));
}

static void a_tombstone_takes_a_missing_generation_off_the_list(void **unused)
{
    (void)unused;
    fake_keystore_add(rig.token, "prod.v1@" PAST, 1);
    fake_keystore_add(rig.token, "prod.v2@" PAST, 2);
    rig_start(&rig);
    rig_await_status(&rig, KMS_OK, rig_key_id(2, 2));
    fake_keystore_remove(rig.token, "prod.v1@" PAST);
    rig_refresh(&rig);
    assert_int_equal(shown(1), 1);
    ask_tombstone(1);
    rig_refresh(&rig);
    assert_int_equal(shown(1), 0);
    KMS_CLEANUP(kms_state_done) struct kms_state state = read_state();
    assert_true(kms_state_is_buried(&state, 1));
    assert_null(kms_state_pin(&state, 1));
    rig_await_status(&rig, KMS_OK, rig_key_id(2, 2));
}

static void a_request_that_cannot_be_applied_is_logged_once_and_stays(void **unused)
{
    (void)unused;
    fake_keystore_add(rig.token, "prod.v1@" PAST, 1);
    rig_start(&rig);
    ask_tombstone(1);
    for (int i = 0; i < 3; i++)
        rig_refresh(&rig);
    assert_true(is_there("request.tombstone.1.json"));
    assert_int_equal(logged("request not applied"), 1);
    rig_await_status(&rig, KMS_OK, rig_key_id(1, 1));
}

static void a_damaged_request_disturbs_no_other(void **unused)
{
    (void)unused;
    fake_keystore_add(rig.token, "prod.v1@" PAST, 1);
    rig_start(&rig);
    int fd = open(path_of("request.accept.2.json"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    ask_tombstone(3);
    for (int i = 0; i < 3; i++)
        rig_refresh(&rig);
    assert_true(is_there("request.accept.2.json"));
    assert_false(is_there("request.tombstone.3.json"));
    assert_int_equal(logged("request not applied"), 1);
    assert_int_equal(logged("request.accept.2.json"), 1);
    rig_await_status(&rig, KMS_OK, rig_key_id(1, 1));
}

static void a_request_waits_until_ring_json_can_be_written(void **unused)
{
    (void)unused;
    fake_keystore_add(rig.token, "prod.v1@" PAST, 1);
    rig_start(&rig);
    assert_int_equal(mkdir(path_of("ring.json.new"), 0700), 0);
    ask_tombstone(3);
    rig_refresh(&rig);
    rig_refresh(&rig);
    assert_true(is_there("request.tombstone.3.json"));
    assert_int_equal(logged("request not applied"), 1);
    rig_await_status(&rig, KMS_OK, rig_key_id(1, 1));
    assert_int_equal(rmdir(path_of("ring.json.new")), 0);
    rig_refresh(&rig);
    assert_false(is_there("request.tombstone.3.json"));
    KMS_CLEANUP(kms_state_done) struct kms_state state = read_state();
    assert_true(kms_state_is_buried(&state, 3));
}

static void a_request_against_the_configurations_pins_is_not_applied(void **unused)
{
    (void)unused;
    struct kms_error err;
    struct kms_pin trusted = { .generation = 2 };
    fake_keystore_fingerprint(2, trusted.fingerprint);
    const struct kms_vouched vouched = { .pins = &trusted, .pin_count = 1 };
    assert_ok(kms_ring_offer(rig.ring, &vouched, &err), &err);
    fake_keystore_add(rig.token, "prod.v1@" PAST, 1);
    rig_start(&rig);
    ask_accept(2, 3);
    rig_refresh(&rig);
    assert_true(is_there("request.accept.2.json"));
    assert_int_equal(logged("disagree"), 1);
    KMS_CLEANUP(kms_state_done) struct kms_state state = read_state();
    assert_null(kms_state_pin(&state, 2));
}

/* --- requests of tokens --- */

static void what_is_asked_of_a_token_is_remembered_and_logged_once(void **unused)
{
    (void)unused;
    struct kms_error err;
    int64_t until = kms_utc_s() + HOUR_MS / 1000;
    char text[KMS_RFC3339_LEN + 1], until_field[64];
    kms_rfc3339_format(until, text);
    snprintf(until_field, sizeof until_field, "until=%s", text);
    fake_keystore_add(rig.token, "prod.v1@" PAST, 1);
    rig_start(&rig);
    assert_ok(kms_request_drain(rig.dir_path, "spare", until, &err), &err);
    assert_ok(kms_request_waive(rig.dir_path, 2, "spare", &err), &err);
    for (int i = 0; i < 3; i++)
        rig_refresh(&rig);
    assert_false(is_there("request.drain.spare.json"));
    assert_false(is_there("request.waive.2.spare.json"));
    assert_int_equal(logged("request applied"), 2);
    assert_int_equal(logged("token=spare"), 2);
    assert_int_equal(logged(until_field), 1);
    assert_int_equal(logged("generation=2"), 1);
    KMS_CLEANUP(kms_state_done) struct kms_state state = read_state();
    assert_int_equal(kms_state_drained_until(&state, "spare"), until);
    assert_true(kms_state_is_waived(&state, 2, "spare"));
}

static void a_resumed_token_is_forgotten(void **unused)
{
    (void)unused;
    struct kms_error err;
    fake_keystore_add(rig.token, "prod.v1@" PAST, 1);
    rig_start(&rig);
    assert_ok(kms_request_drain(rig.dir_path, "spare", kms_utc_s() + HOUR_MS / 1000, &err), &err);
    rig_refresh(&rig);
    assert_ok(kms_request_resume(rig.dir_path, "spare", &err), &err);
    rig_refresh(&rig);
    assert_false(is_there("request.resume.spare.json"));
    assert_int_equal(logged("request applied"), 2);
    KMS_CLEANUP(kms_state_done) struct kms_state state = read_state();
    assert_int_equal(state.drain_count, 0);
}

static void put_file(const char *name, const char *text)
{
    FILE *file = fopen(path_of(name), "we");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

/* As a command leaves them that is killed after it wrote the second. */
static void of_a_drain_and_a_resume_the_later_one_counts(void **unused)
{
    (void)unused;
    put_file("request.resume.spare.json", "{\"version\":1,\"kind\":\"resume\",\"token\":\"spare\","
                                          "\"asked\":\"2026-01-01T12:00:00Z\",\"by\":\"root\"}");
    put_file("request.drain.spare.json", "{\"version\":1,\"kind\":\"drain\",\"token\":\"spare\","
                                         "\"until\":\"9000-01-01T00:00:00Z\","
                                         "\"asked\":\"2026-01-01T12:00:01Z\",\"by\":\"root\"}");
    fake_keystore_add(rig.token, "prod.v1@" PAST, 1);
    rig_start(&rig);
    rig_refresh(&rig);
    assert_false(is_there("request.resume.spare.json"));
    assert_false(is_there("request.drain.spare.json"));
    KMS_CLEANUP(kms_state_done) struct kms_state state = read_state();
    assert_int_equal(state.drain_count, 1);
}

#define INBOX_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        INBOX_TEST(an_accepted_foreign_key_is_promoted),
        INBOX_TEST(a_request_is_applied_at_start_before_the_token_is_reached),
        INBOX_TEST(an_accepted_replacement_of_the_promoted_key_makes_status_well_again),
        INBOX_TEST(no_encrypt_uses_an_accepted_key_that_no_status_announced),
        INBOX_TEST(a_tombstone_takes_a_missing_generation_off_the_list),
        INBOX_TEST(a_request_that_cannot_be_applied_is_logged_once_and_stays),
        INBOX_TEST(a_damaged_request_disturbs_no_other),
        INBOX_TEST(a_request_waits_until_ring_json_can_be_written),
        INBOX_TEST(a_request_against_the_configurations_pins_is_not_applied),
        INBOX_TEST(what_is_asked_of_a_token_is_remembered_and_logged_once),
        INBOX_TEST(a_resumed_token_is_forgotten),
        INBOX_TEST(of_a_drain_and_a_resume_the_later_one_counts),
    };
    return cmocka_run_group_tests_name("inbox", tests, NULL, NULL);
}
