/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "request.h"

#define LONGEST "abcdefghijklmnopqrstuvwxyz012345" /* KMS_TOKEN_NAME_MAX bytes */

static char dir_path[64];

static int make_dir(void **unused)
{
    (void)unused;
    snprintf(dir_path, sizeof dir_path, "/tmp/test-request-XXXXXX");
    return mkdtemp(dir_path) != NULL ? 0 : -1;
}

static const char *path_of(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", dir_path, name);
    return path;
}

static int remove_dir(void **unused)
{
    (void)unused;
    DIR *dir = opendir(dir_path);
    if (dir == NULL)
        return -1;
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(dir), entry->d_name, 0);
    }
    closedir(dir);
    return rmdir(dir_path);
}

static void put_file(const char *name, const char *text)
{
    FILE *file = fopen(path_of(name), "we");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void read_requests(struct kms_request_list *ret_list)
{
    struct kms_error err;
    assert_ok(kms_request_read(dir_path, ret_list, &err), &err);
}

static const uint8_t fingerprint[KMS_FINGERPRINT_LEN] = { 0xab, 0xcd };

static void what_is_asked_is_read_back(void **unused)
{
    (void)unused;
    struct kms_error err;
    assert_ok(kms_request_accept(dir_path, 2, fingerprint, &err), &err);
    assert_ok(kms_request_tombstone(dir_path, 3, &err), &err);
    KMS_CLEANUP(kms_request_list_done) struct kms_request_list list = { 0 };
    read_requests(&list);
    assert_int_equal(list.count, 2); /* as they were asked */
    assert_string_equal(list.files[0].name, "request.accept.2.json");
    const struct kms_request *accept = &list.files[0].request, *bury = &list.files[1].request;
    assert_int_equal(list.files[0].fault.code, KMS_OK);
    assert_int_equal(accept->kind, KMS_REQUEST_ACCEPT);
    assert_int_equal(accept->generation, 2);
    assert_memory_equal(accept->fingerprint, fingerprint, sizeof fingerprint);
    assert_true(accept->asked_utc_s > 0);
    assert_string_not_equal(accept->by, "");
    assert_int_equal(list.files[1].fault.code, KMS_OK);
    assert_int_equal(bury->kind, KMS_REQUEST_TOMBSTONE);
    assert_int_equal(bury->generation, 3);
}

enum { UNTIL = 1800000000 };

static void what_is_asked_of_a_token_is_read_back(void **unused)
{
    (void)unused;
    struct kms_error err;
    assert_ok(kms_request_drain(dir_path, "main", UNTIL, &err), &err);
    assert_ok(kms_request_resume(dir_path, "spare", &err), &err);
    assert_ok(kms_request_waive(dir_path, 999999999, LONGEST, &err), &err);
    KMS_CLEANUP(kms_request_list_done) struct kms_request_list list = { 0 };
    read_requests(&list);
    assert_int_equal(list.count, 3);
    for (size_t i = 0; i < list.count; i++)
        assert_int_equal(list.files[i].fault.code, KMS_OK);
    const struct kms_request *drain = &list.files[0].request, *resume = &list.files[1].request;
    const struct kms_request *waive = &list.files[2].request;
    assert_int_equal(drain->kind, KMS_REQUEST_DRAIN);
    assert_string_equal(drain->token, "main");
    assert_int_equal(drain->until_utc_s, UNTIL);
    assert_int_equal(resume->kind, KMS_REQUEST_RESUME);
    assert_string_equal(resume->token, "spare");
    assert_int_equal(waive->kind, KMS_REQUEST_WAIVE);
    assert_int_equal(waive->generation, 999999999);
    assert_string_equal(waive->token, LONGEST);
    assert_string_equal(list.files[2].name, "request.waive.999999999." LONGEST ".json");
}

static void what_is_no_tokens_name_is_refused(void **unused)
{
    (void)unused;
    struct kms_error err;
    static const char *const names[] = { "", "Main", "../main", "main.x", "-main", (LONGEST "x") };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_int_equal(kms_request_resume(dir_path, names[i], &err), KMS_E_INVALID);
        assert_contains(err.msg, "no token's name");
    }
}

static void a_drain_without_an_end_is_refused(void **unused)
{
    (void)unused;
    struct kms_error err;
    static const int64_t ends[] = { INT64_MAX, 0, -1, INT64_C(253402300800) };
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        assert_int_equal(kms_request_drain(dir_path, "main", ends[i], &err), KMS_E_INVALID);
    KMS_CLEANUP(kms_request_list_done) struct kms_request_list list = { 0 };
    read_requests(&list);
    assert_int_equal(list.count, 0);
}

