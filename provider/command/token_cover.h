/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a node could do without one of its tokens, by what its plugin says. */
#ifndef KMS_TOKEN_COVER_H
#define KMS_TOKEN_COVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/node.pb-c.h"
#include "state.h"

/* The token of @description that the configuration calls @name, or its only one; NULL if none. */
const Hsmkms__Node__V1__Token *kms_token_find(const Hsmkms__Node__V1__DescribeResponse *description,
                                              const char *name);

/* Whether @token has @kek. */
bool kms_token_has(const Hsmkms__Node__V1__DescribeResponse *description,
                   const Hsmkms__Node__V1__Token *token, const Hsmkms__Node__V1__Kek *kek);

/* True: every KEK of the ring that the token @name has is on another one, too, that is in use, passed its
 * last canary and isn't about to be drained by @state; and the plugin is healthy and has listed its tokens
 * lately, on which no KEK of the ring is missing.  False: @ret_why says what is. */
enum { KMS_TOKEN_WHY_MAX = 320 };
bool kms_token_can_stop(const Hsmkms__Node__V1__DescribeResponse *description,
                        const struct kms_state *state, const char *name,
                        char ret_why[static KMS_TOKEN_WHY_MAX]);

#endif
