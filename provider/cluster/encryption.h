/* SPDX-License-Identifier: Apache-2.0 */
/* kube-apiserver's EncryptionConfiguration (apiserver.config.k8s.io/v1): its form, and kube-apiserver's
 * own rules for what it says.  Key material in it is neither kept nor told. */
#ifndef KMS_ENCRYPTION_H
#define KMS_ENCRYPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kms/bytes.h"
#include "kms/error.h"

enum {
    KMS_ENCRYPTION_ENTRIES_MAX = 32,   /* under resources: */
    KMS_ENCRYPTION_RESOURCES_MAX = 64, /* in an entry */
    KMS_ENCRYPTION_PROVIDERS_MAX = 32, /* in an entry */
    KMS_ENCRYPTION_TEXT_MAX = 255,     /* bytes of a text */
    KMS_ENCRYPTION_TIMEOUT_MS = 3000,  /* where none is given */
};

enum kms_encryption_kind {
    KMS_ENCRYPTION_KMS,
    KMS_ENCRYPTION_IDENTITY,
    KMS_ENCRYPTION_LOCAL, /* aescbc, aesgcm, secretbox: a key in this file */
};

/* Texts are "" where the file has none. */
struct kms_encryption_provider {
    enum kms_encryption_kind kind;
    /* of KMS only */
    char api_version[16]; /* "v1" where the file has none, as kube-apiserver takes it */
    char name[KMS_ENCRYPTION_TEXT_MAX + 1];
    char endpoint[KMS_ENCRYPTION_TEXT_MAX + 1];
    int64_t timeout_ms; /* below 0: not a duration */
    bool has_cachesize;
    int32_t cachesize; /* 0 where there is none */
};

struct kms_encryption_entry {
    char (*resources)[KMS_ENCRYPTION_TEXT_MAX + 1]; /* owned */
    size_t resource_count;
    struct kms_encryption_provider *providers; /* owned */
    size_t provider_count;
};

struct kms_encryption {
    struct kms_encryption_entry *entries; /* owned */
    size_t entry_count;
};

/* Reads @text, which messages call @file.  KMS_E_INVALID, "FILE:LINE: …": not YAML, or
 * kube-apiserver would refuse its form; KMS_E_BUSY: no memory.  kms_encryption_done(). */
KMS_MUST_CHECK enum kms_code kms_encryption_parse(const char *file, struct kms_bytes text,
                                                  struct kms_encryption *ret_encryption,
                                                  struct kms_error *err);
/* The same of the file @path; KMS_E_PRECONDITION: it can't be read. */
KMS_MUST_CHECK enum kms_code kms_encryption_load(const char *path,
                                                 struct kms_encryption *ret_encryption,
                                                 struct kms_error *err);
void kms_encryption_done(struct kms_encryption *encryption);

/* KMS_E_INVALID: kube-apiserver (1.34 to 1.37) would refuse what it says; the text names the place as
 * kube-apiserver does, "resources[0].providers[1].kms.name: …".  @reload: it reloads the file by
 * itself. */
KMS_MUST_CHECK enum kms_code kms_encryption_check(const struct kms_encryption *encryption,
                                                  bool reload, struct kms_error *err);

/* True if @entry is of @resource, which is written as in the file: "secrets", "leases.coordination.k8s.io". */
bool kms_encryption_covers(const struct kms_encryption_entry *entry, const char *resource);
/* The first entry that is of @resource: its first provider writes it.  NULL: none is. */
const struct kms_encryption_entry *kms_encryption_find(const struct kms_encryption *encryption,
                                                       const char *resource);

/* A duration as Go writes it ("3s", "1m30s", "1.5s", "500ms"), in milliseconds. */
KMS_MUST_CHECK bool kms_go_duration_parse(const char *text, int64_t *ret_ms);

#endif
