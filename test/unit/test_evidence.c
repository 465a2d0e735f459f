/* SPDX-License-Identifier: Apache-2.0 */
/* Which files of the audit log are taken, how they are cut, and what is said of all. */
#include "check.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "evidence.h"
#include "kms/fd.h"

#define LINE(seq, day)                                                                             \
    "{\"chain\":\"0123456789abcdef\",\"seq\":" seq ",\"prev\":"                                    \
    "\"0000000000000000000000000000000000000000000000000000000000000000\",\"ts\":\"2026-12-" day   \
    "T12:00:00.000Z\",\"type\":\"use\"}\n"
#define SEALED(seq, day)                                                                           \
    "{\"chain\":\"0123456789abcdef\",\"seq\":" seq ",\"prev\":"                                    \
    "\"0000000000000000000000000000000000000000000000000000000000000000\",\"ts\":\"2026-12-" day   \
    "T12:00:00.000Z\",\"type\":\"sealed\",\"key\":\"k\",\"number\":1,\"data\":\"AAAA\"}\n"
#define OPEN(seq, day, previous)                                                                   \
    "{\"chain\":\"0123456789abcdef\",\"seq\":" seq ",\"prev\":"                                    \
    "\"0000000000000000000000000000000000000000000000000000000000000000\",\"ts\":\"2026-12-" day   \
    "T12:00:00.000Z\",\"type\":\"open\",\"previous_file\":\"" previous "\"}\n"

enum { DAY_S = 24 * 60 * 60, FIRST_S = 1796126400 }; /* 2026-12-01T12:00:00Z */

struct bench {
    char dir[32];
    char log[64], out[64];
    struct kms_evidence evidence;
    struct kms_stage stage;
    struct kms_signals signals;
    struct kms_error err;
};

static int set_up(void **state)
{
    static struct bench bench;
    bench = (struct bench){ .dir = "/tmp/hsm-kms-proof-XXXXXX", .signals = { .fd = -1 } };
    bench.stage = (struct kms_stage){ .dir_fd = -1, .fd = -1, .files_fd = -1 };
    assert_non_null(mkdtemp(bench.dir));
    (void)snprintf(bench.log, sizeof(bench.log), "%s/log", bench.dir);
    (void)snprintf(bench.out, sizeof(bench.out), "%s/e.tar", bench.dir);
    bench.evidence.config.audit.path = strdup(bench.log);
    bench.evidence.config.ring = strdup("prod");
    bench.evidence.config.state_dir = strdup("/nowhere/at/all");
    bench.evidence.options.since_utc_s = FIRST_S;
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
    kms_signals_done(&bench->signals);
    kms_evidence_done(&bench->evidence);
    return nftw(bench->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void write_log(struct bench *bench, const char *end, const char *text)
{
    char path[96];
    (void)snprintf(path, sizeof(path), "%s.%s", bench->log, end);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && kms_fd_write(fd, kms_bytes_of(text)));
    (void)close(fd);
}

/* Those that are to be had, of the writer "serve": "serve.000000000002 serve" */
static const char *taken(struct bench *bench)
{
    static char names[256];
    size_t used = 0;
    names[0] = '\0';
    kms_evidence_plan_audit(&bench->evidence);
    for (size_t i = 0; i < bench->evidence.count; i++) {
        const struct kms_evidence_file *file = &bench->evidence.files[i];
        if (kms_evidence_is_there(file))
            used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s",
                                     used > 0 ? " " : "", file->name + strlen("audit/log."));
    }
    return names;
}

/* --- which files --- */

static void a_file_whose_last_line_is_of_that_second_is_taken(void **state)
{
    struct bench *bench = *state;
    write_log(bench, "serve.000000000002", LINE("1", "01") LINE("2", "02"));
    write_log(bench, "serve", LINE("3", "03"));
    bench->evidence.options.since_utc_s = FIRST_S + DAY_S;
    assert_string_equal(taken(bench), "serve.000000000002 serve");
}

static void a_file_whose_last_line_is_older_is_not(void **state)
{
    struct bench *bench = *state;
    write_log(bench, "serve.000000000002", LINE("1", "01") LINE("2", "02"));
    write_log(bench, "serve", LINE("3", "03"));
    bench->evidence.options.since_utc_s = FIRST_S + DAY_S + 1;
    assert_string_equal(taken(bench), "serve");
}

