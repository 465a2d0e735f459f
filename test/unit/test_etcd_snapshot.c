/* SPDX-License-Identifier: Apache-2.0 */
/* Damaged pages are in test_bolt.c, real files of etcd in test/integration/test_etcd_source.py. */
#include "etcd/snapshot.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "bolt_rig.h"
#include "check.h"

enum { SEEN_MAX = 16 };

/* What a visitor met, and what it shall do. */
struct seen {
    char lines[SEEN_MAX][64]; /* "state revision key value" */
    size_t count;
    size_t stop_after, fail_after;
    volatile sig_atomic_t stop;
};

static enum kms_code remember(void *context, const struct kms_etcd_entry *entry,
                              struct kms_error *err)
{
    static const char *const names[] = { "current", "history", "deleted" };
    struct seen *seen = context;
    assert_true(seen->count < SEEN_MAX);
    snprintf(seen->lines[seen->count++], sizeof seen->lines[0], "%s %lld %.*s %.*s",
             names[entry->state], (long long)entry->mod_revision, (int)entry->key.len,
             (const char *)entry->key.data, (int)entry->value.len, (const char *)entry->value.data);
    if (seen->count == seen->stop_after)
        seen->stop = 1;
    if (seen->count == seen->fail_after)
        return kms_fail(err, KMS_E_BUSY, "enough");
    return KMS_OK;
}

static enum kms_code read_all(const struct bolt_rig *rig, const char *prefix, struct seen *seen,
                              struct kms_etcd_summary *ret_summary, struct kms_error *err)
{
    KMS_CLEANUP(kms_etcd_close_ptr) struct kms_etcd_source *source = NULL;
    const struct kms_etcd_query query = {
        .prefix = kms_bytes_of(prefix), .visit = remember, .context = seen, .stop = &seen->stop
    };
    enum kms_code rc = kms_etcd_snapshot_open(rig->path, &source, err);
    return rc == KMS_OK ? kms_etcd_read(source, &query, ret_summary, err) : rc;
}

/* a updated, b deleted and made anew, c deleted; two keys in one transaction. */
static struct bolt_rig *make(void **state, const struct etcd_file_end *end)
{
    struct bolt_rig *rig = *state;
    struct etcd_file *file = etcd_file_open(rig->path, 4096);
    etcd_file_put(file, 2, 0, "/a", kms_bytes_of("one"));
    etcd_file_put(file, 3, 0, "/b", kms_bytes_of("two"));
    etcd_file_put(file, 3, 1, "/c", kms_bytes_of("three"));
    etcd_file_put(file, 4, 0, "/a", kms_bytes_of("four"));
    etcd_file_delete(file, 5, 0, "/b");
    etcd_file_delete(file, 5, 1, "/c");
    etcd_file_put(file, 6, 0, "/b", kms_bytes_of("six"));
    etcd_file_put(file, 7, 0, "d", kms_bytes_of(""));
    etcd_file_close(file, end);
    bolt_rig_load(rig);
    return rig;
}

static void check_lines(const struct seen *seen, const char *const *lines, size_t count)
{
    assert_int_equal(seen->count, count);
    for (size_t i = 0; i < count; i++)
        assert_string_equal(seen->lines[i], lines[i]);
}

static void the_newest_revision_of_a_key_is_current_and_older_ones_are_history(void **state)
{
    static const char *const lines[] = { "current 7 d ",      "current 6 /b six",
                                         "deleted 5 /c ",     "deleted 5 /b ",
                                         "current 4 /a four", "history 3 /c three",
                                         "history 3 /b two",  "history 2 /a one" };
    const struct bolt_rig *rig = make(state, &(struct etcd_file_end){ 0 });
    struct seen seen = { 0 };
    struct kms_error err = { 0 };
    KMS_CLEANUP(kms_etcd_summary_done) struct kms_etcd_summary summary = { 0 };
    assert_ok(read_all(rig, "", &seen, &summary, &err), &err);
    check_lines(&seen, lines, sizeof lines / sizeof lines[0]);
}

static void a_prefix_leaves_the_others_out(void **state)
{
    static const char *const lines[] = { "current 4 /a four", "history 2 /a one" };
    const struct bolt_rig *rig = make(state, &(struct etcd_file_end){ 0 });
    struct seen seen = { 0 };
    struct kms_error err = { 0 };
    KMS_CLEANUP(kms_etcd_summary_done) struct kms_etcd_summary summary = { 0 };
    assert_ok(read_all(rig, "/a", &seen, &summary, &err), &err);
    check_lines(&seen, lines, sizeof lines / sizeof lines[0]);
}

