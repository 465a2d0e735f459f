/* SPDX-License-Identifier: Apache-2.0 */
/* AES key wrap from single AES blocks, which a token's key encrypts: for fingerprints where a module has
 * nothing better, and to check its own key wrap by, under a throwaway key.  Never for seeds: the steps
 * in between are in host memory. */
#ifndef PKCS11_BLOCKS_H
#define PKCS11_BLOCKS_H

#include "cryptoki.h"
#include "kms/bytes.h"
#include "kms/keystore.h"
#include "session.h"

/* RFC 3394, or RFC 5649 which differs in where it begins.  @data is a multiple of 8 bytes,
 * KMS_SEED_MIN … KMS_SEED_MAX.  Fails as pkcs11_fail() says: the module has no CKM_AES_ECB for this
 * key, or fails; a session whose operation may go on is marked broken. */
KMS_MUST_CHECK enum kms_code pkcs11_blocks_wrap(CK_FUNCTION_LIST *fn,
                                                struct pkcs11_session *session,
                                                CK_OBJECT_HANDLE key, enum kms_algorithm algorithm,
                                                struct kms_bytes data,
                                                struct kms_wrapped *ret_wrapped,
                                                struct kms_error *err);

#endif
