/* SPDX-License-Identifier: Apache-2.0 */
/* What is remembered of the PINs of one token: the one that worked last, those that were refused
 * since, and the one whose login was begun.  Of a PIN only PBKDF2 is kept.  Pure but for the clock
 * of the caller: no file, no token. */
#ifndef PKCS11_PIN_RECORD_H
#define PKCS11_PIN_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kms/bytes.h"
#include "kms/error.h"
#include "kms/secret.h"
#include "pin.h"

enum {
    PKCS11_PIN_SALT_LEN = 16,
    PKCS11_PIN_DIGEST_LEN = 32,
    PKCS11_PIN_ITERATIONS = 100000, /* tens of ms: a login waits for it once */
    PKCS11_PIN_REFUSED_MAX = 8,     /* the oldest goes */
    PKCS11_PIN_WHY_MAX = 40,        /* "CKR_PIN_INCORRECT" */
    PKCS11_PIN_RECORD_MAX = 4096,   /* bytes of text, with a final NUL */
};

struct pkcs11_pin_mark {
    uint8_t digest[PKCS11_PIN_DIGEST_LEN];
    int64_t utc_s;
    unsigned begun;                   /* of @trying: logins whose end nobody saw */
    char why[PKCS11_PIN_WHY_MAX + 1]; /* of @refused: the name of the CKR */
};

struct pkcs11_pin_record {
    uint8_t salt[PKCS11_PIN_SALT_LEN];
    uint32_t iterations;
    bool has_good;
    bool has_trying;
    struct pkcs11_pin_mark good;
    struct pkcs11_pin_mark trying;
    struct pkcs11_pin_mark refused[PKCS11_PIN_REFUSED_MAX]; /* oldest first */
    size_t refused_count;
};

/* An empty record with a salt of its own.  KMS_E_INTERNAL: no random bytes. */
KMS_MUST_CHECK enum kms_code pkcs11_pin_record_new(struct pkcs11_pin_record *ret_record,
                                                   struct kms_error *err);

/* Reads what pkcs11_pin_record_print() wrote.  KMS_E_PRECONDITION: damaged, or a newer version. */
KMS_MUST_CHECK enum kms_code pkcs11_pin_record_parse(struct kms_bytes text,
                                                     struct pkcs11_pin_record *ret_record,
                                                     struct kms_error *err);
/* Returns the length without the NUL. */
size_t pkcs11_pin_record_print(const struct pkcs11_pin_record *record,
                               char ret_text[static PKCS11_PIN_RECORD_MAX]);

/* PBKDF2-HMAC-SHA256 of @pin, bound to the record's salt and to the token.  Takes tens of ms.
 * KMS_E_INTERNAL: OpenSSL refuses. */
KMS_MUST_CHECK enum kms_code pkcs11_pin_record_digest(const struct pkcs11_pin_record *record,
                                                      const uint8_t identity[static KMS_SHA256_LEN],
                                                      const struct kms_secret *pin,
                                                      uint8_t ret[static PKCS11_PIN_DIGEST_LEN],
                                                      struct kms_error *err);

bool pkcs11_pin_record_is_good(const struct pkcs11_pin_record *record,
                               const uint8_t digest[static PKCS11_PIN_DIGEST_LEN]);
bool pkcs11_pin_record_is_trying(const struct pkcs11_pin_record *record,
                                 const uint8_t digest[static PKCS11_PIN_DIGEST_LEN]);
/* The mark, or NULL; borrowed. */
const struct pkcs11_pin_mark *pkcs11_pin_record_refusal(
    const struct pkcs11_pin_record *record, const uint8_t digest[static PKCS11_PIN_DIGEST_LEN]);

/* Whether a login that nobody asked for may be made with the PIN of @digest, as far as attempts go:
 * KMS_OK, or KMS_E_PRECONDITION with what to do. */
KMS_MUST_CHECK enum kms_code pkcs11_pin_record_judge(
    const struct pkcs11_pin_record *record, const uint8_t digest[static PKCS11_PIN_DIGEST_LEN],
    const struct pkcs11_pin_flags *flags, const char *token_label, struct kms_error *err);

/* KMS_E_PRECONDITION: this PIN was refused before. */
enum kms_code pkcs11_pin_fail_refused(struct kms_error *err);

/* What a login does to the record: it is begun, and then it was good or refused.  Where its end
 * says nothing of the PIN the caller puts the record from before it back. */
void pkcs11_pin_record_begin(struct pkcs11_pin_record *record,
                             const uint8_t digest[static PKCS11_PIN_DIGEST_LEN], bool count_low,
                             int64_t utc_s);
/* A good login sets the token's own count back, so that what was refused may be tried again; but
 * one of an administrator (@of_service false) says nothing of the service's PIN, and isn't kept. */
void pkcs11_pin_record_good(struct pkcs11_pin_record *record,
                            const uint8_t digest[static PKCS11_PIN_DIGEST_LEN], bool of_service,
                            int64_t utc_s);
void pkcs11_pin_record_refuse(struct pkcs11_pin_record *record,
                              const uint8_t digest[static PKCS11_PIN_DIGEST_LEN], const char *why,
                              int64_t utc_s);

#endif
