/* SPDX-License-Identifier: Apache-2.0 */
#include "doctor_unit.h"

#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cluster/small_file.h"

/* In systemd's own order: the first that has the unit counts. */
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

/* False: there is none. */
static bool find_unit(const struct kms_doctor *doctor, const char *unit,
                      char ret_path[static KMS_DOCTOR_PATH_MAX])
{
    for (size_t i = 0; i < DIRECTORY_COUNT; i++) {
        unit_path(doctor, directories[i], unit, ret_path);
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

static bool has_word(const char *text, size_t len, const char *word)
{
    size_t word_len = strlen(word);
    for (size_t at = 0; at < len;) {
        size_t blank = strspn(text + at, " \t");
        size_t next = strcspn(text + at + blank, " \t\r\n");
        if (next == word_len && strncmp(text + at + blank, word, next) == 0)
            return true;
        at += blank + next + 1;
    }
    return false;
}

static bool file_lists(const char *path, const char *key, const char *word)
{
    KMS_CLEANUP(kms_small_file_done) struct kms_small_file file = { 0 };
    if (kms_small_file_read(path, &file, NULL) != KMS_OK)
        return false;
    size_t key_len = strlen(key);
    for (const char *line = file.text; *line != '\0'; line += strspn(line, "\n")) {
        size_t len = strcspn(line, "\n");
        const char *value = line + key_len;
        if (strncmp(line, key, key_len) == 0 && *(value += strspn(value, " \t")) == '=' &&
            has_word(value + 1, (size_t)(line + len - value - 1), word))
            return true;
        line += len;
    }
    return false;
}

static bool drop_ins_list(const struct kms_doctor *doctor, const char *directory, const char *unit,
                          const char *key, const char *word)
{
    char rest[KMS_DOCTOR_PATH_MAX / 2], pattern[KMS_DOCTOR_PATH_MAX];
    (void)snprintf(rest, sizeof(rest), "%s.d/*.conf", unit);
    unit_path(doctor, directory, rest, pattern);
    KMS_CLEANUP(globfree) glob_t found = { 0 };
    if (glob(pattern, 0, NULL, &found) != 0)
        return false;
    bool listed = false;
    for (size_t i = 0; i < found.gl_pathc && !listed; i++)
        listed = file_lists(found.gl_pathv[i], key, word);
    return listed;
}

bool kms_unit_lists(const struct kms_doctor *doctor, const char *unit, const char *key,
                    const char *word)
{
    char path[KMS_DOCTOR_PATH_MAX];
    bool listed = find_unit(doctor, unit, path) && file_lists(path, key, word);
    for (size_t i = 0; i < DIRECTORY_COUNT && !listed; i++)
        listed = drop_ins_list(doctor, directories[i], unit, key, word);
    return listed;
}
