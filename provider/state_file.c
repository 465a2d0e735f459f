/* SPDX-License-Identifier: Apache-2.0 */
/* ring.json and the directory that it is in. */
#include "state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "durable.h"
#include "keyid.h"
#include "kms/clock.h"

enum { PATH_BYTES = 4096, FILE_MAX_BYTES = 4 << 20 };

#define RING_FILE "ring.json"
#define SERVED_FILE "served"
#define LOCK_FILE "lock"

/* --- reading --- */

static bool read_generation(const json_t *value, uint32_t lowest, uint32_t *ret_generation)
{
    json_int_t number = json_is_integer(value) ? json_integer_value(value) : -1;
    if (number < lowest || number > KMS_GENERATION_MAX)
        return false;
    *ret_generation = (uint32_t)number;
    return true;
}

static bool read_text(const json_t *value, char *ret_text, size_t size)
{
    const char *text = json_string_value(value);
    if (text == NULL || strlen(text) >= size)
        return false;
    snprintf(ret_text, size, "%s", text);
    return true;
}

static bool read_token(const json_t *value, char ret_name[static KMS_TOKEN_NAME_MAX + 1])
{
    return read_text(value, ret_name, KMS_TOKEN_NAME_MAX + 1) && kms_token_name_is_valid(ret_name);
}

/* Before tokens had names there was one, of which a file has just the serial. */
static bool read_serial(const json_t *value, struct kms_pin *pin)
{
    char serial[sizeof pin->tokens[0].serial];
    if (!read_text(value, serial, sizeof serial))
        return false;
    kms_state_confirm(pin, "token-1", serial);
    return true;
}

static bool read_confirmation(const json_t *item, struct kms_pin *pin)
{
    struct kms_confirmation token;
    return read_token(json_object_get(item, "name"), token.name) &&
           read_text(json_object_get(item, "serial"), token.serial, sizeof token.serial) &&
           kms_pin_confirmation(pin, token.name) == NULL &&
           kms_state_confirm(pin, token.name, token.serial);
}

static bool read_confirmations(const json_t *list, struct kms_pin *pin)
{
    if (!json_is_array(list) || json_array_size(list) > KMS_TOKENS_MAX)
        return false;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        if (json_is_string(item) ? !read_serial(item, pin) : !read_confirmation(item, pin))
            return false;
    }
    return true;
}

static bool read_pins(const json_t *list, struct kms_state *state)
{
    if (!json_is_array(list))
        return false;
    size_t count = json_array_size(list);
    state->pins = calloc(count > 0 ? count : 1, sizeof *state->pins);
    uint32_t last = 0;
    for (size_t i = 0; i < count && state->pins != NULL; i++) {
        const json_t *item = json_array_get(list, i);
        struct kms_pin *pin = &state->pins[i];
        const char *digits = json_string_value(json_object_get(item, "fingerprint"));
        if (!read_generation(json_object_get(item, "generation"), last + 1, &pin->generation) ||
            digits == NULL || !kms_hex_decode(digits, pin->fingerprint, KMS_FINGERPRINT_LEN) ||
            !read_confirmations(json_object_get(item, "tokens"), pin))
            return false;
        last = pin->generation;
        state->pin_count++;
    }
    return state->pins != NULL;
}

static bool read_tombstones(const json_t *list, struct kms_state *state)
{
    if (!json_is_array(list))
        return false;
    size_t count = json_array_size(list);
    state->tombstones = calloc(count > 0 ? count : 1, sizeof *state->tombstones);
    uint32_t last = 0;
    for (size_t i = 0; i < count && state->tombstones != NULL; i++) {
        if (!read_generation(json_array_get(list, i), last + 1, &state->tombstones[i]))
            return false;
        last = state->tombstones[i];
        state->tombstone_count++;
    }
    return state->tombstones != NULL;
}

