/* SPDX-License-Identifier: Apache-2.0 */
#include "doctor_unit.h"

#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster/small_file.h"

/* In systemd's own order: the first that has the unit, or a drop-in of a name, counts. */
static const char *const directories[] = { "/etc/systemd/system", "/run/systemd/system",
                                           "/usr/local/lib/systemd/system",
                                           "/usr/lib/systemd/system", "/lib/systemd/system" };
enum { DIRECTORY_COUNT = sizeof(directories) / sizeof(directories[0]) };

static void unit_path(const struct kms_doctor *doctor, const char *directory, const char *rest,
                      char ret_path[static KMS_DOCTOR_PATH_MAX])
{
    char path[KMS_DOCTOR_PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s/%s", directory, rest);
    kms_doctor_host_path(doctor, path, ret_path);
}

/* A link to /dev/null stands for no unit at all. */
static bool is_masked(const char *path)
{
    char target[16];
    ssize_t len = readlink(path, target, sizeof(target));
    return len == 9 && memcmp(target, "/dev/null", 9) == 0;
}

/* False: there is none. */
static bool find_unit(const struct kms_doctor *doctor, const char *unit,
                      char ret_path[static KMS_DOCTOR_PATH_MAX])
{
    for (size_t i = 0; i < DIRECTORY_COUNT; i++) {
        unit_path(doctor, directories[i], unit, ret_path);
        if (is_masked(ret_path))
            return false;
        if (access(ret_path, R_OK) == 0)
            return true;
    }
    return false;
}

bool kms_unit_exists(const struct kms_doctor *doctor, const char *unit)
{
    char path[KMS_DOCTOR_PATH_MAX];
    return find_unit(doctor, unit, path);
}

/* --- a file --- */

static const char blanks[] = " \t\r";

/* Takes the line at *at, with the lines that a backslash at its end joins to it (comments between them
 * are passed over), and moves *at behind it.  False: there are no more.  The text is changed: what is
 * returned starts at its first character and ends with a NUL. */
static bool next_line(char **at, char **ret_line)
{
    char *from = *at, *end = *at;
    bool joined = false;
    if (*from == '\0')
        return false;
    *ret_line = from + strspn(from, blanks);
    while (*from != '\0') {
        char *start = from + strspn(from, blanks);
        size_t len = strcspn(start, "\n");
        from = start + len + (start[len] == '\n' ? 1 : 0);
        if (joined && (start[0] == '#' || start[0] == ';'))
            continue;
        if (!joined)
            end = start;
        memmove(end, start, len);
        end += len;
        joined = len > 0 && end[-1] == '\\' && (*ret_line)[0] != '#' && (*ret_line)[0] != ';';
        if (!joined)
            break;
        end[-1] = ' ';
    }
    *end = '\0';
    *at = from;
    return true;
}

/* What stands behind "@key ="; NULL: the line is another. */
static const char *value_of(const char *line, const char *key)
{
    size_t len = strlen(key);
    if (strncmp(line, key, len) != 0)
        return NULL;
    const char *equals = line + len + strspn(line + len, blanks);
    return *equals == '=' ? equals + 1 : NULL;
}

static bool has_word(const char *text, const char *word)
{
    size_t word_len = strlen(word);
    for (const char *at = text + strspn(text, blanks); *at != '\0'; at += strspn(at, blanks)) {
        size_t len = strcspn(at, blanks);
        if (len == word_len && memcmp(at, word, len) == 0)
            return true;
        at += len;
    }
    return false;
}

static bool file_lists(const char *path, const char *key, const char *word)
{
    KMS_CLEANUP(kms_small_file_done) struct kms_small_file file = { 0 };
    bool in_unit = false;
    if (kms_small_file_read(path, &file, NULL) != KMS_OK)
        return false;
    char *line = NULL;
    for (char *at = file.text; next_line(&at, &line);) {
        if (line[0] == '[')
            in_unit = strncmp(line, "[Unit]", 6) == 0;
        const char *value = in_unit ? value_of(line, key) : NULL;
        if (value != NULL && has_word(value, word))
            return true;
    }
    return false;
}

/* --- drop-ins --- */

static bool is_overridden(const struct kms_doctor *doctor, size_t directory, const char *rest)
{
    char path[KMS_DOCTOR_PATH_MAX];
    struct stat st;
    for (size_t i = 0; i < directory; i++) {
        unit_path(doctor, directories[i], rest, path);
        if (lstat(path, &st) == 0)
            return true;
    }
    return false;
}

static bool drop_ins_list(const struct kms_doctor *doctor, size_t directory, const char *unit,
                          const char *key, const char *word)
{
    char rest[KMS_DOCTOR_PATH_MAX / 2], pattern[KMS_DOCTOR_PATH_MAX];
    (void)snprintf(rest, sizeof(rest), "%s.d/*.conf", unit);
    unit_path(doctor, directories[directory], rest, pattern);
    KMS_CLEANUP(globfree) glob_t found = { 0 };
    if (glob(pattern, 0, NULL, &found) != 0)
        return false;
    bool listed = false;
    for (size_t i = 0; i < found.gl_pathc && !listed; i++) {
        const char *name = strrchr(found.gl_pathv[i], '/') + 1;
        (void)snprintf(rest, sizeof(rest), "%s.d/%s", unit, name);
        listed = !is_overridden(doctor, directory, rest) &&
                 file_lists(found.gl_pathv[i], key, word);
    }
    return listed;
}

bool kms_unit_lists(const struct kms_doctor *doctor, const char *unit, const char *key,
                    const char *word)
{
    char path[KMS_DOCTOR_PATH_MAX];
    bool there = find_unit(doctor, unit, path);
    bool listed = there && file_lists(path, key, word);
    for (size_t i = 0; there && i < DIRECTORY_COUNT && !listed; i++)
        listed = drop_ins_list(doctor, i, unit, key, word);
    return listed;
}

static bool is_linked(const struct kms_doctor *doctor, const char *directory, const char *kind,
                      const char *unit)
{
    char rest[KMS_DOCTOR_PATH_MAX / 2], pattern[KMS_DOCTOR_PATH_MAX];
    (void)snprintf(rest, sizeof(rest), "*.%s/%s", kind, unit);
    unit_path(doctor, directory, rest, pattern);
    KMS_CLEANUP(globfree) glob_t found = { 0 };
    return glob(pattern, 0, NULL, &found) == 0; /* a link to nothing in sight is found, too */
}

bool kms_unit_is_enabled(const struct kms_doctor *doctor, const char *unit)
{
    for (size_t i = 0; i < DIRECTORY_COUNT; i++) {
        if (is_linked(doctor, directories[i], "wants", unit) ||
            is_linked(doctor, directories[i], "requires", unit))
            return true;
    }
    return false;
}
