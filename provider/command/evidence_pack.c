/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "evidence.h"
#include "evidence_tar.h"
#include "kms/fd.h"

#define ARCHIVE "archive"

static const char readme[] = "README.txt";
static const char manifest[] = "manifest.json";
static const char sums[] = "SHA256SUMS";

static void put_manifest(const struct kms_evidence *evidence, FILE *out)
{
    json_t *object = kms_evidence_manifest(evidence);
    (void)json_dumpf(object, out, JSON_INDENT(2) | JSON_ENSURE_ASCII);
    (void)fputc('\n', out);
    json_decref(object);
}

static struct kms_evidence_file *add(struct kms_evidence *evidence, const char *name)
{
    const char *what = name == readme     ? "what each file is, and how to check them"
                       : name == manifest ? "how each file came to be"
                                          : "the SHA-256 of all other files";
    return kms_evidence_add(evidence, name, what, KMS_EVIDENCE_ABOUT);
}

/* Writes what @put says of the files so far, then joins them. */
static enum kms_code write_about(struct kms_evidence *evidence, const struct kms_stage *stage,
                                 const char *name,
                                 void (*put)(const struct kms_evidence *evidence, FILE *out),
                                 struct kms_error *err)
{
    int fd = -1;
    enum kms_code rc = kms_stage_create(stage, name, &fd, err);
    if (rc != KMS_OK)
        return rc;
    FILE *out = fdopen(fd, "w");
    if (out == NULL) {
        (void)close(fd);
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    }
    put(evidence, out);
    bool good = ferror(out) == 0;
    if (fclose(out) != 0 || !good)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "write", errno, "%s", name);
    struct kms_evidence_file *file = add(evidence, name);
    return kms_stage_measure(stage, name, file->digest, &file->size, err);
}

void kms_evidence_plan_about(struct kms_evidence *evidence)
{
    (void)add(evidence, readme);
    (void)add(evidence, manifest);
    (void)add(evidence, sums);
}

static enum kms_code add_file(struct kms_tar *tar, const struct kms_stage *stage,
                              const struct kms_evidence_file *file, struct kms_error *err)
{
    KMS_CLEANUP(kms_fd_done)
    int fd = openat(stage->files_fd, file->name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "open", errno, "%s", file->name);
    return kms_tar_add(tar, file->name, fd, err);
}

static enum kms_code write_archive(const struct kms_evidence *evidence,
                                   const struct kms_stage *stage, int fd, struct kms_error *err)
{
    KMS_CLEANUP(kms_tar_close_ptr) struct kms_tar *tar = NULL;
    enum kms_code rc = kms_tar_open(fd, evidence->made_utc_s, &tar, err);
    for (int turn = 0; turn < 2; turn++) {
        for (size_t i = 0; i < evidence->count && rc == KMS_OK; i++) {
            const struct kms_evidence_file *file = &evidence->files[i];
            bool first = file->source == KMS_EVIDENCE_ABOUT;
            if (first == (turn == 0) && kms_evidence_is_there(file))
                rc = add_file(tar, stage, file, err);
        }
    }
    return rc == KMS_OK ? kms_tar_finish(tar, err) : rc;
}

enum kms_code kms_evidence_pack(struct kms_evidence *evidence, const struct kms_stage *stage,
                                char ret_digest[static KMS_EVIDENCE_DIGITS + 1],
                                struct kms_error *err)
{
    KMS_CLEANUP(kms_fd_done) int fd = -1;
    uint64_t size = 0;
    enum kms_code rc = write_about(evidence, stage, readme, kms_evidence_readme, err);
    if (rc == KMS_OK)
        rc = write_about(evidence, stage, manifest, put_manifest, err);
    if (rc == KMS_OK)
        rc = write_about(evidence, stage, sums, kms_evidence_sums, err);
    if (rc == KMS_OK)
        rc = kms_stage_scratch(stage, ARCHIVE, &fd, err);
    if (rc == KMS_OK)
        rc = write_archive(evidence, stage, fd, err);
    if (rc == KMS_OK && (fsync(fd) != 0 || !kms_digest_fd(fd, ret_digest, &size)))
        rc = kms_fail_errno(err, KMS_E_PRECONDITION, "fsync", errno, "%.200s", stage->out);
    return rc == KMS_OK ? kms_stage_publish(stage, ARCHIVE, err) : rc;
}