/* Absent: no token is drained. */
static bool read_drains(const json_t *list, struct kms_state *state)
{
    if (list == NULL)
        return true;
    if (!json_is_array(list) || json_array_size(list) > KMS_TOKENS_MAX)
        return false;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        struct kms_drain drain;
        const char *until = json_string_value(json_object_get(item, "until"));
        if (!read_token(json_object_get(item, "token"), drain.token) || until == NULL ||
            !kms_rfc3339_parse(until, &drain.until_utc_s) || drain.until_utc_s <= 0 ||
            kms_state_drained_until(state, drain.token) != 0)
            return false;
        state->drains[state->drain_count++] = drain;
    }
    return true;
}

/* Absent: nothing is waived. */
static bool read_waivers(const json_t *list, struct kms_state *state)
{
    if (list == NULL)
        return true;
    if (!json_is_array(list))
        return false;
    size_t count = json_array_size(list);
    state->waivers = calloc(count > 0 ? count : 1, sizeof *state->waivers);
    for (size_t i = 0; i < count && state->waivers != NULL; i++) {
        const json_t *item = json_array_get(list, i);
        struct kms_waiver *waiver = &state->waivers[i];
        if (!read_generation(json_object_get(item, "generation"), 1, &waiver->generation) ||
            !read_token(json_object_get(item, "token"), waiver->token) ||
            (i > 0 && kms_waiver_order(waiver - 1, waiver) >= 0))
            return false;
        state->waiver_count++;
    }
    return state->waivers != NULL;
}

static enum kms_code damaged(const char *path, const char *what, struct kms_error *err)
{
    return kms_fail(
        err, KMS_E_PRECONDITION,
        "%s: %s; it holds this node's pins: restore it from a backup, or, if you know "
        "every KEK on the token, move the whole state directory away to trust them anew",
        path, what);
}

static enum kms_code state_from_json(const json_t *root, const char *path, const char *ring,
                                     struct kms_state *ret_state, struct kms_error *err)
{
    if (!json_is_object(root))
        return damaged(path, "is not a JSON object", err);
    const json_t *version = json_object_get(root, "version");
    if (!json_is_integer(version) || json_integer_value(version) < 1)
        return damaged(path, "has no version", err);
    if (json_integer_value(version) > KMS_STATE_VERSION)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "%s: version %lld was written by a newer hsm-kms (this one knows %d); "
                        "nothing was changed: run the newer release",
                        path, (long long)json_integer_value(version), (int)KMS_STATE_VERSION);

    const char *name = json_string_value(json_object_get(root, "ring"));
    if (name == NULL)
        return damaged(path, "names no ring", err);
    if (strcmp(name, ring) != 0)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "%s belongs to ring '%.24s', the configuration says '%s': one state_dir "
                        "serves one ring",
                        path, name, ring);

    KMS_CLEANUP(kms_state_done) struct kms_state state = { 0 };
    if (!read_generation(json_object_get(root, "promoted"), 0, &state.promoted))
        return damaged(path, "has no valid 'promoted'", err);
    if (!read_pins(json_object_get(root, "pins"), &state))
        return damaged(path, "has no valid 'pins'", err);
    if (!read_tombstones(json_object_get(root, "tombstones"), &state))
        return damaged(path, "has no valid 'tombstones'", err);
    if (!read_drains(json_object_get(root, "drained"), &state))
        return damaged(path, "has no valid 'drained'", err);
    if (!read_waivers(json_object_get(root, "waived"), &state))
        return damaged(path, "has no valid 'waived'", err);
    if (state.promoted != 0 && kms_state_pin(&state, state.promoted) == NULL)
        return damaged(path, "promotes a generation that it doesn't pin", err);
    *ret_state = state;
    state = (struct kms_state){ 0 };
    return KMS_OK;
}

static bool file_exists(const char *dir, const char *name)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return access(path, F_OK) == 0;
}

