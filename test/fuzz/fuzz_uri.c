/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a token URI: pkcs11_keystore_open() touches no module, so it stands for the parser. */
#include <stdlib.h>

#include "fuzz.h"
#include "keystore.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *uri = fuzz_text(data, size);
    const struct pkcs11_keystore_options options = {
        .module = "/nonexistent/module.so",
        .uri = uri,
        .pin_file = "/nonexistent/pin",
        .sessions = 1,
    };
    struct kms_keystore *keystore = NULL;
    struct kms_error err = { 0 };
    enum kms_code rc = pkcs11_keystore_open(&options, &keystore, &err);
    FUZZ_CHECK((rc == KMS_OK) == (keystore != NULL));
    FUZZ_CHECK(rc == KMS_OK || (err.code == rc && err.msg[0] != '\0'));
    kms_keystore_close(keystore);
    free(uri);
    return 0;
}
