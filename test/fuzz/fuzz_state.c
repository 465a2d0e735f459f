/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as ring.json: they give a state that keeps its promises, or are refused for good. */
#include "state.h"

#include "fuzz.h"
#include "keyid.h"

static void check_pin(const struct kms_pin *pin)
{
    FUZZ_CHECK(pin->generation >= 1 && pin->generation <= KMS_GENERATION_MAX);
    FUZZ_CHECK(pin->token_count <= KMS_TOKENS_MAX);
    for (size_t i = 0; i < pin->token_count; i++) {
        FUZZ_CHECK(kms_token_name_is_valid(pin->tokens[i].name));
        FUZZ_CHECK(kms_pin_confirmation(pin, pin->tokens[i].name) == &pin->tokens[i]);
    }
}

static void check_tokens(const struct kms_state *state)
{
    FUZZ_CHECK(state->drain_count <= KMS_TOKENS_MAX);
    for (size_t i = 0; i < state->drain_count; i++) {
        const struct kms_drain *drain = &state->drains[i];
        FUZZ_CHECK(kms_token_name_is_valid(drain->token) && drain->until_utc_s > 0);
        FUZZ_CHECK(kms_state_drained_until(state, drain->token) == drain->until_utc_s);
    }
    for (size_t i = 0; i < state->waiver_count; i++) {
        const struct kms_waiver *waiver = &state->waivers[i];
        FUZZ_CHECK(waiver->generation >= 1 && waiver->generation <= KMS_GENERATION_MAX);
        FUZZ_CHECK(kms_token_name_is_valid(waiver->token));
        FUZZ_CHECK(i == 0 || kms_waiver_order(waiver - 1, waiver) < 0);
    }
}

static void check_state(const struct kms_state *state)
{
    for (size_t i = 0; i < state->pin_count; i++) {
        const struct kms_pin *pin = &state->pins[i];
        check_pin(pin);
        FUZZ_CHECK(i == 0 || state->pins[i - 1].generation < pin->generation);
        FUZZ_CHECK(kms_state_pin(state, pin->generation) == pin);
    }
    for (size_t i = 1; i < state->tombstone_count; i++)
        FUZZ_CHECK(state->tombstones[i - 1] < state->tombstones[i]);
    FUZZ_CHECK(state->promoted <= kms_state_highest(state));
    FUZZ_CHECK(kms_state_highest(state) <= KMS_GENERATION_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kms_state state = { 0 };
    struct kms_error err = { 0 };
    bool is_new = true;
    fuzz_file("ring.json", data, size);
    enum kms_code rc = kms_state_read(fuzz_dir(), "prod", &state, &is_new, &err);
    if (rc != KMS_OK) {
        FUZZ_CHECK(err.code == rc && err.msg[0] != '\0');
        return 0;
    }
    FUZZ_CHECK(!is_new);
    check_state(&state);
    check_tokens(&state);
    kms_state_done(&state);
    return 0;
}
