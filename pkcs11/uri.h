/* SPDX-License-Identifier: Apache-2.0 */
/* Which token: an RFC 7512 URI that names it by label, serial, model or manufacturer. */
#ifndef PKCS11_URI_H
#define PKCS11_URI_H

#include <stdbool.h>

#include "cryptoki.h"
#include "kms/error.h"

struct pkcs11_uri;

/* Takes only what selects a token.  KMS_E_INVALID: syntax, unrecognised, repeated or no attributes, a
 * slot (slot numbers change when a token is initialised), an object, a module, or a PIN inside.  The
 * text never quotes the URI, which may hold a PIN. */
KMS_MUST_CHECK enum kms_code pkcs11_uri_open(const char *text, struct pkcs11_uri **ret_uri,
                                             struct kms_error *err);
void pkcs11_uri_close(struct pkcs11_uri *uri);
KMS_DEFINE_CLOSE_PTR(struct pkcs11_uri *, pkcs11_uri_close)

bool pkcs11_uri_matches(const struct pkcs11_uri *uri, const CK_INFO *library,
                        const CK_TOKEN_INFO *token);

#endif
