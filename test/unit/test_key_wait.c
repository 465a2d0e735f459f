/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disabled.h"
#include "key_wait.h"
#include "ledger.h"
#include "life_rig.h"

enum { DAY_S = 86400, DAY_MS = DAY_S * 1000 };

static struct kms_key_wait wait_of(struct life_rig *rig, int days)
{
    return (struct kms_key_wait){ .state_dir = rig->state_dir,
                                  .generation = 1,
                                  .now_utc_s = LIFE_NOW,
                                  .destroy_wait_ms = days * (int64_t)DAY_MS };
}

static void disable(struct life_rig *rig, uint32_t generation, int64_t utc_s)
{
    assert_ok(kms_disabled_record(rig->state_dir, generation, utc_s, &rig->err), &rig->err);
}

static void assert_waits(const struct kms_key_wait *wait, struct life_rig *rig, const char *part)
{
    rig->outcome = (struct kms_key_outcome){ .name = "" };
    assert_false(kms_key_wait_is_over(wait, &rig->outcome));
    assert_true(rig->outcome.refused);
    assert_contains(rig->outcome.text, part);
}

static void assert_over(const struct kms_key_wait *wait, struct life_rig *rig)
{
    rig->outcome = (struct kms_key_outcome){ .name = "" };
    if (!kms_key_wait_is_over(wait, &rig->outcome))
        fail_msg("%s", rig->outcome.text);
}

static void write_record(struct life_rig *rig, const char *text)
{
    char path[96];
    (void)snprintf(path, sizeof(path), "%s/disabled.v1", rig->state_dir);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void a_key_is_kept_until_the_last_second_is_up(void **state)
{
    struct life_rig *rig = *state;
    const struct kms_key_wait wait = wait_of(rig, 30);
    disable(rig, 1, LIFE_NOW - 30 * DAY_S + 1);
    assert_waits(&wait, rig, "wait until 2026-12-01T12:00:01Z");
    disable(rig, 1, LIFE_NOW - 30 * DAY_S);
    assert_over(&wait, rig);
}

static void nobody_waits_where_no_wait_is_configured(void **state)
{
    const struct kms_key_wait wait = wait_of(*state, 0);
    assert_over(&wait, *state);
}

static void what_was_not_recorded_is_waited_for(void **state)
{
    struct life_rig *rig = *state;
    const struct kms_key_wait wait = wait_of(rig, 30);
    disable(rig, 2, LIFE_NOW - 90 * DAY_S);
    assert_waits(&wait, rig, "isn't recorded on this node");
}

static void what_was_forgotten_is_waited_for(void **state)
{
    struct life_rig *rig = *state;
    const struct kms_key_wait wait = wait_of(rig, 30);
    disable(rig, 1, LIFE_NOW - 90 * DAY_S);
    assert_ok(kms_disabled_forget(rig->state_dir, 1, &rig->err), &rig->err);
    assert_waits(&wait, rig, "isn't recorded on this node");
}

static void a_clock_that_went_back_is_waited_for(void **state)
{
    struct life_rig *rig = *state;
    const struct kms_key_wait wait = wait_of(rig, 30);
    disable(rig, 1, LIFE_NOW + 90 * DAY_S);
    assert_waits(&wait, rig, "wait until");
}

static void a_damaged_record_is_waited_for(void **state)
{
    static const char *const texts[] = {
        "", "1", "01\n", "-1\n", "0\n", "x\n", "1x\n", "1\n2\n", "99999999999999999999999\n",
    };
    struct life_rig *rig = *state;
    const struct kms_key_wait wait = wait_of(rig, 30);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        write_record(rig, texts[i]);
        assert_waits(&wait, rig, "is damaged");
    }
}

static void a_far_time_does_not_overflow(void **state)
{
    struct life_rig *rig = *state;
    const struct kms_key_wait wait = wait_of(rig, 30);
    write_record(rig, "9223372036854775807\n");
    assert_waits(&wait, rig, "is damaged");
}