static enum kms_code read_absent(const char *state_dir, struct kms_state *ret_state, bool *ret_new,
                                 struct kms_error *err)
{
    if (file_exists(state_dir, SERVED_FILE))
        return kms_fail(err, KMS_E_PRECONDITION,
                        "%s/" RING_FILE " is gone, but this node has served before: restore it "
                        "from a backup, or remove %s/" SERVED_FILE " to trust the token anew",
                        state_dir, state_dir);
    *ret_state = (struct kms_state){ 0 };
    *ret_new = true;
    return KMS_OK;
}

enum kms_code kms_state_read(const char *state_dir, const char *ring, struct kms_state *ret_state,
                             bool *ret_new, struct kms_error *err)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/" RING_FILE, state_dir);
    FILE *file = fopen(path, "re");
    if (file == NULL && errno == ENOENT)
        return read_absent(state_dir, ret_state, ret_new, err);
    if (file == NULL)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "open", errno, "can't read %s", path);

    struct stat info;
    bool sane = fstat(fileno(file), &info) == 0 && S_ISREG(info.st_mode) &&
                info.st_size <= FILE_MAX_BYTES;
    json_error_t fault = { .line = -1 };
    json_t *root = sane ? json_loadf(file, JSON_REJECT_DUPLICATES, &fault) : NULL;
    fclose(file);
    if (root == NULL) {
        char what[128];
        snprintf(what, sizeof what, "can't be parsed (line %d)", fault.line);
        return damaged(path, what, err);
    }
    enum kms_code rc = state_from_json(root, path, ring, ret_state, err);
    json_decref(root);
    if (rc == KMS_OK)
        *ret_new = false;
    return rc;
}

/* --- writing --- */

struct kms_state_dir {
    char *path;
    char *ring;
    int dir_fd;
    int lock_fd;
};

void kms_state_dir_close(struct kms_state_dir *dir)
{
    if (dir == NULL)
        return;
    if (dir->lock_fd >= 0)
        close(dir->lock_fd);
    if (dir->dir_fd >= 0)
        close(dir->dir_fd);
    free(dir->path);
    free(dir->ring);
    free(dir);
}

static enum kms_code check_dir(const struct kms_state_dir *dir, struct kms_error *err)
{
    struct stat info;
    if (fstat(dir->dir_fd, &info) != 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "fstat", errno, "state_dir %s", dir->path);
    if (info.st_uid != geteuid())
        return kms_fail(err, KMS_E_PRECONDITION,
                        "state_dir %s belongs to uid %u, but serve runs as uid %u: chown it",
                        dir->path, (unsigned)info.st_uid, (unsigned)geteuid());
    if ((info.st_mode & 077) != 0)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "state_dir %s has mode %04o, others could change this node's pins: "
                        "chmod 0700 it",
                        dir->path, (unsigned)(info.st_mode & 07777));
    return KMS_OK;
}

static enum kms_code lock_dir(struct kms_state_dir *dir, struct kms_error *err)
{
    dir->lock_fd = openat(dir->dir_fd, LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (dir->lock_fd < 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "open", errno, "can't open %s/" LOCK_FILE,
                              dir->path);
    if (flock(dir->lock_fd, LOCK_EX | LOCK_NB) != 0)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "another hsm-kms serves with state_dir %s (its lock is held): stop it, or "
                        "give this one a state_dir of its own",
                        dir->path);
    return KMS_OK;
}

enum kms_code kms_state_dir_open(const char *path, const char *ring, struct kms_state_dir **ret_dir,
                                 struct kms_error *err)
{
    KMS_CLEANUP(kms_state_dir_close_ptr) struct kms_state_dir *dir = calloc(1, sizeof *dir);
    if (dir == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    dir->dir_fd = dir->lock_fd = -1;
    dir->path = strdup(path);
    dir->ring = strdup(ring);
    if (dir->path == NULL || dir->ring == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");

    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "mkdir", errno, "can't make state_dir %s",
                              path);
    dir->dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir->dir_fd < 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "open", errno, "can't open state_dir %s",
                              path);
    enum kms_code rc = check_dir(dir, err);
    if (rc == KMS_OK)
        rc = lock_dir(dir, err);
    if (rc != KMS_OK)
        return rc;
    *ret_dir = dir;
    dir = NULL;
    return KMS_OK;
}

