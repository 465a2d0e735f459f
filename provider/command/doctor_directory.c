/* SPDX-License-Identifier: Apache-2.0 */
#include "doctor_directory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void look_at(const struct kms_doctor *doctor, const char *what, const char *dir,
                    struct kms_doctor_finding *finding)
{
    struct stat st;
    if (stat(dir, &st) != 0)
        return; /* what isn't there is told by the file's own check */
    unsigned mode = st.st_mode & 07777;
    bool trusted_group = st.st_gid == 0 || st.st_gid == doctor->service_gid ||
                         (doctor->socket_gid_known && st.st_gid == doctor->socket_gid);
    bool open = (mode & S_IWOTH) != 0 || ((mode & S_IWGRP) != 0 && !trusted_group);
    if (st.st_uid != 0 && st.st_uid != doctor->service_uid)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, "chown it to root",
                       "%s: the directory %.300s above it belongs to uid %u, who may put another "
                       "in its place",
                       what, dir, (unsigned)st.st_uid);
    else if (open && (mode & S_ISVTX) == 0)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, "chmod go-w it",
                       "%s: the directory %.300s above it has mode %04o: others may put another in "
                       "its place",
                       what, dir, mode);
}

static void walk_up(const struct kms_doctor *doctor, const char *what, const char *path,
                    struct kms_doctor_finding *finding)
{
    char dir[KMS_DOCTOR_PATH_MAX], above[KMS_DOCTOR_PATH_MAX];
    kms_doctor_parent(path, dir);
    while (strcmp(dir, "/") != 0 && strcmp(dir, ".") != 0) {
        look_at(doctor, what, dir, finding);
        kms_doctor_parent(dir, above);
        (void)snprintf(dir, sizeof(dir), "%s", above);
    }
    look_at(doctor, what, dir, finding);
}

void kms_doctor_look_above(const struct kms_doctor *doctor, const char *what, const char *path,
                           struct kms_doctor_finding *finding)
{
    char *real = realpath(path, NULL);
    walk_up(doctor, what, path, finding);
    if (real != NULL && strcmp(real, path) != 0)
        walk_up(doctor, what, real, finding);
    free(real);
}

void kms_doctor_check_directories(const struct kms_doctor *doctor,
                                  struct kms_doctor_finding *finding)
{
    const struct kms_config *config = &doctor->config;
    kms_doctor_look_above(doctor, "the socket", config->socket.path, finding);
    kms_doctor_look_above(doctor, "state_dir", config->state_dir, finding);
    for (size_t i = 0; i < config->token_count; i++) {
        const struct kms_config_token *token = &config->tokens[i];
        if (token->pin_file != NULL)
            kms_doctor_look_above(doctor, "the PIN file", token->pin_file, finding);
        if (token->module != NULL && token->module[0] == '/')
            kms_doctor_look_above(doctor, "the PKCS#11 library", token->module, finding);
    }
    kms_doctor_say(finding, KMS_DOCTOR_OK, "", "root and the service alone may change them");
}
