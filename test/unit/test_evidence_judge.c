/* SPDX-License-Identifier: Apache-2.0 */
/* What is said of an archive's files once all are there. */
#include "check.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "evidence.h"
#include "kms/fd.h"

#define KEY_ID "prod.v1.00112233445566778899aabbccddeeff"
#define SAME "\"settings_sha256\":\"aa\",\"vouched_sha256\":\"bb\""
#define LEDGER "{\"version\":1,\"sha256\":\"cc\",\"time\":1000,\"unsure\":0,\"keys\":["

struct bench {
    char dir[32], out[64];
    struct kms_evidence evidence;
    struct kms_stage stage;
    struct kms_error err;
};

static void add(struct bench *bench, const char *name)
{
    (void)kms_evidence_add(&bench->evidence, name, "what it is", KMS_EVIDENCE_COMMAND);
}

static int set_up(void **state)
{
    static struct bench bench;
    static const char *const names[] = { "node.json",          "policy.json",
                                         "config.json",        "verify-labelled.json",
                                         "verify-proven.json", "snapshots.jsonl",
                                         "audit/log.serve" };
    bench = (struct bench){ .dir = "/tmp/hsm-kms-proof-XXXXXX" };
    bench.stage = (struct kms_stage){ .dir_fd = -1, .fd = -1, .files_fd = -1 };
    assert_non_null(mkdtemp(bench.dir));
    (void)snprintf(bench.out, sizeof(bench.out), "%s/e.tar", bench.dir);
    assert_ok(kms_stage_open(bench.out, &bench.stage, &bench.err), &bench.err);
    bench.evidence.config.ring = strdup("prod");
    bench.evidence.made_utc_s = 2000;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        add(&bench, names[i]);
        kms_evidence_set(&bench.evidence.files[i], KMS_EVIDENCE_MISSING, "not of this test");
    }
    *state = &bench;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

