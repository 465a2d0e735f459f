/* SPDX-License-Identifier: Apache-2.0 */
#include "ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "json.h"
#include "kms/fd.h"

#define FILE_NAME "snapshots.jsonl"

static const json_int_t UTC_MAX_S = 253402300799; /* 9999-12-31T23:59:59Z */
/* Of values: more than an etcd has, and too few for any sum of them to overflow. */
static const json_int_t COUNT_MAX = INT64_C(1) << 40;

static void free_text(char *const *text)
{
    free(*text);
}

static enum kms_code open_dir(const char *state_dir, int *ret_fd, struct kms_error *err)
{
    int fd = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "open", errno, "state_dir %s", state_dir);
    *ret_fd = fd;
    return KMS_OK;
}

bool kms_ledger_exists(const char *state_dir)
{
    struct kms_error ignored = { .code = KMS_OK };
    KMS_CLEANUP(kms_fd_done) int dir = -1;
    return open_dir(state_dir, &dir, &ignored) == KMS_OK && faccessat(dir, FILE_NAME, F_OK, 0) == 0;
}

/* --- adding --- */

/* NULL without memory; owned. */
static char *line_text(const struct kms_ledger_line *line)
{
    char digest[2 * KMS_SHA256_LEN + 1];
    kms_hex_encode((struct kms_bytes){ line->sha256, KMS_SHA256_LEN }, digest);
    KMS_CLEANUP(kms_json_done)
    json_t *object = json_pack("{s:i, s:s, s:I, s:I, s:[]}", "version", KMS_LEDGER_VERSION,
                               "sha256", digest, "time", (json_int_t)line->utc_s, "unsure",
                               (json_int_t)line->unsure, "keys");
    json_t *keys = json_object_get(object, "keys");
    for (size_t i = 0; i < line->key_count; i++) {
        const struct kms_ledger_key *key = &line->keys[i];
        json_t *item = json_pack("{s:s, s:I, s:I}", "key_id", key->key_id, "current",
                                 (json_int_t)key->current, "history", (json_int_t)key->history);
        if (json_array_append_new(keys, item) != 0)
            return NULL;
    }
    return object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;
}

/* A command that was killed told nobody that its line was there: it is cut off.  An editor may leave
 * out the end of a whole one, which is kept: no part of a line is JSON. */
static bool end_or_cut(int fd, off_t at, size_t len)
{
    KMS_CLEANUP(free_text) char *text = malloc(len);
    if (text == NULL || pread(fd, text, len, at) != (ssize_t)len)
        return false;
    KMS_CLEANUP(kms_json_done) json_t *line = json_loadb(text, len, 0, NULL);
    return line != NULL ? dprintf(fd, "\n") == 1 : ftruncate(fd, at) == 0;
}

static bool end_last_line(int fd)
{
    off_t end = lseek(fd, 0, SEEK_END);
    char last = '\0';
    off_t at = end;
    while (at > 0 && pread(fd, &last, 1, at - 1) == 1 && last != '\n')
        at--;
    if (end < 0 || (at > 0 && last != '\n'))
        return false;
    return at == end || end_or_cut(fd, at, (size_t)(end - at));
}

static bool add_line(int dir_fd, int fd, const char *text)
{
    return end_last_line(fd) && dprintf(fd, "%s\n", text) == (int)strlen(text) + 1 &&
           fsync(fd) == 0 && fsync(dir_fd) == 0;
}

