/* SPDX-License-Identifier: Apache-2.0 */
/* What a request does to a state. */
#include "request.h"

#include <inttypes.h>
#include <string.h>

#include "kms/clock.h"

static enum kms_code apply_accept(const struct kms_request *request, struct kms_state *state,
                                  bool *ret_changed, struct kms_error *err)
{
    if (kms_state_is_buried(state, request->generation))
        return kms_fail(err, KMS_E_PRECONDITION,
                        "generation %" PRIu32 " was destroyed; its number is never used again",
                        request->generation);
    const struct kms_pin *pin = kms_state_pin(state, request->generation);
    *ret_changed = pin == NULL ||
                   memcmp(pin->fingerprint, request->fingerprint, KMS_FINGERPRINT_LEN) != 0;
    if (!*ret_changed)
        return KMS_OK;
    return kms_state_repin(state, request->generation, request->fingerprint, err);
}

static enum kms_code apply_tombstone(const struct kms_request *request, struct kms_state *state,
                                     bool *ret_changed, struct kms_error *err)
{
    if (state->promoted == request->generation)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "generation %" PRIu32 " is the promoted one here: it can't be given up",
                        request->generation);
    *ret_changed = !kms_state_is_buried(state, request->generation) ||
                   kms_state_pin(state, request->generation) != NULL;
    return kms_state_bury(state, request->generation, err);
}

/* A time that has passed while the request waited ends a drain, as the time itself would have. */
static enum kms_code apply_drain(const struct kms_request *request, struct kms_state *state,
                                 bool *ret_changed, struct kms_error *err)
{
    int64_t now_utc_s = kms_utc_s();
    kms_state_tidy(state, now_utc_s); /* makes room */
    if (request->until_utc_s <= now_utc_s) {
        *ret_changed = kms_state_resume(state, request->token);
        return KMS_OK;
    }
    *ret_changed = kms_state_drained_until(state, request->token) != request->until_utc_s;
    return kms_state_drain(state, request->token, request->until_utc_s, err);
}

/* Of a generation that is promoted here, or older than that, there is nothing to waive. */
static enum kms_code apply_waive(const struct kms_request *request, struct kms_state *state,
                                 bool *ret_changed, struct kms_error *err)
{
    if (kms_state_is_buried(state, request->generation))
        return kms_fail(err, KMS_E_PRECONDITION,
                        "generation %" PRIu32 " was destroyed: it is never promoted",
                        request->generation);
    *ret_changed = request->generation > state->promoted &&
                   !kms_state_is_waived(state, request->generation, request->token);
    if (!*ret_changed)
        return KMS_OK;
    return kms_state_waive(state, request->generation, request->token, err);
}

enum kms_code kms_request_apply(const struct kms_request *request, struct kms_state *state,
                                bool *ret_changed, struct kms_error *err)
{
    switch (request->kind) {
    case KMS_REQUEST_ACCEPT:
        return apply_accept(request, state, ret_changed, err);
    case KMS_REQUEST_TOMBSTONE:
        return apply_tombstone(request, state, ret_changed, err);
    case KMS_REQUEST_DRAIN:
        return apply_drain(request, state, ret_changed, err);
    case KMS_REQUEST_RESUME:
        *ret_changed = kms_state_resume(state, request->token);
        return KMS_OK;
    case KMS_REQUEST_WAIVE:
        return apply_waive(request, state, ret_changed, err);
    }
    return kms_fail(err, KMS_E_INTERNAL, "a request of an unknown kind");
}
