/* SPDX-License-Identifier: Apache-2.0 */
/* The file that keeps a token's PIN record between processes, `pin-latch.<token>`: held from the
 * look at it until the login is over, so that two processes never spend an attempt on one PIN. */
#ifndef PKCS11_LATCH_H
#define PKCS11_LATCH_H

#include "pin_record.h"

enum { PKCS11_LATCH_NAME_MAX = 48 };

struct pkcs11_latch {
    int dir_fd;                           /* -1: not open */
    bool locked;                          /* else it can be read, and not written */
    char name[PKCS11_LATCH_NAME_MAX + 1]; /* of the file */
    struct pkcs11_pin_record record;
    struct kms_error
        fault; /* code not KMS_OK: there is a file that can't be used; @record is new */
};

/* Opens and locks the directory, and reads the file of the token of @identity if there is one.
 * Waits for another holder for 2 s at most, and then goes on without the lock.  KMS_E_UNAVAILABLE:
 * no such directory yet; KMS_E_PRECONDITION: it can't be opened.  After a success
 * pkcs11_latch_close(). */
KMS_MUST_CHECK enum kms_code pkcs11_latch_open(const char *dir,
                                               const uint8_t identity[static KMS_SHA256_LEN],
                                               struct pkcs11_latch *ret_latch,
                                               struct kms_error *err);
/* Twice is safe, and so is a latch of zeroes with a dir_fd of -1. */
void pkcs11_latch_close(struct pkcs11_latch *latch);

/* Makes the record durable: whole or not at all.  Mode 0600.  KMS_E_PRECONDITION. */
KMS_MUST_CHECK enum kms_code pkcs11_latch_write(const struct pkcs11_latch *latch,
                                                struct kms_error *err);

#endif