static void without_state_dir_there_is_nothing_to_forget(void **state)
{
    struct life_rig *rig = *state;
    assert_ok(kms_disabled_forget("/nowhere/at/all", 1, &rig->err), &rig->err);
    assert_ok(kms_disabled_forget(rig->state_dir, 1, &rig->err), &rig->err);
    assert_int_equal(kms_disabled_record("/nowhere/at/all", 1, 1, &rig->err), KMS_E_PRECONDITION);
}

static void what_can_not_be_forgotten_is_told(void **state)
{
    struct life_rig *rig = *state;
    char path[96];
    (void)snprintf(path, sizeof(path), "%s/disabled.v1", rig->state_dir);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(kms_disabled_forget(rig->state_dir, 1, &rig->err), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, path);
    assert_int_equal(rmdir(path), 0);
}

/* --- recorded snapshots --- */

#define HEX "00112233445566778899aabbccddeeff"

#define LINE(time, unsure, keys)                                                                   \
    "{\"version\":1,\"sha256\":\"" HEX HEX "\",\"time\":" time ",\"unsure\":" unsure               \
    ",\"keys\":" keys "}"

static struct kms_key_wait retention_of(struct life_rig *rig, int days)
{
    struct kms_key_wait wait = wait_of(rig, 0);
    wait.ring = "prod";
    wait.backup_retention_ms = days * (int64_t)DAY_MS;
    return wait;
}

static void record(struct life_rig *rig, const char *key_id, int64_t utc_s, uint64_t unsure)
{
    struct kms_ledger_key key = { .history = 3 };
    (void)snprintf(key.key_id, sizeof(key.key_id), "%s", key_id);
    const struct kms_ledger_line line = {
        .sha256 = { 0xab }, .utc_s = utc_s, .keys = &key, .key_count = 1, .unsure = unsure
    };
    assert_ok(kms_ledger_append(rig->state_dir, &line, &rig->err), &rig->err);
}

/* Behind what is there. */
static void write_ledger(struct life_rig *rig, const char *text)
{
    char path[96];
    (void)snprintf(path, sizeof(path), "%s/snapshots.jsonl", rig->state_dir);
    FILE *file = fopen(path, "a");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void a_young_snapshot_that_needs_a_key_keeps_it(void **state)
{
    struct life_rig *rig = *state;
    const struct kms_key_wait wait = retention_of(rig, 90);
    record(rig, "prod.v1." HEX, LIFE_NOW - 90 * DAY_S, 0);
    assert_waits(&wait, rig, "SHA-256 ab00");
    assert_waits(&wait, rig, "needs generation 1");
}

static void both_waits_are_told_at_once(void **state)
{
    struct life_rig *rig = *state;
    struct kms_key_wait wait = retention_of(rig, 90);
    wait.destroy_wait_ms = DAY_MS;
    disable(rig, 1, LIFE_NOW);
    record(rig, "prod.v1." HEX, LIFE_NOW, 0);
    assert_waits(&wait, rig, "policy.destroy_wait");
    assert_waits(&wait, rig, "needs generation 1");
}

static void an_old_snapshot_keeps_nothing(void **state)
{
    struct life_rig *rig = *state;
    const struct kms_key_wait wait = retention_of(rig, 90);
    record(rig, "prod.v1." HEX, LIFE_NOW - 90 * DAY_S - 1, 1);
    assert_over(&wait, rig);
}

static void a_snapshot_of_other_keys_keeps_nothing(void **state)
{
    struct life_rig *rig = *state;
    const struct kms_key_wait wait = retention_of(rig, 90);
    assert_over(&wait, rig);
    record(rig, "prod.v2." HEX, LIFE_NOW, 0);
    record(rig, "test.v1." HEX, LIFE_NOW, 0);
    record(rig, "prod.v11." HEX, LIFE_NOW, 0);
    assert_over(&wait, rig);
}

static void a_snapshot_that_may_need_it_keeps_it(void **state)
{
    struct life_rig *rig = *state;
    const struct kms_key_wait wait = retention_of(rig, 90);
    record(rig, "prod.v2." HEX, LIFE_NOW, 1);
    assert_waits(&wait, rig, "may need generation 1");
}

static void without_a_retention_no_snapshot_is_asked(void **state)
{
    struct life_rig *rig = *state;
    const struct kms_key_wait wait = retention_of(rig, 0);
    record(rig, "prod.v1." HEX, LIFE_NOW, 0);
    assert_over(&wait, rig);
}

static void a_ledger_that_can_not_be_read_keeps_every_key(void **state)
{
    static const char *const lines[] = {
        "x\n",
        "{}\n",
        "[]\n",
        "\n",
        "{\"version\":2,\"sha256\":\"" HEX HEX "\",\"time\":1,\"unsure\":0,\"keys\":[]}\n",
        "{\"version\":1,\"sha256\":\"" HEX "\",\"time\":1,\"unsure\":0,\"keys\":[]}\n",
        "{\"version\":1,\"sha256\":\"" HEX HEX "\",\"time\":1,\"unsure\":0,\"keys\":[{}]}\n",
        "{\"version\":1,\"sha256\":\"" HEX HEX "\",\"time\":1,\"unsure\":0}\n",
        LINE("-1", "0", "[]") "\n",
        LINE("253402300800", "0", "[]") "\n",
        LINE("1", "-1", "[]") "\n",
        LINE("1", "0", "[{\"key_id\":\"prod.v1." HEX "\",\"current\":-3,\"history\":3}]") "\n",
        LINE("1", "0", "[{\"key_id\":\"prod.v1." HEX "\",\"current\":3,\"history\":-3}]") "\n",
        LINE("1", "9223372036854775807", "[]") "\n",
    };
    struct life_rig *rig = *state;
    const struct kms_key_wait wait = retention_of(rig, 90);
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        char path[96];
        write_ledger(rig, lines[i]);
        assert_waits(&wait, rig, "line 1 of");
        (void)snprintf(path, sizeof(path), "%s/snapshots.jsonl", rig->state_dir);
        assert_int_equal(unlink(path), 0);
    }
}