enum kms_code kms_ledger_append(const char *state_dir, const struct kms_ledger_line *line,
                                struct kms_error *err)
{
    KMS_CLEANUP(free_text) char *text = line_text(line);
    if (text == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    KMS_CLEANUP(kms_fd_done) int dir_fd = -1;
    enum kms_code rc = open_dir(state_dir, &dir_fd, err);
    if (rc != KMS_OK)
        return rc;
    enum { FLAGS = O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW };
    KMS_CLEANUP(kms_fd_done) int fd = openat(dir_fd, FILE_NAME, FLAGS, 0600);
    /* no deadline: whoever holds it writes one line, and the kernel lets go when he dies */
    if (fd < 0 || flock(fd, LOCK_EX) != 0 || !add_line(dir_fd, fd, text))
        return kms_fail_errno(err, KMS_E_PRECONDITION, "write", errno, "%s/" FILE_NAME, state_dir);
    return KMS_OK;
}

/* --- finding --- */

struct search {
    const char *ring;
    uint32_t generation;
    int64_t since_utc_s;
};

/* A number from 0 to @max. */
static bool is_number(const json_t *value, json_int_t max)
{
    return json_is_integer(value) && json_integer_value(value) >= 0 &&
           json_integer_value(value) <= max;
}

/* How many values of @keys are under the generation.  False: it can't be read. */
static bool count_values(const json_t *keys, const struct search *search, uint64_t *ret_values)
{
    uint64_t values = 0;
    for (size_t i = 0; i < json_array_size(keys); i++) {
        const json_t *item = json_array_get(keys, i);
        const char *text = json_string_value(json_object_get(item, "key_id"));
        const json_t *current = json_object_get(item, "current");
        const json_t *history = json_object_get(item, "history");
        struct kms_key_id key_id;
        if (text == NULL || !is_number(current, COUNT_MAX) || !is_number(history, COUNT_MAX))
            return false;
        if (kms_key_id_parse(search->ring, kms_bytes_of(text), &key_id) &&
            key_id.generation == search->generation)
            values += (uint64_t)json_integer_value(current) + (uint64_t)json_integer_value(history);
    }
    *ret_values = values;
    return true;
}

/* False: it can't be read. */
static bool look_at(const json_t *line, const struct search *search, bool *found,
                    struct kms_ledger_need *need)
{
    const json_t *keys = json_object_get(line, "keys"), *time = json_object_get(line, "time");
    const json_t *unsure = json_object_get(line, "unsure");
    const char *digits = json_string_value(json_object_get(line, "sha256"));
    struct kms_ledger_need seen = { .utc_s = json_integer_value(time) };
    if (json_integer_value(json_object_get(line, "version")) != KMS_LEDGER_VERSION ||
        !is_number(time, UTC_MAX_S) || !is_number(unsure, COUNT_MAX) || !json_is_array(keys) ||
        digits == NULL || !kms_hex_decode(digits, seen.sha256, KMS_SHA256_LEN) ||
        !count_values(keys, search, &seen.values))
        return false;
    if (seen.utc_s < search->since_utc_s || (seen.values == 0 && json_integer_value(unsure) == 0))
        return true;
    *need = seen;
    *found = true;
    return true;
}

static enum kms_code search_file(FILE *file, const struct search *search, bool *ret_found,
                                 struct kms_ledger_need *ret_need, struct kms_error *err)
{
    KMS_CLEANUP(free_text) char *text = NULL;
    size_t capacity = 0, number = 0;
    bool found = false;
    struct kms_ledger_need need = { .utc_s = 0 };
    for (ssize_t len; (len = getline(&text, &capacity, file)) > 0;) {
        number++;
        KMS_CLEANUP(kms_json_done)
        json_t *line = json_loadb(text, (size_t)len, JSON_REJECT_DUPLICATES, NULL);
        if (!look_at(line, search, &found, &need))
            return kms_fail(err, KMS_E_PRECONDITION,
                            "line %zu of state_dir's " FILE_NAME
                            " can't be read: mend it, or move the file away and keep it",
                            number);
    }
    if (ferror(file) != 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "read", errno, FILE_NAME);
    *ret_found = found;
    if (found)
        *ret_need = need;
    return KMS_OK;
}

enum kms_code kms_ledger_find(const char *state_dir, const char *ring, uint32_t generation,
                              int64_t since_utc_s, bool *ret_found,
                              struct kms_ledger_need *ret_need, struct kms_error *err)
{
    KMS_CLEANUP(kms_fd_done) int dir_fd = -1;
    enum kms_code rc = open_dir(state_dir, &dir_fd, err);
    if (rc != KMS_OK)
        return rc;
    int fd = openat(dir_fd, FILE_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT) {
        *ret_found = false;
        return KMS_OK;
    }
    FILE *file = fd >= 0 ? fdopen(fd, "r") : NULL;
    if (file == NULL) {
        rc = kms_fail_errno(err, KMS_E_PRECONDITION, "open", errno, "%s/" FILE_NAME, state_dir);
        kms_fd_done(&fd);
        return rc;
    }
    const struct search search = { ring, generation, since_utc_s };
    rc = search_file(file, &search, ret_found, ret_need, err);
    (void)fclose(file);
    return rc;
}