static void sealed_lines_have_their_time_in_the_clear(void **state)
{
    struct bench *bench = *state;
    write_log(bench, "serve.000000000001", SEALED("1", "01"));
    write_log(bench, "serve.000000000002", SEALED("2", "02"));
    write_log(bench, "serve", SEALED("3", "03"));
    bench->evidence.options.since_utc_s = FIRST_S + DAY_S;
    assert_string_equal(taken(bench), "serve.000000000002 serve");
}

static void since_the_future_only_the_one_that_is_written_is_taken(void **state)
{
    struct bench *bench = *state;
    write_log(bench, "serve.000000000002", LINE("1", "01") LINE("2", "02"));
    write_log(bench, "serve", LINE("3", "03"));
    bench->evidence.options.since_utc_s = FIRST_S + 1000 * INT64_C(86400);
    assert_string_equal(taken(bench), "serve");
}

static void a_file_that_can_not_be_judged_is_taken(void **state)
{
    struct bench *bench = *state;
    write_log(bench, "serve.000000000002", "garbage\n");
    write_log(bench, "serve.000000000003", "");
    write_log(bench, "serve", LINE("4", "03"));
    assert_string_equal(taken(bench), "serve.000000000002 serve.000000000003 serve");
}

static void what_is_named_otherwise_is_no_part_of_the_log(void **state)
{
    struct bench *bench = *state;
    write_log(bench, "serve.cut.000000000002", LINE("1", "05"));
    write_log(bench, "serve.lock", LINE("1", "05"));
    write_log(bench, "serve.12", LINE("1", "05"));
    write_log(bench, "serve.0000000000021", LINE("1", "05"));
    write_log(bench, "server.000000000002", LINE("1", "05"));
    write_log(bench, "serve", LINE("3", "03"));
    assert_string_equal(taken(bench), "serve");
}

static void a_second_name_of_the_one_that_is_written_is_the_same(void **state)
{
    struct bench *bench = *state;
    char live[96], rotated[128];
    write_log(bench, "serve", LINE("3", "03"));
    (void)snprintf(live, sizeof(live), "%s.serve", bench->log);
    (void)snprintf(rotated, sizeof(rotated), "%s.000000000003", live);
    assert_int_equal(link(live, rotated), 0);
    assert_string_equal(taken(bench), "serve");
}

static void what_is_not_written_yet_is_left_out_and_said(void **state)
{
    struct bench *bench = *state;
    assert_string_equal(taken(bench), "");
    assert_int_equal(bench->evidence.count, 2);
    assert_int_equal(bench->evidence.files[0].status, KMS_EVIDENCE_LEFT_OUT);
    assert_contains(bench->evidence.files[0].reason, "nothing shows that anything");
}

static void what_left_a_lock_or_a_rotated_file_is_missing(void **state)
{
    struct bench *bench = *state;
    write_log(bench, "serve.000000000002", LINE("1", "01") LINE("2", "02"));
    write_log(bench, "admin.lock", "");
    assert_string_equal(taken(bench), "serve.000000000002");
    assert_int_equal(bench->evidence.files[1].status, KMS_EVIDENCE_MISSING);
    assert_contains(bench->evidence.files[1].reason, "though log.serve.000000000002 is");
    assert_int_equal(bench->evidence.files[2].status, KMS_EVIDENCE_MISSING);
    assert_contains(bench->evidence.files[2].reason, "though log.admin.lock is");
}

/* --- from when on --- */

static void a_log_that_begins_too_late_is_a_finding(void **state)
{
    struct bench *bench = *state;
    write_log(bench, "serve.000000000003", LINE("3", "03"));
    write_log(bench, "serve", LINE("4", "04"));
    assert_string_equal(taken(bench), "serve.000000000003 serve");
    assert_int_equal(bench->evidence.files[0].status, KMS_EVIDENCE_FINDINGS);
    assert_contains(bench->evidence.files[0].reason, "the log begins at 2026-12-03T12:00:00.000Z");
    assert_int_equal(bench->evidence.files[1].status, KMS_EVIDENCE_OK);
    assert_string_equal(bench->evidence.writers[0].from, "2026-12-03T12:00:00.000Z");
    assert_string_equal(bench->evidence.writers[1].from, "");
}

static void a_log_that_begins_before_is_none(void **state)
{
    struct bench *bench = *state;
    write_log(bench, "serve", LINE("3", "01") LINE("4", "04"));
    bench->evidence.options.since_utc_s = FIRST_S + DAY_S;
    assert_string_equal(taken(bench), "serve");
    assert_int_equal(bench->evidence.files[0].status, KMS_EVIDENCE_OK);
}

