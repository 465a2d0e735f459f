/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "request.h"

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
    static const char *const names[] = {
        "request.accept.2.json",          "request.accept.2.json.new",
        "request.tombstone.3.json",       "request.accept.02.json",
        "request.accept.0.json",          "request.accept.json",
        "request.something.2.json",       "ring.json",
        "request.accept.9999999999.json", "request.accept.2.json.bak",
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        unlink(path_of(names[i]));
        rmdir(path_of(names[i]));
    }
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
    assert_ok(kms_request_tombstone(dir_path, 3, &err), &err);
    assert_ok(kms_request_accept(dir_path, 2, fingerprint, &err), &err);
    KMS_CLEANUP(kms_request_list_done) struct kms_request_list list = { 0 };
    read_requests(&list);
    assert_int_equal(list.count, 2); /* by name */
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
                                         "request.something.2.json" };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        put_file(names[i], "{}");
    KMS_CLEANUP(kms_request_list_done) struct kms_request_list list = { 0 };
    read_requests(&list);
    assert_int_equal(list.count, 0);
}

#define ASKED "\"asked\":\"2026-12-01T12:00:00Z\",\"by\":\"root\""
#define ZEROS "00000000000000000000000000000000"

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
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        put_file("request.accept.2.json", texts[i]);
        KMS_CLEANUP(kms_request_list_done) struct kms_request_list list = { 0 };
        read_requests(&list);
        assert_int_equal(list.count, 1);
        assert_int_equal(list.files[0].fault.code, KMS_E_PRECONDITION);
        assert_contains(list.files[0].fault.msg, "request.accept.2.json");
    }
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

/* --- on a state --- */

static void accept_pins_and_replaces_a_pin(void **unused)
{
    (void)unused;
    struct kms_error err;
    KMS_CLEANUP(kms_state_done) struct kms_state state = { 0 };
    static const uint8_t other[KMS_FINGERPRINT_LEN] = { 0x11 };
    struct kms_request request = { .kind = KMS_REQUEST_ACCEPT, .generation = 2 };
    memcpy(request.fingerprint, fingerprint, sizeof fingerprint);
    bool changed = false;
    assert_ok(kms_request_apply(&request, &state, &changed, &err), &err);
    assert_true(changed);
    assert_int_equal(state.pin_count, 1);
    assert_ok(kms_state_add_pin(&state, 1, other, "serial", &err), &err);
    memcpy(request.fingerprint, other, sizeof other);
    assert_ok(kms_request_apply(&request, &state, &changed, &err), &err);
    assert_true(changed);
    assert_int_equal(state.pin_count, 2);
    assert_memory_equal(kms_state_pin(&state, 2)->fingerprint, other, sizeof other);
    assert_ok(kms_request_apply(&request, &state, &changed, &err), &err);
    assert_false(changed);
}

static void a_replaced_pin_forgets_the_tokens_that_confirmed_the_old_key(void **unused)
{
    (void)unused;
    struct kms_error err;
    KMS_CLEANUP(kms_state_done) struct kms_state state = { 0 };
    assert_ok(kms_state_add_pin(&state, 2, fingerprint, "serial", &err), &err);
    struct kms_request request = { .kind = KMS_REQUEST_ACCEPT, .generation = 2 };
    bool changed;
    assert_ok(kms_request_apply(&request, &state, &changed, &err), &err);
    assert_string_equal(kms_state_pin(&state, 2)->serials[0], "");
}

static void tombstone_removes_the_pin_and_keeps_the_number(void **unused)
{
    (void)unused;
    struct kms_error err;
    KMS_CLEANUP(kms_state_done) struct kms_state state = { .promoted = 1 };
    assert_ok(kms_state_add_pin(&state, 1, fingerprint, "", &err), &err);
    assert_ok(kms_state_add_pin(&state, 5, fingerprint, "", &err), &err);
    static const uint32_t order[] = { 5, 3, 7 };
    bool changed = false;
    for (size_t i = 0; i < 3; i++) {
        struct kms_request request = { .kind = KMS_REQUEST_TOMBSTONE, .generation = order[i] };
        assert_ok(kms_request_apply(&request, &state, &changed, &err), &err);
        assert_true(changed);
        assert_ok(kms_request_apply(&request, &state, &changed, &err), &err);
        assert_false(changed);
    }
    assert_int_equal(state.tombstone_count, 3);
    assert_int_equal(state.tombstones[0], 3); /* ascending */
    assert_int_equal(state.tombstones[2], 7);
    assert_null(kms_state_pin(&state, 5));
    assert_non_null(kms_state_pin(&state, 1));
    assert_int_equal(kms_state_highest(&state), 7);
}

static void the_promoted_generation_is_never_buried(void **unused)
{
    (void)unused;
    struct kms_error err;
    KMS_CLEANUP(kms_state_done) struct kms_state state = { .promoted = 2 };
    struct kms_request request = { .kind = KMS_REQUEST_TOMBSTONE, .generation = 2 };
    bool changed;
    assert_int_equal(kms_request_apply(&request, &state, &changed, &err), KMS_E_PRECONDITION);
    assert_int_equal(state.tombstone_count, 0);
}

static void a_buried_generation_is_never_accepted(void **unused)
{
    (void)unused;
    struct kms_error err;
    KMS_CLEANUP(kms_state_done) struct kms_state state = { 0 };
    assert_ok(kms_state_bury(&state, 2, &err), &err);
    struct kms_request request = { .kind = KMS_REQUEST_ACCEPT, .generation = 2 };
    bool changed;
    assert_int_equal(kms_request_apply(&request, &state, &changed, &err), KMS_E_PRECONDITION);
    assert_int_equal(state.pin_count, 0);
}

#define WITH_DIR(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIR(what_is_asked_is_read_back),
        WITH_DIR(a_request_is_the_owners_alone),
        WITH_DIR(a_second_request_takes_the_place_of_the_first),
        WITH_DIR(an_absent_state_dir_is_named),
        WITH_DIR(other_files_are_no_requests),
        WITH_DIR(damaged_requests_are_listed_with_their_fault),
        WITH_DIR(a_newer_version_is_told_apart_from_damage),
        WITH_DIR(what_is_no_plain_file_is_a_fault),
        WITH_DIR(a_request_replaced_meanwhile_is_not_deleted),
        cmocka_unit_test(accept_pins_and_replaces_a_pin),
        cmocka_unit_test(a_replaced_pin_forgets_the_tokens_that_confirmed_the_old_key),
        cmocka_unit_test(tombstone_removes_the_pin_and_keeps_the_number),
        cmocka_unit_test(the_promoted_generation_is_never_buried),
        cmocka_unit_test(a_buried_generation_is_never_accepted),
    };
    return cmocka_run_group_tests_name("request", tests, NULL, NULL);
}