static void the_summary_tells_revision_index_and_version(void **state)
{
    const struct bolt_rig *rig = make(state, &(struct etcd_file_end){ .digest = true });
    struct seen seen = { 0 };
    struct kms_error err = { 0 };
    KMS_CLEANUP(kms_etcd_summary_done) struct kms_etcd_summary summary = { 0 };
    assert_ok(read_all(rig, "/", &seen, &summary, &err), &err);
    assert_int_equal(summary.kind, KMS_ETCD_SNAPSHOT);
    assert_false(summary.stopped);
    assert_int_equal(summary.span_count, 1);
    assert_int_equal(kms_etcd_summary_revision(&summary), 7);
    assert_int_equal(summary.compact_revision, 2);
    assert_int_equal(summary.consistent_index, 42);
    assert_string_equal(summary.version, "3.5.0");
}

static void an_empty_etcd_has_the_revision_of_its_compaction(void **state)
{
    struct bolt_rig *rig = *state;
    etcd_file_close(etcd_file_open(rig->path, 4096), &(struct etcd_file_end){ 0 });
    struct seen seen = { 0 };
    struct kms_error err = { 0 };
    KMS_CLEANUP(kms_etcd_summary_done) struct kms_etcd_summary summary = { 0 };
    assert_ok(read_all(rig, "", &seen, &summary, &err), &err);
    assert_int_equal(seen.count, 0);
    assert_int_equal(kms_etcd_summary_revision(&summary), 2);
}

static void a_file_without_a_sha256_is_a_member_db(void **state)
{
    const struct bolt_rig *rig = make(state, &(struct etcd_file_end){ 0 });
    KMS_CLEANUP(kms_etcd_close_ptr) struct kms_etcd_source *source = NULL;
    struct kms_error err = { 0 };
    assert_ok(kms_etcd_snapshot_open(rig->path, &source, &err), &err);
    assert_int_equal(source->kind, KMS_ETCD_MEMBER_DB);
}

static void a_file_of_an_odd_length_was_cut_off(void **state)
{
    struct bolt_rig *rig = make(state, &(struct etcd_file_end){ .digest = true });
    rig->len--;
    bolt_rig_save(rig);
    bolt_rig_expect_corrupt(rig, "it was cut off");
}

static void a_file_that_an_etcd_holds_is_refused(void **state)
{
    const struct bolt_rig *rig = make(state, &(struct etcd_file_end){ 0 });
    int fd = open(rig->path, O_RDWR | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    struct kms_etcd_source *source = NULL;
    struct kms_error err = { 0 };
    assert_int_equal(kms_etcd_snapshot_open(rig->path, &source, &err), KMS_E_PRECONDITION);
    assert_contains(err.msg, "use --etcd or etcdctl snapshot save");
    close(fd);
}

static void no_etcd_starts_on_a_file_that_is_open(void **state)
{
    const struct bolt_rig *rig = make(state, &(struct etcd_file_end){ 0 });
    struct kms_etcd_source *source = NULL;
    struct kms_error err = { 0 };
    assert_ok(kms_etcd_snapshot_open(rig->path, &source, &err), &err);
    int fd = open(rig->path, O_RDWR | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), -1);
    kms_etcd_close(source);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    close(fd);
}

static void the_flag_ends_the_reading_with_a_summary(void **state)
{
    const struct bolt_rig *rig = make(state, &(struct etcd_file_end){ 0 });
    struct seen seen = { .stop_after = 3 };
    struct kms_error err = { 0 };
    KMS_CLEANUP(kms_etcd_summary_done) struct kms_etcd_summary summary = { 0 };
    assert_ok(read_all(rig, "", &seen, &summary, &err), &err);
    assert_int_equal(seen.count, 3);
    assert_true(summary.stopped);
    assert_int_equal(kms_etcd_summary_revision(&summary), 7);
}

static void the_flag_ends_the_check_of_the_sha256(void **state)
{
    const struct bolt_rig *rig = make(state, &(struct etcd_file_end){ .digest = true });
    struct seen seen = { .stop = 1 };
    struct kms_error err = { 0 };
    KMS_CLEANUP(kms_etcd_summary_done) struct kms_etcd_summary summary = { 0 };
    assert_ok(read_all(rig, "", &seen, &summary, &err), &err);
    assert_int_equal(seen.count, 0);
    assert_true(summary.stopped);
}

static void a_visitor_that_fails_ends_the_reading(void **state)
{
    const struct bolt_rig *rig = make(state, &(struct etcd_file_end){ 0 });
    struct seen seen = { .fail_after = 2 };
    struct kms_error err = { 0 };
    struct kms_etcd_summary summary = { 0 };
    assert_int_equal(read_all(rig, "", &seen, &summary, &err), KMS_E_BUSY);
    assert_string_equal(err.msg, "enough");
    assert_int_equal(seen.count, 2);
    assert_int_equal(summary.span_count, 0);
}

/* --- items that no etcd writes --- */