/* An editor may leave it so. */
static void a_whole_line_without_its_end_is_kept(void **state)
{
    struct life_rig *rig = *state;
    const struct kms_key_wait wait = retention_of(rig, 3650);
    write_ledger(rig, LINE("1767225600", "1", "[]"));
    assert_waits(&wait, rig, "may need generation 1");
    record(rig, "prod.v2." HEX, LIFE_NOW, 0);
    assert_waits(&wait, rig, "may need generation 1");
}

static void what_a_killed_command_left_is_cut_off(void **state)
{
    struct life_rig *rig = *state;
    const struct kms_key_wait wait = retention_of(rig, 90);
    record(rig, "prod.v2." HEX, LIFE_NOW, 0);
    write_ledger(rig, "{\"version\":1,");
    assert_waits(&wait, rig, "line 2 of");
    record(rig, "prod.v2." HEX, LIFE_NOW, 0);
    assert_over(&wait, rig);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, life_set_up, life_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_key_is_kept_until_the_last_second_is_up),
        TEST(nobody_waits_where_no_wait_is_configured),
        TEST(what_was_not_recorded_is_waited_for),
        TEST(what_was_forgotten_is_waited_for),
        TEST(a_clock_that_went_back_is_waited_for),
        TEST(a_damaged_record_is_waited_for),
        TEST(a_far_time_does_not_overflow),
        TEST(without_state_dir_there_is_nothing_to_forget),
        TEST(what_can_not_be_forgotten_is_told),
        TEST(a_young_snapshot_that_needs_a_key_keeps_it),
        TEST(both_waits_are_told_at_once),
        TEST(an_old_snapshot_keeps_nothing),
        TEST(a_snapshot_of_other_keys_keeps_nothing),
        TEST(a_snapshot_that_may_need_it_keeps_it),
        TEST(without_a_retention_no_snapshot_is_asked),
        TEST(a_ledger_that_can_not_be_read_keeps_every_key),
        TEST(a_whole_line_without_its_end_is_kept),
        TEST(what_a_killed_command_left_is_cut_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