/* --- as text: NULL for want of memory, so that nothing lost for that is written down as gone --- */

/* Appends @item, made by json_pack(), to the list at @list; after a failure *@list is NULL. */
static void append(json_t **list, json_t *item)
{
    if (json_array_append_new(*list, item) == 0)
        return;
    json_decref(*list);
    *list = NULL;
}

static json_t *pin_to_json(const struct kms_pin *pin)
{
    char digits[2 * KMS_FINGERPRINT_LEN + 1];
    kms_hex_encode((struct kms_bytes){ pin->fingerprint, KMS_FINGERPRINT_LEN }, digits);
    json_t *tokens = json_array();
    for (size_t i = 0; i < pin->token_count; i++)
        append(&tokens, json_pack("{s:s, s:s}", "name", pin->tokens[i].name, "serial",
                                  pin->tokens[i].serial));
    return json_pack("{s:I, s:s, s:o}", "generation", (json_int_t)pin->generation, "fingerprint",
                     digits, "tokens", tokens);
}

static json_t *pins_to_json(const struct kms_state *state)
{
    json_t *list = json_array();
    for (size_t i = 0; i < state->pin_count; i++)
        append(&list, pin_to_json(&state->pins[i]));
    return list;
}

static json_t *tombstones_to_json(const struct kms_state *state)
{
    json_t *list = json_array();
    for (size_t i = 0; i < state->tombstone_count; i++)
        append(&list, json_integer((json_int_t)state->tombstones[i]));
    return list;
}

static json_t *drains_to_json(const struct kms_state *state)
{
    json_t *list = json_array();
    for (size_t i = 0; i < state->drain_count; i++) {
        char until[KMS_RFC3339_LEN + 1];
        kms_rfc3339_format(state->drains[i].until_utc_s, until);
        append(&list, json_pack("{s:s, s:s}", "token", state->drains[i].token, "until", until));
    }
    return list;
}

static json_t *waivers_to_json(const struct kms_state *state)
{
    json_t *list = json_array();
    for (size_t i = 0; i < state->waiver_count; i++)
        append(&list,
               json_pack("{s:I, s:s}", "generation", (json_int_t)state->waivers[i].generation,
                         "token", state->waivers[i].token));
    return list;
}

static char *state_to_text(const struct kms_state *state, const char *ring)
{
    json_t *root = json_pack("{s:i, s:s, s:I, s:o, s:o, s:o, s:o}", "version", KMS_STATE_VERSION,
                             "ring", ring, "promoted", (json_int_t)state->promoted, "pins",
                             pins_to_json(state), "tombstones", tombstones_to_json(state),
                             "drained", drains_to_json(state), "waived", waivers_to_json(state));
    char *text = root != NULL ? json_dumps(root, JSON_INDENT(2)) : NULL;
    json_decref(root);
    return text;
}

const char *kms_state_dir_path(const struct kms_state_dir *dir)
{
    return dir->path;
}

enum kms_code kms_state_dir_write(struct kms_state_dir *dir, const struct kms_state *state,
                                  struct kms_error *err)
{
    KMS_CLEANUP(kms_state_done) struct kms_state tidy = { 0 };
    enum kms_code rc = kms_state_copy(state, &tidy, err);
    if (rc != KMS_OK)
        return rc;
    kms_state_tidy(&tidy, kms_utc_s());
    char *text = state_to_text(&tidy, dir->ring);
    if (text == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    rc = kms_durable_replace(dir->dir_fd, RING_FILE, text, err);
    free(text);
    if (rc != KMS_OK || file_exists(dir->path, SERVED_FILE))
        return rc;
    return kms_durable_replace(dir->dir_fd, SERVED_FILE,
                               "this node has served: " RING_FILE " must not get lost", err);
}
