/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a configuration file: they load into something within the documented ranges, or are
 * refused with a text. */
#include "config.h"
#include "fuzz.h"
#include "keyid.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kms_config config = { 0 };
    struct kms_error err = { 0 };
    enum kms_code rc = kms_config_load(fuzz_file("config.yaml", data, size), &config, &err);
    if (rc != KMS_OK) {
        FUZZ_CHECK(err.code == rc && err.msg[0] != '\0');
        return 0;
    }
    FUZZ_CHECK(kms_ring_name_is_valid(config.ring));
    FUZZ_CHECK(config.socket.path[0] == '/');
    FUZZ_CHECK((config.socket.mode & ~(mode_t)0666) == 0);
    FUZZ_CHECK(config.token_count >= 1 && config.token_count <= KMS_CONFIG_TOKENS_MAX);
    FUZZ_CHECK(config.tokens[0].sessions >= 1 && config.tokens[0].sessions <= 64);
    FUZZ_CHECK(config.refresh_ms > 0 && config.canary_ms > 0 && config.clock_skew_ms >= 0);
    kms_config_done(&config);
    return 0;
}
