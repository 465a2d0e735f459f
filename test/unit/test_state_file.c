/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "kms/clock.h"
#include "state.h"

static char dir_path[64];

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir_path, sizeof dir_path, "/tmp/test-state-XXXXXX");
    return mkdtemp(dir_path) != NULL ? 0 : -1;
}

static const char *path_of(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", dir_path, name);
    return path;
}

static int remove_dir(void **state)
{
    (void)state;
    static const char *const names[] = { "ring.json", "ring.json.new", "served", "served.new",
                                         "lock" };
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

static void get_file(const char *name, char *ret_text, size_t size)
{
    FILE *file = fopen(path_of(name), "re");
    assert_non_null(file);
    ret_text[fread(ret_text, 1, size - 1, file)] = '\0';
    fclose(file);
}

static enum kms_code read_state(struct kms_state *ret_state, bool *ret_new, struct kms_error *err)
{
    return kms_state_read(dir_path, "prod", ret_state, ret_new, err);
}

static struct kms_pin *last_pin(struct kms_state *state)
{
    return &state->pins[state->pin_count - 1];
}

/* Generations 2 and 3 pinned, 3 promoted and confirmed by two tokens, generation 1 destroyed. */
static void fill(struct kms_state *state)
{
    struct kms_error err;
    uint8_t fingerprint[KMS_FINGERPRINT_LEN] = { 0xaa };
    assert_ok(kms_state_add_pin(state, 3, fingerprint, &err), &err);
    assert_ok(kms_state_add_pin(state, 2, fingerprint, &err), &err);
    assert_true(kms_state_confirm(last_pin(state), "main", "serial-3"));
    assert_true(kms_state_confirm(last_pin(state), "spare", ""));
    state->promoted = 3;
    state->tombstones = calloc(1, sizeof *state->tombstones);
    state->tombstones[0] = 1;
    state->tombstone_count = 1;
}

static void write_state(const struct kms_state *state)
{
    struct kms_error err;
    KMS_CLEANUP(kms_state_dir_close_ptr) struct kms_state_dir *dir = NULL;
    assert_ok(kms_state_dir_open(dir_path, "prod", &dir, &err), &err);
    assert_ok(kms_state_dir_write(dir, state, &err), &err);
}

static void what_is_written_is_read_back(void **unused)
{
    (void)unused;
    KMS_CLEANUP(kms_state_done) struct kms_state state = { 0 };
    fill(&state);
    write_state(&state);
    KMS_CLEANUP(kms_state_done) struct kms_state back = { 0 };
    bool is_new = true;
    struct kms_error err;
    assert_ok(read_state(&back, &is_new, &err), &err);
    assert_false(is_new);
    assert_int_equal(back.promoted, 3);
    assert_int_equal(back.pin_count, 2);
    assert_int_equal(back.pins[0].generation, 2); /* ascending */
    assert_int_equal(back.pins[0].token_count, 0);
    assert_int_equal(back.pins[1].token_count, 2);
    assert_string_equal(kms_pin_confirmation(&back.pins[1], "main")->serial, "serial-3");
    assert_string_equal(kms_pin_confirmation(&back.pins[1], "spare")->serial, "");
    assert_int_equal(back.pins[1].fingerprint[0], 0xaa);
    assert_int_equal(back.tombstone_count, 1);
    assert_int_equal(kms_state_highest(&back), 3);
}

static void read_back(struct kms_state *ret_state)
{
    bool is_new;
    struct kms_error err;
    assert_ok(read_state(ret_state, &is_new, &err), &err);
}

static void drains_and_waivers_are_read_back(void **unused)
{
    (void)unused;
    struct kms_error err;
    KMS_CLEANUP(kms_state_done) struct kms_state state = { 0 };
    fill(&state);
    int64_t until = kms_utc_s() + 3600;
    assert_ok(kms_state_drain(&state, "spare", until, &err), &err);
    assert_ok(kms_state_drain(&state, "main", until + 1, &err), &err);
    assert_ok(kms_state_waive(&state, 4, "spare", &err), &err);
    assert_ok(kms_state_waive(&state, 4, "main", &err), &err);
    write_state(&state);
    KMS_CLEANUP(kms_state_done) struct kms_state back = { 0 };
    read_back(&back);
    assert_int_equal(kms_state_drained_until(&back, "spare"), until);
    assert_int_equal(kms_state_drained_until(&back, "main"), until + 1);
    assert_int_equal(back.waiver_count, 2);
    assert_true(kms_state_is_waived(&back, 4, "main"));
    assert_true(kms_state_is_waived(&back, 4, "spare"));
}

static void what_says_nothing_any_more_is_not_written(void **unused)
{
    (void)unused;
    struct kms_error err;
    KMS_CLEANUP(kms_state_done) struct kms_state state = { 0 };
    fill(&state);
    assert_ok(kms_state_drain(&state, "spare", kms_utc_s() - 1, &err), &err);
    assert_ok(kms_state_waive(&state, 3, "spare", &err), &err);
    assert_ok(kms_state_waive(&state, 4, "spare", &err), &err);
    write_state(&state);
    KMS_CLEANUP(kms_state_done) struct kms_state back = { 0 };
    read_back(&back);
    assert_int_equal(back.drain_count, 0);
    assert_int_equal(back.waiver_count, 1);
    assert_int_equal(back.waivers[0].generation, 4);
}

#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000"
#define PIN_OF(tokens)                                                                             \
    "{\"version\": 1, \"ring\": \"prod\", \"promoted\": 0, \"pins\": [{\"generation\": 1, "        \
    "\"fingerprint\": \"" ZEROS "\", \"tokens\": " tokens "}], \"tombstones\": []}"
#define DRAIN(token) "{\"token\": \"" token "\", \"until\": \"2026-12-01T12:00:00Z\"}"
#define THREE_DRAINS(a, b, c) DRAIN(a) ", " DRAIN(b) ", " DRAIN(c)
#define BARE_WITH(more)                                                                            \
    "{\"version\": 1, \"ring\": \"prod\", \"promoted\": 0, \"pins\": [], \"tombstones\": "         \
    "[], " more "}"

static void a_file_from_before_tokens_had_names_is_read(void **unused)
{
    (void)unused;
    put_file("ring.json", PIN_OF("[\"a1b2\"]"));
    KMS_CLEANUP(kms_state_done) struct kms_state back = { 0 };
    read_back(&back);
    assert_int_equal(back.pins[0].token_count, 1);
    assert_string_equal(kms_pin_confirmation(&back.pins[0], "token-1")->serial, "a1b2");
    assert_int_equal(back.drain_count, 0);
    assert_int_equal(back.waiver_count, 0);
}

static void an_absent_file_means_a_new_node(void **unused)
{
    (void)unused;
    KMS_CLEANUP(kms_state_done) struct kms_state state = { .promoted = 9 };
    bool is_new = false;
    struct kms_error err;
    assert_ok(read_state(&state, &is_new, &err), &err);
    assert_true(is_new);
    assert_int_equal(state.promoted, 0);
}

static void an_absent_file_beside_the_marker_is_an_error(void **unused)
{
    (void)unused;
    KMS_CLEANUP(kms_state_done) struct kms_state state = { 0 };
    fill(&state);
    write_state(&state);
    unlink(path_of("ring.json"));
    KMS_CLEANUP(kms_state_done) struct kms_state back = { 0 };
    bool is_new;
    struct kms_error err;
    assert_int_equal(read_state(&back, &is_new, &err), KMS_E_PRECONDITION);
    assert_contains(err.msg, "ring.json is gone");
}

static void damaged_files_are_refused_and_left_alone(void **unused)
{
    (void)unused;
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "{}",
        "{\"version\": 1}",
        "{\"version\": 0, \"ring\": \"prod\"}",
        "{\"version\": 1, \"ring\": \"prod\", \"promoted\": -1, \"pins\": [], \"tombstones\": []}",
        "{\"version\": 1, \"ring\": \"prod\", \"promoted\": 0, \"pins\": {}, \"tombstones\": []}",
        ("{\"version\": 1, \"ring\": \"prod\", \"promoted\": 0, \"pins\": [], "
         "\"tombstones\": [2, 1]}"),
        "{\"version\": 1, \"ring\": \"prod\", \"promoted\": 1, \"pins\": [], \"tombstones\": []}",
        ("{\"version\": 1, \"ring\": \"prod\", \"promoted\": 0, \"pins\": [{\"generation\": 1, "
         "\"fingerprint\": \"zz\", \"tokens\": []}], \"tombstones\": []}"),
        "{\"version\": 1, \"version\": 1}",
        PIN_OF("{}"),
        PIN_OF("[1]"),
        PIN_OF("[\"a serial of 17 ch\"]"),
        PIN_OF("[{\"name\": \"main\"}]"),
        PIN_OF("[{\"serial\": \"1\"}]"),
        PIN_OF("[{\"name\": \"Main\", \"serial\": \"1\"}]"),
        PIN_OF("[{\"name\": \"main\", \"serial\": \"a serial of 17 ch\"}]"),
        PIN_OF("[{\"name\": \"a\", \"serial\": \"1\"}, {\"name\": \"a\", \"serial\": \"2\"}]"),
        PIN_OF("[\"1\", \"2\", \"3\", \"4\", \"5\", \"6\", \"7\", \"8\", \"9\"]"),
        BARE_WITH("\"drained\": {}"),
        BARE_WITH("\"drained\": [\"main\"]"),
        BARE_WITH("\"drained\": [{\"token\": \"main\"}]"),
        BARE_WITH("\"drained\": [{\"token\": \"main\", \"until\": \"soon\"}]"),
        BARE_WITH("\"drained\": [{\"token\": \"main\", \"until\": \"1970-01-01T00:00:00Z\"}]"),
        BARE_WITH("\"drained\": [" DRAIN("-") "]"),
        BARE_WITH("\"drained\": [{\"token\": \"a\", \"until\": \"2026-12-01T12:00:00Z\"}, "
                  "{\"token\": \"a\", \"until\": \"2026-12-02T12:00:00Z\"}]"),
        BARE_WITH("\"drained\": [" THREE_DRAINS("a", "b", "c") ", " THREE_DRAINS(
            "d", "e", "f") ", " THREE_DRAINS("g", "h", "i") "]"),
        BARE_WITH("\"waived\": {}"),
        BARE_WITH("\"waived\": [1]"),
        BARE_WITH("\"waived\": [{\"generation\": 1}]"),
        BARE_WITH("\"waived\": [{\"generation\": 0, \"token\": \"main\"}]"),
        BARE_WITH("\"waived\": [{\"generation\": 1, \"token\": \"\"}]"),
        BARE_WITH("\"waived\": [{\"generation\": 1, \"token\": \"a\"}, "
                  "{\"generation\": 1, \"token\": \"a\"}]"),
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        put_file("ring.json", bad[i]);
        KMS_CLEANUP(kms_state_done) struct kms_state back = { 0 };
        bool is_new;
        struct kms_error err;
        assert_int_equal(read_state(&back, &is_new, &err), KMS_E_PRECONDITION);
        assert_contains(err.msg, "restore it from a backup");
        char text[1024];
        get_file("ring.json", text, sizeof text);
        assert_string_equal(text, bad[i]);
    }
}

