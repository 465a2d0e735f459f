/* SPDX-License-Identifier: Apache-2.0 */
/* RFC 3394 from single AES blocks, which a token's key encrypts: to check a module's own key wrap by,
 * under a throwaway key.  Never for seeds: the steps in between are in host memory. */
#ifndef PKCS11_BLOCKS_H
#define PKCS11_BLOCKS_H

#include <stdbool.h>

#include "cryptoki.h"
#include "kms/bytes.h"
#include "kms/keystore.h"
#include "session.h"

/* @data is a multiple of 8 bytes, KMS_SEED_MIN … KMS_SEED_MAX.  False: the module has no CKM_AES_ECB
 * for this key, or failed. */
bool pkcs11_blocks_wrap(CK_FUNCTION_LIST *fn, struct pkcs11_session *session, CK_OBJECT_HANDLE key,
                        struct kms_bytes data, struct kms_wrapped *ret_wrapped);

#endif