static void expect_corrupt_item(void **state, struct kms_bytes key, struct kms_bytes value,
                                const char *text)
{
    struct bolt_rig *rig = *state;
    struct etcd_file *file = etcd_file_open(rig->path, 4096);
    etcd_file_item(file, key, value);
    etcd_file_close(file, &(struct etcd_file_end){ 0 });
    bolt_rig_expect_corrupt(rig, text);
}

#define BYTES(text) ((struct kms_bytes){ (const uint8_t *)(text), sizeof(text) - 1 })
#define REVISION_5 "\0\0\0\0\0\0\0\5_\0\0\0\0\0\0\0\0"
#define KV_OF_5 "\x0a\x01k\x10\x05\x18\x05\x20\x01"

static void a_key_that_is_no_revision_is_an_error(void **state)
{
    static const char text[] = "page 2: a key that is no revision";
    expect_corrupt_item(state, BYTES("name"), BYTES(KV_OF_5), text);
    expect_corrupt_item(state, BYTES(REVISION_5 "x"), BYTES(KV_OF_5), text);
    expect_corrupt_item(state, BYTES("\0\0\0\0\0\0\0\5.\0\0\0\0\0\0\0\0"), BYTES(KV_OF_5), text);
    expect_corrupt_item(state, BYTES("\x80\0\0\0\0\0\0\5_\0\0\0\0\0\0\0\0"), BYTES(KV_OF_5), text);
}

static void a_value_that_is_no_key_value_is_an_error(void **state)
{
    static const char text[] = "page 2: revision 5 is not a key and value of it";
    expect_corrupt_item(state, BYTES(REVISION_5), BYTES("\x0a\x05k"), text);
    expect_corrupt_item(state, BYTES(REVISION_5), BYTES(""), text);
    expect_corrupt_item(state, BYTES(REVISION_5), BYTES("\x0a\x01k\x18\x06"), text);
}

/* --- every byte --- */

/* Returns whether the reading failed, and then with what it must say. */
static bool fails_well(const struct bolt_rig *rig)
{
    struct kms_error err = { 0 };
    struct bolt_counts counts;
    KMS_CLEANUP(kms_etcd_summary_done) struct kms_etcd_summary summary = { 0 };
    enum kms_code rc = bolt_rig_read(rig, &counts, &summary, &err);
    if (rc == KMS_OK)
        return false;
    assert_int_equal(rc, KMS_E_CORRUPT);
    if (strstr(err.msg, "page") == NULL)
        assert_contains(err.msg, "SHA-256");
    return true;
}

/* Changes each byte of the file in three ways; returns how many changes were found. */
static size_t sweep(const struct bolt_rig *rig)
{
    static const uint8_t changes[] = { 0x01, 0x80, 0xff };
    size_t found = 0;
    for (size_t at = 0; at < rig->len; at++) {
        for (size_t i = 0; i < sizeof changes; i++) {
            bolt_rig_poke(rig, at, rig->data[at] ^ changes[i]);
            found += fails_well(rig);
        }
        bolt_rig_poke(rig, at, rig->data[at]);
    }
    return found;
}

static void no_changed_byte_of_a_member_db_is_worse_than_an_error_with_its_page(void **state)
{
    struct bolt_rig *rig = *state;
    bolt_rig_make(rig, 30, &(struct etcd_file_end){ .freelist = true });
    /* Most of the tables; not the values, nor what lies unused. */
    assert_in_range(sweep(rig), rig->len / 3, rig->len * 3);
}

static void each_changed_byte_of_a_snapshot_is_found(void **state)
{
    struct bolt_rig *rig = *state;
    bolt_rig_make(rig, 4, &(struct etcd_file_end){ .digest = true });
    assert_int_equal(sweep(rig), 3 * rig->len);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, bolt_rig_set_up, bolt_rig_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(the_newest_revision_of_a_key_is_current_and_older_ones_are_history),
        TEST(a_prefix_leaves_the_others_out),
        TEST(the_summary_tells_revision_index_and_version),
        TEST(an_empty_etcd_has_the_revision_of_its_compaction),
        TEST(a_file_without_a_sha256_is_a_member_db),
        TEST(a_file_of_an_odd_length_was_cut_off),
        TEST(a_file_that_an_etcd_holds_is_refused),
        TEST(no_etcd_starts_on_a_file_that_is_open),
        TEST(the_flag_ends_the_reading_with_a_summary),
        TEST(the_flag_ends_the_check_of_the_sha256),
        TEST(a_visitor_that_fails_ends_the_reading),
        TEST(a_key_that_is_no_revision_is_an_error),
        TEST(a_value_that_is_no_key_value_is_an_error),
        TEST(no_changed_byte_of_a_member_db_is_worse_than_an_error_with_its_page),
        TEST(each_changed_byte_of_a_snapshot_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
