/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as kube-apiserver's manifest or command line: read within its limits, or refused with a
 * text. */
#include "cluster/apiserver.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kms_apiserver apiserver = { 0 };
    struct kms_error err = { 0 };
    const struct kms_bytes text = { data, size };
    enum kms_code rc = kms_apiserver_parse("a.yaml", text, 1, 2, &apiserver, &err);
    if (rc != KMS_OK) {
        FUZZ_CHECK(err.code == rc && err.msg[0] != '\0' && apiserver.args == NULL);
        return 0;
    }
    FUZZ_CHECK(apiserver.arg_count <= KMS_APISERVER_ARGS_MAX);
    FUZZ_CHECK(apiserver.group_count <= KMS_APISERVER_GROUPS_MAX);
    for (size_t i = 0; i < apiserver.mount_count; i++)
        FUZZ_CHECK(kms_apiserver_mount_of(&apiserver, apiserver.mounts[i].inside) != NULL);
    (void)kms_apiserver_flag(&apiserver, "encryption-provider-config");
    kms_apiserver_done(&apiserver);
    return 0;
}