static void a_newer_version_is_refused_by_name(void **unused)
{
    (void)unused;
    put_file("ring.json", "{\"version\": 2, \"ring\": \"prod\"}");
    KMS_CLEANUP(kms_state_done) struct kms_state back = { 0 };
    bool is_new;
    struct kms_error err;
    assert_int_equal(read_state(&back, &is_new, &err), KMS_E_PRECONDITION);
    assert_contains(err.msg, "newer hsm-kms");
}

static void another_rings_file_is_refused(void **unused)
{
    (void)unused;
    KMS_CLEANUP(kms_state_done) struct kms_state state = { 0 };
    fill(&state);
    write_state(&state);
    KMS_CLEANUP(kms_state_done) struct kms_state back = { 0 };
    bool is_new;
    struct kms_error err;
    assert_int_equal(kms_state_read(dir_path, "test", &back, &is_new, &err), KMS_E_PRECONDITION);
    assert_contains(err.msg, "belongs to ring 'prod'");
}

static void a_second_daemon_is_refused(void **unused)
{
    (void)unused;
    struct kms_error err;
    KMS_CLEANUP(kms_state_dir_close_ptr) struct kms_state_dir *first = NULL;
    KMS_CLEANUP(kms_state_dir_close_ptr) struct kms_state_dir *second = NULL;
    assert_ok(kms_state_dir_open(dir_path, "prod", &first, &err), &err);
    assert_int_equal(kms_state_dir_open(dir_path, "prod", &second, &err), KMS_E_PRECONDITION);
    assert_contains(err.msg, "another hsm-kms");
}