static void of_a_token_the_last_word_counts(void **unused)
{
    (void)unused;
    struct kms_error err;
    assert_ok(kms_request_drain(dir_path, "spare", UNTIL, &err), &err);
    assert_ok(kms_request_drain(dir_path, "main", UNTIL, &err), &err);
    assert_ok(kms_request_resume(dir_path, "main", &err), &err);
    assert_int_not_equal(access(path_of("request.drain.main.json"), F_OK), 0);
    assert_int_equal(access(path_of("request.resume.main.json"), F_OK), 0);
    assert_ok(kms_request_drain(dir_path, "main", UNTIL, &err), &err);
    assert_int_equal(access(path_of("request.drain.main.json"), F_OK), 0);
    assert_int_not_equal(access(path_of("request.resume.main.json"), F_OK), 0);
    assert_int_equal(access(path_of("request.drain.spare.json"), F_OK), 0);
}

static void requests_are_listed_as_they_were_asked(void **unused)
{
    (void)unused;
    put_file("request.resume.main.json", "{\"version\":1,\"kind\":\"resume\",\"token\":\"main\","
                                         "\"asked\":\"2026-12-01T12:00:00Z\",\"by\":\"root\"}");
    put_file("request.waive.2.main.json", "");
    put_file("request.drain.main.json", "{\"version\":1,\"kind\":\"drain\",\"token\":\"main\","
                                        "\"until\":\"2026-12-01T14:00:00Z\","
                                        "\"asked\":\"2026-12-01T11:59:59Z\",\"by\":\"root\"}");
    KMS_CLEANUP(kms_request_list_done) struct kms_request_list list = { 0 };
    read_requests(&list);
    assert_int_equal(list.count, 3);
    assert_string_equal(list.files[0].name, "request.waive.2.main.json"); /* a bad one */
    assert_string_equal(list.files[1].name, "request.drain.main.json");
    assert_string_equal(list.files[2].name, "request.resume.main.json");
}