static void a_chain_that_is_whole_may_begin_later(void **state)
{
    struct bench *bench = *state;
    write_log(bench, "serve", LINE("1", "03"));
    assert_string_equal(taken(bench), "serve");
    assert_int_equal(bench->evidence.files[0].status, KMS_EVIDENCE_OK);
    assert_string_equal(bench->evidence.writers[0].from, "2026-12-03T12:00:00.000Z");
}

static void a_log_whose_earlier_file_was_left_aside_is_whole(void **state)
{
    struct bench *bench = *state;
    write_log(bench, "serve.000000000002", LINE("1", "01") LINE("2", "02"));
    write_log(bench, "serve", OPEN("3", "04", "log.serve.000000000002"));
    bench->evidence.options.since_utc_s = FIRST_S + DAY_S + 1;
    assert_string_equal(taken(bench), "serve");
    assert_int_equal(bench->evidence.files[0].status, KMS_EVIDENCE_OK);
}

static void a_log_whose_name_is_not_ascii_has_another_in_the_archive(void **state)
{
    struct bench *bench = *state;
    (void)snprintf(bench->log, sizeof(bench->log), "%s/l\xc3\xb6g", bench->dir);
    free(bench->evidence.config.audit.path);
    bench->evidence.config.audit.path = strdup(bench->log);
    write_log(bench, "serve.000000000002", LINE("1", "01") LINE("2", "02"));
    write_log(bench, "serve", LINE("3", "03"));
    assert_string_equal(taken(bench), "serve.000000000002 serve");
    assert_contains(bench->evidence.files[0].from, "/l\xc3\xb6g.serve.000000000002");
}

static void a_directory_that_is_not_there_is_missing(void **state)
{
    struct bench *bench = *state;
    free(bench->evidence.config.audit.path);
    bench->evidence.config.audit.path = strdup("/nowhere/at/all/log");
    assert_string_equal(taken(bench), "");
    assert_int_equal(bench->evidence.files[0].status, KMS_EVIDENCE_MISSING);
    assert_contains(bench->evidence.files[0].reason, "No such file");
}

static void the_last_time_is_that_of_the_last_whole_line(void **state)
{
    struct bench *bench = *state;
    char time[KMS_RFC3339_LEN + 1], path[96];
    write_log(bench, "serve", LINE("1", "01") LINE("2", "02") "{\"chain\":\"01");
    (void)snprintf(path, sizeof(path), "%s.serve", bench->log);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    kms_evidence_last_time(fd, time);
    (void)close(fd);
    assert_string_equal(time, "2026-12-02T12:00:00.000Z");
}

static void no_whole_line_has_no_time(void **state)
{
    struct bench *bench = *state;
    char time[KMS_RFC3339_LEN + 1], path[96];
    write_log(bench, "serve", "{\"chain\":\"01");
    (void)snprintf(path, sizeof(path), "%s.serve", bench->log);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    kms_evidence_last_time(fd, time);
    (void)close(fd);
    assert_string_equal(time, "");
}

/* --- copies --- */

static enum kms_code gather(struct bench *bench)
{
    assert_ok(kms_signals_init(&bench->signals, &bench->err), &bench->err);
    assert_ok(kms_stage_open(bench->out, &bench->stage, &bench->err), &bench->err);
    return kms_evidence_gather(&bench->evidence, &bench->stage, &bench->signals, &bench->err);
}

static struct kms_evidence_file *find(struct bench *bench, const char *name)
{
    for (size_t i = 0; i < bench->evidence.count; i++)
        if (strcmp(bench->evidence.files[i].name, name) == 0)
            return &bench->evidence.files[i];
    fail_msg("no %s", name);
    return NULL;
}

static void an_incomplete_last_line_is_cut_off(void **state)
{
    struct bench *bench = *state;
    static const char whole[] = LINE("1", "01") LINE("2", "02");
    char copy[sizeof(whole) + 64] = "";
    write_log(bench, "serve", LINE("1", "01") LINE("2", "02") "{\"chain\":\"01");
    (void)taken(bench);
    assert_ok(gather(bench), &bench->err);
    assert_int_equal(find(bench, "audit/log.serve")->size, sizeof(whole) - 1);
    int fd = openat(bench->stage.files_fd, "audit/log.serve", O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, copy, sizeof(copy)), sizeof(whole) - 1);
    (void)close(fd);
    assert_string_equal(copy, whole);
}