static int tear_down(void **state)
{
    struct bench *bench = *state;
    kms_stage_close(&bench->stage);
    kms_evidence_done(&bench->evidence);
    return nftw(bench->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static struct kms_evidence_file *file_of(struct bench *bench, const char *name)
{
    return kms_evidence_find(&bench->evidence, name);
}

/* Makes the file as if it had been gathered. */
static void put(struct bench *bench, const char *name, const char *text)
{
    int fd = -1;
    struct kms_evidence_file *file = file_of(bench, name);
    file->status = KMS_EVIDENCE_OK;
    file->reason[0] = '\0';
    assert_ok(kms_stage_create(&bench->stage, name, &fd, &bench->err), &bench->err);
    assert_true(kms_fd_write(fd, kms_bytes_of(text)));
    (void)close(fd);
}

static const struct kms_evidence_file *judged(struct bench *bench, const char *name)
{
    kms_evidence_judge(&bench->evidence, &bench->stage);
    return file_of(bench, name);
}

static const char *note_of(const struct kms_evidence_file *file, size_t index)
{
    const char *note = json_string_value(json_array_get(file->notes, index));
    assert_non_null(note);
    return note;
}

/* --- reports --- */

static const char report[] =
    "{\"level\":\"partly-proven\",\"started\":\"2026-11-26T05:00:00Z\","
    "\"source\":{\"kind\":\"etcd\",\"name\":\"http://127.0.0.1:1\",\"revision\":17},"
    "\"totals\":{\"dek_sources\":7,\"proven\":5,\"opened\":3}}";

static void a_report_says_what_was_unwrapped_and_of_what(void **state)
{
    put(*state, "verify-proven.json", report);
    const struct kms_evidence_file *file = judged(*state, "verify-proven.json");
    assert_string_equal(note_of(file, 0),
                        "partly-proven: 5 of 7 DEK seeds unwrapped, 3 objects opened");
    assert_string_equal(note_of(file, 1), "of etcd at http://127.0.0.1:1, revision 17, read at "
                                          "2026-11-26T05:00:00Z");
    assert_false(file->narrowed);
    assert_string_equal(file->reason, "");
}

static void a_report_of_a_snapshot_says_when_the_file_was_written(void **state)
{
    struct bench *bench = *state;
    bench->evidence.options.etcd.snapshot = bench->dir;
    put(bench, "verify-proven.json", report);
    assert_contains(note_of(judged(bench, "verify-proven.json"), 1), ", a file of 20");
}

static void options_that_narrow_a_report_are_its_reason(void **state)
{
    struct bench *bench = *state;
    struct kms_evidence_words *words = &bench->evidence.options.verify;
    words->items[words->count++] = strdup("--exempt=events");
    words->items[words->count++] = strdup("--prefix=/registry");
    bench->evidence.config.verify.exempt = (char **)calloc(1, sizeof(char *));
    bench->evidence.config.verify.exempt[0] = strdup("leases");
    bench->evidence.config.verify.exempt_count = 1;
    put(bench, "verify-labelled.json", report);
    const struct kms_evidence_file *file = judged(bench, "verify-labelled.json");
    assert_true(file->narrowed);
    assert_int_equal(file->status, KMS_EVIDENCE_OK);
    assert_string_equal(file->reason, "narrowed by --exempt=events, verify.exempt of the "
                                      "configuration: leases");
}

static void the_default_prefix_narrows_nothing(void **state)
{
    struct bench *bench = *state;
    struct kms_evidence_words *words = &bench->evidence.options.verify;
    words->items[words->count++] = strdup("--prefix=/registry");
    put(bench, "verify-labelled.json", report);
    assert_false(judged(bench, "verify-labelled.json")->narrowed);
}

/* --- the configuration --- */

static void the_same_configuration_is_said_to_be_so(void **state)
{
    put(*state, "node.json", "{\"configuration\":{" SAME "}}");
    put(*state, "config.json", "{" SAME "}");
    const struct kms_evidence_file *file = judged(*state, "config.json");
    assert_int_equal(file->status, KMS_EVIDENCE_OK);
    assert_contains(note_of(file, 0), "the running plugin uses the same");
}

static void other_settings_want_a_restart(void **state)
{
    put(*state, "node.json", "{\"configuration\":{" SAME "}}");
    put(*state, "config.json", "{\"settings_sha256\":\"ab\",\"vouched_sha256\":\"bb\"}");
    const struct kms_evidence_file *file = judged(*state, "config.json");
    assert_int_equal(file->status, KMS_EVIDENCE_FINDINGS);
    assert_contains(file->reason, "another configuration than the file");
    assert_contains(file->reason, "restart it");
}

static void other_pins_want_a_reload(void **state)
{
    put(*state, "node.json", "{\"configuration\":{" SAME "}}");
    put(*state, "config.json", "{\"settings_sha256\":\"aa\",\"vouched_sha256\":\"ab\"}");
    const struct kms_evidence_file *file = judged(*state, "config.json");
    assert_int_equal(file->status, KMS_EVIDENCE_FINDINGS);
    assert_contains(file->reason, "reload it");
}

static void without_a_plugin_nothing_is_claimed(void **state)
{
    put(*state, "config.json", "{" SAME "}");
    const struct kms_evidence_file *file = judged(*state, "config.json");
    assert_int_equal(file->status, KMS_EVIDENCE_OK);
    assert_contains(note_of(file, 0), "no running plugin told");
}

/* --- the ledger --- */

static void a_snapshot_that_needs_a_destroyed_kek_is_noted(void **state)
{
    put(*state, "policy.json", "{\"tombstones\":[1]}");
    put(*state, "snapshots.jsonl",
        LEDGER "{\"key_id\":\"" KEY_ID "\",\"current\":2,\"history\":3}]}\n");
    const struct kms_evidence_file *file = judged(*state, "snapshots.jsonl");
    assert_int_equal(file->status, KMS_EVIDENCE_OK);
    assert_string_equal(note_of(file, 0), "the snapshot with SHA-256 cc needs generation 1, which "
                                          "is destroyed: its 5 values can't be read");
}

static void within_the_retention_it_is_a_finding(void **state)
{
    struct bench *bench = *state;
    bench->evidence.config.policy.backup_retention_ms = INT64_C(1001) * 1000;
    put(bench, "policy.json", "{\"tombstones\":[1]}");
    put(bench, "snapshots.jsonl",
        LEDGER "{\"key_id\":\"" KEY_ID "\",\"current\":2,\"history\":3}]}\n");
    const struct kms_evidence_file *file = judged(bench, "snapshots.jsonl");
    assert_int_equal(file->status, KMS_EVIDENCE_FINDINGS);
    assert_contains(file->reason, "within policy.backup_retention");
}

static void a_kek_that_is_there_is_not_noted(void **state)
{
    put(*state, "policy.json", "{\"tombstones\":[2]}");
    put(*state, "snapshots.jsonl",
        "garbage\n" LEDGER "{\"key_id\":\"" KEY_ID "\",\"current\":2,\"history\":3}]}\n");
    assert_null(judged(*state, "snapshots.jsonl")->notes);
}

/* --- the audit log --- */

static struct kms_evidence_file *absent_log(struct bench *bench)
{
    struct kms_evidence_file *file = file_of(bench, "audit/log.serve");
    file->audit = file->served = true;
    kms_evidence_set(file, KMS_EVIDENCE_LEFT_OUT, "nothing");
    return file;
}

static void a_node_that_promoted_a_kek_has_a_log(void **state)
{
    (void)absent_log(*state);
    put(*state, "policy.json", "{\"problem\":null,\"promoted\":3}");
    const struct kms_evidence_file *file = judged(*state, "audit/log.serve");
    assert_int_equal(file->status, KMS_EVIDENCE_MISSING);
    assert_contains(file->reason, "though state_dir remembers a promoted KEK");
}

static void a_plugin_that_runs_has_a_log(void **state)
{
    (void)absent_log(*state);
    put(*state, "policy.json", "{\"problem\":null,\"promoted\":0}");
    put(*state, "node.json", "{}");
    assert_contains(judged(*state, "audit/log.serve")->reason, "though the plugin runs");
}

static void a_node_whose_memory_can_not_be_read_may_have_one(void **state)
{
    (void)absent_log(*state);
    put(*state, "policy.json", "{\"problem\":\"broken\",\"promoted\":0}");
    assert_int_equal(judged(*state, "audit/log.serve")->status, KMS_EVIDENCE_MISSING);
}

static void a_node_that_never_served_needs_none(void **state)
{
    (void)absent_log(*state);
    put(*state, "policy.json", "{\"problem\":null,\"promoted\":0}");
    assert_int_equal(judged(*state, "audit/log.serve")->status, KMS_EVIDENCE_LEFT_OUT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_report_says_what_was_unwrapped_and_of_what),
        TEST(a_report_of_a_snapshot_says_when_the_file_was_written),
        TEST(options_that_narrow_a_report_are_its_reason),
        TEST(the_default_prefix_narrows_nothing),
        TEST(the_same_configuration_is_said_to_be_so),
        TEST(other_settings_want_a_restart),
        TEST(other_pins_want_a_reload),
        TEST(without_a_plugin_nothing_is_claimed),
        TEST(a_snapshot_that_needs_a_destroyed_kek_is_noted),
        TEST(within_the_retention_it_is_a_finding),
        TEST(a_kek_that_is_there_is_not_noted),
        TEST(a_node_that_promoted_a_kek_has_a_log),
        TEST(a_plugin_that_runs_has_a_log),
        TEST(a_node_whose_memory_can_not_be_read_may_have_one),
        TEST(a_node_that_never_served_needs_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