static void a_directory_open_to_others_is_refused(void **unused)
{
    (void)unused;
    assert_int_equal(chmod(dir_path, 0750), 0);
    struct kms_error err;
    KMS_CLEANUP(kms_state_dir_close_ptr) struct kms_state_dir *dir = NULL;
    assert_int_equal(kms_state_dir_open(dir_path, "prod", &dir, &err), KMS_E_PRECONDITION);
    assert_contains(err.msg, "chmod 0700");
}

static void an_absent_directory_is_made_private(void **unused)
{
    (void)unused;
    assert_int_equal(rmdir(dir_path), 0);
    struct kms_error err;
    KMS_CLEANUP(kms_state_dir_close_ptr) struct kms_state_dir *dir = NULL;
    assert_ok(kms_state_dir_open(dir_path, "prod", &dir, &err), &err);
    struct stat info;
    assert_int_equal(stat(dir_path, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0700);
}

static void a_failed_write_leaves_the_old_file(void **unused)
{
    (void)unused;
    KMS_CLEANUP(kms_state_done) struct kms_state state = { 0 };
    fill(&state);
    struct kms_error err;
    KMS_CLEANUP(kms_state_dir_close_ptr) struct kms_state_dir *dir = NULL;
    assert_ok(kms_state_dir_open(dir_path, "prod", &dir, &err), &err);
    assert_ok(kms_state_dir_write(dir, &state, &err), &err);
    assert_int_equal(mkdir(path_of("ring.json.new"), 0700), 0); /* nothing can be written there */
    state.promoted = 2;
    assert_int_equal(kms_state_dir_write(dir, &state, &err), KMS_E_PRECONDITION);
    KMS_CLEANUP(kms_state_done) struct kms_state back = { 0 };
    bool is_new;
    assert_ok(read_state(&back, &is_new, &err), &err);
    assert_int_equal(back.promoted, 3);
}

#define WITH_DIR(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIR(what_is_written_is_read_back),
        WITH_DIR(drains_and_waivers_are_read_back),
        WITH_DIR(what_says_nothing_any_more_is_not_written),
        WITH_DIR(a_file_from_before_tokens_had_names_is_read),
        WITH_DIR(an_absent_file_means_a_new_node),
        WITH_DIR(an_absent_file_beside_the_marker_is_an_error),
        WITH_DIR(damaged_files_are_refused_and_left_alone),
        WITH_DIR(a_newer_version_is_refused_by_name),
        WITH_DIR(another_rings_file_is_refused),
        WITH_DIR(a_second_daemon_is_refused),
        WITH_DIR(a_directory_open_to_others_is_refused),
        WITH_DIR(an_absent_directory_is_made_private),
        WITH_DIR(a_failed_write_leaves_the_old_file),
    };
    return cmocka_run_group_tests_name("state_file", tests, NULL, NULL);
}
