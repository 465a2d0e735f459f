/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as kubeadm's configuration: read within its limits, or refused with a text. */
#include "cluster/kubeadm.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kms_apiserver apiserver = { 0 };
    struct kms_error err = { 0 };
    const struct kms_bytes text = { data, size };
    enum kms_code rc = kms_kubeadm_parse("k.yaml", text, &apiserver, &err);
    if (rc != KMS_OK) {
        FUZZ_CHECK(err.code == rc && err.msg[0] != '\0');
        FUZZ_CHECK(apiserver.args == NULL && apiserver.mounts == NULL);
        return 0;
    }
    FUZZ_CHECK(apiserver.source == KMS_APISERVER_POD);
    FUZZ_CHECK(apiserver.arg_count <= KMS_APISERVER_ARGS_MAX);
    FUZZ_CHECK(apiserver.mount_count >= 1 && apiserver.mount_count <= KMS_APISERVER_MOUNTS_MAX);
    for (size_t i = 0; i < apiserver.mount_count; i++) {
        FUZZ_CHECK(apiserver.mounts[i].host[0] != '\0');
        FUZZ_CHECK(kms_apiserver_mount_of(&apiserver, apiserver.mounts[i].inside) != NULL);
    }
    for (size_t i = 0; i < apiserver.arg_count; i++)
        FUZZ_CHECK(apiserver.args[i][0] == '-' && apiserver.args[i][1] == '-');
    (void)kms_apiserver_flag(&apiserver, "encryption-provider-config");
    kms_apiserver_done(&apiserver);
    return 0;
}
