/* SPDX-License-Identifier: Apache-2.0 */
/* Lines that only a recipient may read.  A data key of each process is sealed once to his certificate, by
 * CMS, in a line of type "key"; other lines are sealed by AES-256-GCM under it, and chained as they stand
 * in the file: a chain is checked without any key. */
#ifndef KMS_AUDIT_SEAL_H
#define KMS_AUDIT_SEAL_H

#include "audit_line.h"
#include "kms/error.h"

/* --- written --- */

struct kms_audit_seal;

/* @path: the recipient's X.509 certificate in PEM, RSA or EC.  KMS_E_INVALID: it isn't that, or can't be
 * read; KMS_E_BUSY, KMS_E_INTERNAL. */
KMS_MUST_CHECK enum kms_code kms_audit_seal_open(const char *path, struct kms_audit_seal **ret_seal,
                                                 struct kms_error *err);
void kms_audit_seal_close(struct kms_audit_seal *seal);

/* The body of a line that holds the data key, for the recipient: free().  NULL: out of memory. */
char *kms_audit_seal_key_body(const struct kms_audit_seal *seal,
                              const struct kms_audit_origin *origin);
/* @body, which is taken, sealed; as it is if @seal is NULL.  NULL: out of memory, or @body was.
 * Thread-safe. */
char *kms_audit_seal_body(struct kms_audit_seal *seal, const struct kms_audit_origin *origin,
                          char *body);

/* --- read --- */

struct kms_audit_opener;

/* @path: the recipient's private key in PEM; OpenSSL asks for its passphrase.  KMS_E_INVALID: it isn't
 * that, or can't be read; KMS_E_BUSY. */
KMS_MUST_CHECK enum kms_code kms_audit_opener_open(const char *path,
                                                   struct kms_audit_opener **ret_opener,
                                                   struct kms_error *err);
void kms_audit_opener_close(struct kms_audit_opener *opener);
KMS_DEFINE_CLOSE_PTR(struct kms_audit_opener *, kms_audit_opener_close)

/* Remembers the data key of a "key" line, and puts what a "sealed" line holds in its place; other lines
 * stay as they are.  KMS_E_PRECONDITION: the key is for another recipient, or no line before held it;
 * KMS_E_CORRUPT: it was changed; KMS_E_BUSY. */
KMS_MUST_CHECK enum kms_code kms_audit_opener_read(struct kms_audit_opener *opener,
                                                   struct kms_audit_line *line,
                                                   struct kms_error *err);

#endif
