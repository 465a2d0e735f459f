/* SPDX-License-Identifier: Apache-2.0 */
#include "doctor_disk.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

enum { LEVELS_MAX = 8 }; /* LVM on RAID on dm-crypt … */

static void close_dir(DIR *const *dir)
{
    if (*dir != NULL)
        (void)closedir(*dir);
}

static bool is_crypt(const char *device)
{
    static const char kind[] = "CRYPT-";
    char path[KMS_DOCTOR_PATH_MAX + 16], uuid[sizeof(kind)] = "";
    (void)snprintf(path, sizeof(path), "%s/dm/uuid", device);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    size_t len = fread(uuid, 1, sizeof(uuid) - 1, file);
    (void)fclose(file);
    return len == sizeof(uuid) - 1 && memcmp(uuid, kind, len) == 0;
}

/* A device of others is encrypted if each of them is; /sys links to them under slaves/. */
static bool is_encrypted(const char *device, unsigned level)
{
    char path[KMS_DOCTOR_PATH_MAX];
    if (is_crypt(device))
        return true;
    int len = snprintf(path, sizeof(path), "%s/slaves", device);
    if (level == LEVELS_MAX || len < 0 || (size_t)len >= sizeof(path))
        return false;
    KMS_CLEANUP(close_dir) DIR *dir = opendir(path);
    bool all = dir != NULL;
    size_t count = 0;
    for (struct dirent *entry; all && (entry = readdir(dir)) != NULL;) { /* NOLINT: a DIR of ours */
        if (entry->d_name[0] == '.')
            continue;
        count++;
        int more = snprintf(path, sizeof(path), "%s/slaves/%s", device, entry->d_name);
        all = more > 0 && (size_t)more < sizeof(path) && is_encrypted(path, level + 1);
    }
    return all && count > 0;
}

enum kms_disk kms_disk_encryption(const struct kms_doctor *doctor, const char *directory)
{
    char path[KMS_DOCTOR_PATH_MAX], device[64];
    struct stat st;
    kms_doctor_host_path(doctor, directory, path);
    if (stat(path, &st) != 0)
        return KMS_DISK_UNKNOWN;
    (void)snprintf(device, sizeof(device), "/sys/dev/block/%u:%u", major(st.st_dev),
                   minor(st.st_dev));
    kms_doctor_host_path(doctor, device, path);
    if (stat(path, &st) != 0)
        return KMS_DISK_UNKNOWN;
    return is_encrypted(path, 0) ? KMS_DISK_ENCRYPTED : KMS_DISK_PLAIN;
}
