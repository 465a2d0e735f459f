/* SPDX-License-Identifier: Apache-2.0 */
/* state_dir/backups.json: which prepared KEK was backed up under which reference.  Written by `key
 * commit` alone, as the owner of state_dir; the daemon doesn't read it. */
#ifndef KMS_BACKUPS_H
#define KMS_BACKUPS_H

#include <stdbool.h>
#include <stdint.h>

#include "kms/error.h"
#include "kms/keystore.h"

enum {
    KMS_BACKUPS_VERSION = 1,
    KMS_BACKUP_ID_LEN = 16,         /* hexadecimal digits, as in `<ring>.pending.<id>` */
    KMS_BACKUP_REFERENCE_MAX = 200, /* bytes */
};

struct kms_backup {
    char id[KMS_BACKUP_ID_LEN + 1];
    uint8_t fingerprint[KMS_FINGERPRINT_LEN];
    char reference[KMS_BACKUP_REFERENCE_MAX + 1];
    int64_t recorded_utc_s;
};

/* Durably adds @backup, or puts it in the place of the one with its id.  Waits for another command
 * that does the same.  KMS_E_PRECONDITION: state_dir isn't there or can't be written, or the file is
 * damaged or a newer release's; then nothing is changed. */
KMS_MUST_CHECK enum kms_code kms_backups_add(const char *state_dir, const struct kms_backup *backup,
                                             struct kms_error *err);

/* The record with @id (NULL: any) and @fingerprint (NULL: any), the newest if there are several.
 * *ret_found is false without the file.  KMS_E_PRECONDITION: it can't be read. */
KMS_MUST_CHECK enum kms_code kms_backups_find(const char *state_dir, const char *id,
                                              const uint8_t *fingerprint, bool *ret_found,
                                              struct kms_backup *ret_backup, struct kms_error *err);

#endif