static void a_file_larger_than_a_chunk_is_copied_whole(void **state)
{
    struct bench *bench = *state;
    char path[96];
    (void)snprintf(path, sizeof(path), "%s.serve", bench->log);
    FILE *out = fopen(path, "we");
    for (int i = 0; i < 4000; i++)
        (void)fputs(LINE("1", "01"), out);
    (void)fputs("cut", out);
    (void)fclose(out);
    (void)taken(bench);
    assert_ok(gather(bench), &bench->err);
    assert_int_equal(find(bench, "audit/log.serve")->size, 4000 * strlen(LINE("1", "01")));
}

static void a_file_without_a_whole_line_is_missing(void **state)
{
    struct bench *bench = *state;
    write_log(bench, "serve", "{\"chain\":\"01");
    (void)taken(bench);
    assert_ok(gather(bench), &bench->err);
    assert_int_equal(find(bench, "audit/log.serve")->status, KMS_EVIDENCE_MISSING);
    assert_contains(find(bench, "audit/log.serve")->reason, "no whole line");
    assert_int_not_equal(faccessat(bench->stage.files_fd, "audit/log.serve", F_OK, 0), 0);
}

static void what_is_written_after_a_rotation_is_not_lost(void **state)
{
    struct bench *bench = *state;
    char live[96], rotated[128];
    write_log(bench, "serve", LINE("1", "01"));
    (void)taken(bench);
    (void)snprintf(live, sizeof(live), "%s.serve", bench->log);
    (void)snprintf(rotated, sizeof(rotated), "%s.000000000001", live);
    assert_int_equal(rename(live, rotated), 0);
    write_log(bench, "serve", "");
    assert_ok(gather(bench), &bench->err);
    assert_int_equal(find(bench, "audit/log.serve")->size, strlen(LINE("1", "01")));
}