static void a_request_is_the_owners_alone(void **unused)
{
    (void)unused;
    struct kms_error err;
    assert_ok(kms_request_tombstone(dir_path, 3, &err), &err);
    struct stat info;
    assert_int_equal(stat(path_of("request.tombstone.3.json"), &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
}

static void a_second_request_takes_the_place_of_the_first(void **unused)
{
    (void)unused;
    struct kms_error err;
    static const uint8_t other[KMS_FINGERPRINT_LEN] = { 0x11 };
    assert_ok(kms_request_accept(dir_path, 2, other, &err), &err);
    assert_ok(kms_request_accept(dir_path, 2, fingerprint, &err), &err);
    KMS_CLEANUP(kms_request_list_done) struct kms_request_list list = { 0 };
    read_requests(&list);
    assert_int_equal(list.count, 1);
    assert_memory_equal(list.files[0].request.fingerprint, fingerprint, sizeof fingerprint);
}

static void an_absent_state_dir_is_named(void **unused)
{
    (void)unused;
    struct kms_error err;
    assert_int_equal(kms_request_tombstone("/nowhere/state", 3, &err), KMS_E_PRECONDITION);
    assert_contains(err.msg, "/nowhere/state");
}

static void other_files_are_no_requests(void **unused)
{
    (void)unused;
    static const char *const names[] = { "ring.json",
                                         "request.accept.json",
                                         "request.accept.0.json",
                                         "request.accept.02.json",
                                         "request.accept.9999999999.json",
                                         "request.accept.2.json.bak",
                                         "request.accept.2.json.new",
                                         "request.something.2.json",
                                         "request.waive.main.json",
                                         "request.waive.2.json",
                                         "request.waive.02.main.json",
                                         "request.drain.Main.json",
                                         "request.drain..json",
                                         "request.drain.2.main.json",
                                         "request.drain.main.json.new",
                                         ("request.drain." LONGEST "x.json") };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        put_file(names[i], "{}");
    KMS_CLEANUP(kms_request_list_done) struct kms_request_list list = { 0 };
    read_requests(&list);
    assert_int_equal(list.count, 0);
}

#define ASKED "\"asked\":\"2026-12-01T12:00:00Z\",\"by\":\"root\""
#define ZEROS "00000000000000000000000000000000"

static void check_faults(const char *name, const char *const *texts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        put_file(name, texts[i]);
        KMS_CLEANUP(kms_request_list_done) struct kms_request_list list = { 0 };
        read_requests(&list);
        assert_int_equal(list.count, 1);
        assert_int_equal(list.files[0].fault.code, KMS_E_PRECONDITION);
        assert_contains(list.files[0].fault.msg, name);
    }
    assert_int_equal(unlink(path_of(name)), 0);
}

static void damaged_requests_are_listed_with_their_fault(void **unused)
{
    (void)unused;
    static const char *const texts[] = {
        "",
        "{",
        "[]",
        "{}",
        "{\"version\":0," ASKED "}",
        "{\"version\":1,\"kind\":\"accept\",\"generation\":2," ASKED "}",
        "{\"version\":1,\"kind\":\"accept\",\"generation\":2,\"fingerprint\":\"00\"," ASKED "}",
        "{\"version\":1,\"kind\":\"accept\",\"generation\":3,\"fingerprint\":\"" ZEROS ZEROS
        "\"," ASKED "}",
        "{\"version\":1,\"kind\":\"tombstone\",\"generation\":2," ASKED "}",
        "{\"version\":1,\"kind\":\"accept\",\"generation\":2,\"fingerprint\":\"" ZEROS ZEROS "\"}",
    };
    check_faults("request.accept.2.json", texts, sizeof texts / sizeof texts[0]);
}

#define UNTIL_NOON "\"until\":\"2026-12-01T12:00:00Z\","

static void damaged_requests_of_a_token_are_listed_with_their_fault(void **unused)
{
    (void)unused;
    static const char *const drains[] = {
        "{\"version\":1,\"kind\":\"drain\",\"token\":\"main\"," ASKED "}",
        "{\"version\":1,\"kind\":\"drain\",\"token\":\"main\",\"until\":\"soon\"," ASKED "}",
        ("{\"version\":1,\"kind\":\"drain\",\"token\":\"main\","
         "\"until\":\"1969-12-31T23:59:59Z\"," ASKED "}"),
        "{\"version\":1,\"kind\":\"drain\",\"token\":\"spare\"," UNTIL_NOON ASKED "}",
        "{\"version\":1,\"kind\":\"drain\"," UNTIL_NOON ASKED "}",
        "{\"version\":1,\"kind\":\"resume\",\"token\":\"main\"," UNTIL_NOON ASKED "}",
    };
    static const char *const waivers[] = {
        "{\"version\":1,\"kind\":\"waive\",\"token\":\"main\"," ASKED "}",
        "{\"version\":1,\"kind\":\"waive\",\"generation\":3,\"token\":\"main\"," ASKED "}",
        "{\"version\":1,\"kind\":\"waive\",\"generation\":2," ASKED "}",
    };
    check_faults("request.drain.main.json", drains, sizeof drains / sizeof drains[0]);
    check_faults("request.waive.2.main.json", waivers, sizeof waivers / sizeof waivers[0]);
}

static void a_newer_version_is_told_apart_from_damage(void **unused)
{
    (void)unused;
    put_file("request.accept.2.json", "{\"version\":2,\"what\":\"ever\"}");
    KMS_CLEANUP(kms_request_list_done) struct kms_request_list list = { 0 };
    read_requests(&list);
    assert_int_equal(list.count, 1);
    assert_contains(list.files[0].fault.msg, "newer hsm-kms");
}

static void what_is_no_plain_file_is_a_fault(void **unused)
{
    (void)unused;
    assert_int_equal(mkfifo(path_of("request.accept.2.json"), 0600), 0);
    KMS_CLEANUP(kms_request_list_done) struct kms_request_list list = { 0 };
    read_requests(&list);
    assert_int_equal(list.count, 1);
    assert_int_equal(list.files[0].fault.code, KMS_E_PRECONDITION);
}

static void a_request_replaced_meanwhile_is_not_deleted(void **unused)
{
    (void)unused;
    struct kms_error err;
    assert_ok(kms_request_accept(dir_path, 2, fingerprint, &err), &err);
    KMS_CLEANUP(kms_request_list_done) struct kms_request_list list = { 0 };
    read_requests(&list);
    assert_ok(kms_request_accept(dir_path, 2, fingerprint, &err), &err);
    assert_ok(kms_request_remove(dir_path, &list.files[0], &err), &err);
    assert_int_equal(access(path_of("request.accept.2.json"), F_OK), 0);
    KMS_CLEANUP(kms_request_list_done) struct kms_request_list again = { 0 };
    read_requests(&again);
    assert_ok(kms_request_remove(dir_path, &again.files[0], &err), &err);
    assert_int_not_equal(access(path_of("request.accept.2.json"), F_OK), 0);
}

#define WITH_DIR(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIR(what_is_asked_is_read_back),
        WITH_DIR(what_is_asked_of_a_token_is_read_back),
        WITH_DIR(what_is_no_tokens_name_is_refused),
        WITH_DIR(a_drain_without_an_end_is_refused),
        WITH_DIR(of_a_token_the_last_word_counts),
        WITH_DIR(requests_are_listed_as_they_were_asked),
        WITH_DIR(a_request_is_the_owners_alone),
        WITH_DIR(a_second_request_takes_the_place_of_the_first),
        WITH_DIR(an_absent_state_dir_is_named),
        WITH_DIR(other_files_are_no_requests),
        WITH_DIR(damaged_requests_are_listed_with_their_fault),
        WITH_DIR(damaged_requests_of_a_token_are_listed_with_their_fault),
        WITH_DIR(a_newer_version_is_told_apart_from_damage),
        WITH_DIR(what_is_no_plain_file_is_a_fault),
        WITH_DIR(a_request_replaced_meanwhile_is_not_deleted),
    };
    return cmocka_run_group_tests_name("request", tests, NULL, NULL);
}
