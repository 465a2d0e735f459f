/* SPDX-License-Identifier: Apache-2.0 */
/* What each CKR of PKCS#11 v2.40 (and some that no standard names) must lead to, written down by
 * hand: it is the measure for pkcs11/rv.c and not made of it. */
#ifndef RECOVERY_ROWS_H
#define RECOVERY_ROWS_H

#include <stdbool.h>
#include <stddef.h>

#include <grpc/status.h>

#include "cryptoki.h"

struct recovery_row {
    CK_RV rv;
    grpc_status_code wrap;   /* of Encrypt, if C_WrapKey answers so and goes on to */
    grpc_status_code unwrap; /* of Decrypt with a good ciphertext, if C_UnwrapKey does */
    bool wrap_retried;       /* said once it costs nothing */
    bool unwrap_retried;
    bool may_mean_tampered; /* DATA_LOSS, if the canary is good */
};

extern const struct recovery_row recovery_rows[];
extern const size_t recovery_row_count;

/* Fails the test if there is none. */
const struct recovery_row *recovery_row(CK_RV rv);

#endif
