/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "backups.h"

static char dir[32];

static void in_dir(const char *name, char ret_path[static 64])
{
    (void)snprintf(ret_path, 64, "%s/%s", dir, name);
}

static int make_dir(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof(dir), "/tmp/hsm-kms-test-XXXXXX");
    return mkdtemp(dir) != NULL ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    char path[64];
    in_dir("backups.json", path);
    (void)unlink(path);
    in_dir("backups.json.new", path);
    (void)unlink(path);
    return rmdir(dir);
}

static void write_file(const char *text)
{
    char path[64];
    in_dir("backups.json", path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static struct kms_backup backup(const char *id, uint8_t fill, const char *reference)
{
    struct kms_backup backup = { .recorded_utc_s = 1796126400 };
    (void)snprintf(backup.id, sizeof(backup.id), "%s", id);
    (void)snprintf(backup.reference, sizeof(backup.reference), "%s", reference);
    memset(backup.fingerprint, fill, sizeof(backup.fingerprint));
    return backup;
}

static void add(const struct kms_backup *record)
{
    struct kms_error err = { 0 };
    assert_ok(kms_backups_add(dir, record, &err), &err);
}

static bool find(const char *id, const uint8_t *fingerprint, struct kms_backup *ret_backup)
{
    struct kms_error err = { 0 };
    bool found = false;
    assert_ok(kms_backups_find(dir, id, fingerprint, &found, ret_backup, &err), &err);
    return found;
}

static void without_a_file_nothing_is_found(void **state)
{
    (void)state;
    struct kms_backup found;
    assert_false(find("0123456789abcdef", NULL, &found));
}

static void a_record_is_found_by_id_and_by_fingerprint(void **state)
{
    (void)state;
    struct kms_backup one = backup("0000000000000001", 1, "safe 1");
    struct kms_backup two = backup("0000000000000002", 2, "safe \"2\"");
    struct kms_backup found;
    add(&one);
    add(&two);
    assert_true(find(one.id, NULL, &found));
    assert_string_equal(found.reference, "safe 1");
    assert_true(find(NULL, two.fingerprint, &found));
    assert_string_equal(found.reference, "safe \"2\"");
    assert_int_equal(found.recorded_utc_s, 1796126400);
    assert_false(find(one.id, two.fingerprint, &found));
}

static void a_record_of_the_same_id_is_replaced(void **state)
{
    (void)state;
    struct kms_backup one = backup("0000000000000001", 1, "safe 1");
    struct kms_backup again = backup("0000000000000001", 1, "safe 9");
    struct kms_backup found;
    add(&one);
    add(&again);
    assert_true(find(NULL, one.fingerprint, &found));
    assert_string_equal(found.reference, "safe 9");
}

static void a_damaged_file_is_neither_read_nor_replaced(void **state)
{
    (void)state;
    static const char *const bad[] = { "{", "[]", "{\"version\": 1}",
                                       "{\"version\": 0, \"backups\": []}" };
    struct kms_backup record = backup("0000000000000001", 1, "safe 1");
    struct kms_error err = { 0 };
    bool found = false;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        write_file(bad[i]);
        assert_int_equal(kms_backups_add(dir, &record, &err), KMS_E_PRECONDITION);
        assert_int_equal(kms_backups_find(dir, NULL, NULL, &found, &record, &err),
                         KMS_E_PRECONDITION);
        assert_contains(err.msg, "backups.json");
    }
}

static void a_newer_release_is_respected(void **state)
{
    (void)state;
    struct kms_backup record = backup("0000000000000001", 1, "safe 1");
    struct kms_error err = { 0 };
    write_file("{\"version\": 2, \"backups\": []}");
    assert_int_equal(kms_backups_add(dir, &record, &err), KMS_E_PRECONDITION);
    assert_contains(err.msg, "newer");
}

static void a_record_that_can_not_be_read_is_told(void **state)
{
    (void)state;
    struct kms_backup found;
    struct kms_error err = { 0 };
    bool is_found = false;
    write_file("{\"version\": 1, \"backups\": [{\"id\": \"1\"}]}");
    assert_int_equal(kms_backups_find(dir, NULL, NULL, &is_found, &found, &err),
                     KMS_E_PRECONDITION);
}

static void a_directory_that_is_not_there_is_an_error_for_writing(void **state)
{
    (void)state;
    struct kms_backup record = backup("0000000000000001", 1, "safe 1");
    struct kms_error err = { 0 };
    assert_int_equal(kms_backups_add("/nonexistent", &record, &err), KMS_E_PRECONDITION);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_dir, remove_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_a_file_nothing_is_found),
        TEST(a_record_is_found_by_id_and_by_fingerprint),
        TEST(a_record_of_the_same_id_is_replaced),
        TEST(a_damaged_file_is_neither_read_nor_replaced),
        TEST(a_newer_release_is_respected),
        TEST(a_record_that_can_not_be_read_is_told),
        TEST(a_directory_that_is_not_there_is_an_error_for_writing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