static void a_statement_of_too_many_bytes_ends_it(void **state)
{
    struct bench *bench = *state;
    char path[64];
    (void)snprintf(path, sizeof(path), "%s/big", bench->dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(ftruncate(fd, KMS_EVIDENCE_STATEMENT_BYTES_MAX + 1), 0);
    (void)close(fd);
    struct kms_evidence_file *file = kms_evidence_add(&bench->evidence, "operator/big", "",
                                                      KMS_EVIDENCE_COPY);
    file->from = strdup(path);
    file->by_operator = true;
    assert_int_equal(gather(bench), KMS_E_INVALID);
    assert_contains(bench->err.msg, "more than 16 MiB");
}

static void add_statement(struct bench *bench, const char *path)
{
    struct kms_evidence_file *file = kms_evidence_add(&bench->evidence, "operator/statement",
                                                      "what it is", KMS_EVIDENCE_COPY);
    file->from = strdup(path);
    file->by_operator = true;
}

static void a_pin_by_another_name_is_no_statement(void **state)
{
    struct bench *bench = *state;
    char pin[96], other[64];
    write_log(bench, "pin", "1234");
    (void)snprintf(pin, sizeof(pin), "%s.pin", bench->log);
    (void)snprintf(other, sizeof(other), "%s/other", bench->dir);
    assert_int_equal(link(pin, other), 0);
    bench->evidence.config.tokens = calloc(1, sizeof(struct kms_config_token));
    bench->evidence.config.tokens[0].pin_file = strdup(pin);
    bench->evidence.config.token_count = 1;
    add_statement(bench, other);
    assert_int_equal(gather(bench), KMS_E_INVALID);
    assert_contains(bench->err.msg, "is the PIN of a token, and no statement");
}

static void a_file_of_state_dir_is_no_statement(void **state)
{
    struct bench *bench = *state;
    char path[96];
    write_log(bench, "ring", "{}");
    (void)snprintf(path, sizeof(path), "%s.ring", bench->log);
    free(bench->evidence.config.state_dir);
    bench->evidence.config.state_dir = strdup(bench->dir);
    add_statement(bench, path);
    assert_int_equal(gather(bench), KMS_E_INVALID);
    assert_contains(bench->err.msg, "is a file of state_dir");
}

static void a_signal_ends_it_between_two_files(void **state)
{
    struct bench *bench = *state;
    write_log(bench, "serve", LINE("1", "01"));
    (void)taken(bench);
    assert_ok(kms_signals_init(&bench->signals, &bench->err), &bench->err);
    assert_ok(kms_stage_open(bench->out, &bench->stage, &bench->err), &bench->err);
    assert_int_equal(raise(SIGTERM), 0);
    assert_int_equal(
        kms_evidence_gather(&bench->evidence, &bench->stage, &bench->signals, &bench->err),
        KMS_E_UNAVAILABLE);
}

/* --- what is said of them --- */

static struct kms_evidence_file *add_made(struct bench *bench, const char *name)
{
    struct kms_evidence_file *file = kms_evidence_add(&bench->evidence, name, "what it is",
                                                      KMS_EVIDENCE_COMMAND);
    kms_evidence_argv(file, "hsm-kms");
    kms_evidence_argv(file, "key");
    file->ending = (struct kms_evidence_ending){ KMS_CHILD_EXITED, 2, FIRST_S, 17 };
    (void)snprintf(file->digest, sizeof(file->digest), "%064d", 7);
    return file;
}

static const char *member(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

static json_t *entry_of(const struct bench *bench, json_t **ret_manifest)
{
    *ret_manifest = kms_evidence_manifest(&bench->evidence);
    return json_array_get(json_object_get(*ret_manifest, "files"), 0);
}

static void the_manifest_tells_how_a_file_came_to_be(void **state)
{
    struct bench *bench = *state;
    json_t *manifest = NULL;
    struct kms_evidence_file *file = add_made(bench, "a.json");
    kms_evidence_set(file, KMS_EVIDENCE_FINDINGS, "why");
    file->said = strdup("one\ntwo \x1b[0m\n");
    const json_t *entry = entry_of(bench, &manifest);
    assert_string_equal(member(entry, "status"), "findings");
    assert_int_equal(json_integer_value(json_object_get(entry, "exit_status")), 2);
    assert_contains(member(entry, "exit_meaning"), "wants mending");
    assert_string_equal(member(entry, "started"), "2026-12-01T12:00:00Z");
    assert_int_equal(json_integer_value(json_object_get(entry, "duration_ms")), 17);
    assert_string_equal(member(entry, "sha256"), file->digest);
    assert_int_equal(json_array_size(json_object_get(entry, "command")), 2);
    const json_t *said = json_object_get(entry, "stderr");
    assert_int_equal(json_array_size(said), 2);
    assert_string_equal(json_string_value(json_array_get(said, 1)), "two \\x1b[0m");
    json_decref(manifest);
}

static void notes_are_in_the_manifest_and_the_readme_once(void **state)
{
    struct bench *bench = *state;
    json_t *manifest = NULL;
    char *text = NULL;
    size_t len = 0;
    struct kms_evidence_file *file = add_made(bench, "a.json");
    kms_evidence_note(file, "%d of 2", 1);
    kms_evidence_note(file, "%d of 2", 1);
    kms_evidence_note(file, "other");
    const json_t *notes = json_object_get(entry_of(bench, &manifest), "notes");
    assert_int_equal(json_array_size(notes), 2);
    assert_string_equal(json_string_value(json_array_get(notes, 0)), "1 of 2");
    json_decref(manifest);
    FILE *out = open_memstream(&text, &len);
    kms_evidence_readme(&bench->evidence, out);
    (void)fclose(out);
    assert_contains(text, "  1 of 2\n");
    free(text);
}

static void the_manifest_has_no_digest_of_what_is_missing(void **state)
{
    struct bench *bench = *state;
    json_t *manifest = NULL;
    struct kms_evidence_file *file = add_made(bench, "a.json");
    kms_evidence_set(file, KMS_EVIDENCE_MISSING, "the command wasn't done");
    file->ending.how = KMS_CHILD_LATE;
    const json_t *entry = entry_of(bench, &manifest);
    assert_string_equal(member(entry, "status"), "missing");
    assert_string_equal(member(entry, "reason"), "the command wasn't done");
    assert_string_equal(member(entry, "exit_meaning"), "killed at its deadline");
    assert_true(json_is_null(json_object_get(entry, "exit_status")));
    assert_true(json_is_null(json_object_get(entry, "sha256")));
    json_decref(manifest);
}

static void the_sums_have_what_is_there_as_sha256sum_wants_it(void **state)
{
    struct bench *bench = *state;
    char *text = NULL;
    size_t len = 0;
    (void)add_made(bench, "a.json");
    kms_evidence_set(add_made(bench, "b.json"), KMS_EVIDENCE_MISSING, "gone");
    kms_evidence_set(add_made(bench, "c.json"), KMS_EVIDENCE_FINDINGS, "found");
    FILE *out = open_memstream(&text, &len);
    kms_evidence_sums(&bench->evidence, out);
    (void)fclose(out);
    assert_string_equal(
        text, "0000000000000000000000000000000000000000000000000000000000000007  a.json\n"
              "0000000000000000000000000000000000000000000000000000000000000007  c.json\n");
    free(text);
}

static void the_readme_says_what_is_missing_and_what_is_not_proved(void **state)
{
    struct bench *bench = *state;
    char *text = NULL;
    size_t len = 0;
    kms_evidence_set(add_made(bench, "b.json"), KMS_EVIDENCE_MISSING, "gone");
    FILE *out = open_memstream(&text, &len);
    kms_evidence_readme(&bench->evidence, out);
    (void)fclose(out);
    assert_contains(text, "missing: gone");
    assert_contains(text, "Labelled:");
    assert_contains(text, "What this doesn't prove");
    assert_contains(text, "not the one in audit/");
    free(text);
}

static void names_that_sha256sum_or_tar_would_escape_are_refused(void **state)
{
    (void)state;
    assert_null(kms_evidence_check_name("statement of 2026.pdf"));
    assert_non_null(kms_evidence_check_name(""));
    assert_non_null(kms_evidence_check_name(".hidden"));
    assert_non_null(kms_evidence_check_name(".."));
    assert_non_null(kms_evidence_check_name("a\\b"));
    assert_non_null(kms_evidence_check_name("a\nb"));
    assert_non_null(kms_evidence_check_name("\xc3\xa4"));
}

static void os_release_is_read_with_and_without_quotes(void **state)
{
    (void)state;
    json_t *object = json_object();
    kms_os_release_json("# no\nID=debian\nNAME=\"A B\"\nEMPTY=\nbad\nlower=1\nLAST=\"x", object);
    assert_string_equal(member(object, "ID"), "debian");
    assert_string_equal(member(object, "NAME"), "A B");
    assert_string_equal(member(object, "LAST"), "\"x");
    assert_true(json_is_null(json_object_get(object, "EMPTY")));
    assert_int_equal(json_object_size(object), 4);
    json_decref(object);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_file_whose_last_line_is_of_that_second_is_taken),
        TEST(a_file_whose_last_line_is_older_is_not),
        TEST(sealed_lines_have_their_time_in_the_clear),
        TEST(since_the_future_only_the_one_that_is_written_is_taken),
        TEST(a_file_that_can_not_be_judged_is_taken),
        TEST(what_is_named_otherwise_is_no_part_of_the_log),
        TEST(a_second_name_of_the_one_that_is_written_is_the_same),
        TEST(what_is_not_written_yet_is_left_out_and_said),
        TEST(what_left_a_lock_or_a_rotated_file_is_missing),
        TEST(a_log_that_begins_too_late_is_a_finding),
        TEST(a_log_that_begins_before_is_none),
        TEST(a_chain_that_is_whole_may_begin_later),
        TEST(a_log_whose_earlier_file_was_left_aside_is_whole),
        TEST(a_pin_by_another_name_is_no_statement),
        TEST(a_file_of_state_dir_is_no_statement),
        TEST(notes_are_in_the_manifest_and_the_readme_once),
        TEST(a_log_whose_name_is_not_ascii_has_another_in_the_archive),
        TEST(a_directory_that_is_not_there_is_missing),
        TEST(the_last_time_is_that_of_the_last_whole_line),
        TEST(no_whole_line_has_no_time),
        TEST(an_incomplete_last_line_is_cut_off),
        TEST(a_file_larger_than_a_chunk_is_copied_whole),
        TEST(a_file_without_a_whole_line_is_missing),
        TEST(what_is_written_after_a_rotation_is_not_lost),
        TEST(a_statement_of_too_many_bytes_ends_it),
        TEST(a_signal_ends_it_between_two_files),
        TEST(the_manifest_tells_how_a_file_came_to_be),
        TEST(the_manifest_has_no_digest_of_what_is_missing),
        TEST(the_sums_have_what_is_there_as_sha256sum_wants_it),
        TEST(the_readme_says_what_is_missing_and_what_is_not_proved),
        TEST(names_that_sha256sum_or_tar_would_escape_are_refused),
        TEST(os_release_is_read_with_and_without_quotes),
    };
    return cmocka_run_group_tests_name("evidence", tests, NULL, NULL);
}
