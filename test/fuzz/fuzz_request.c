/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a request file: they give a request that says what its name says, or are refused. */
#include "request.h"

#include <string.h>

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kms_request_list list = { 0 };
    struct kms_error err = { 0 };
    fuzz_file("request.accept.2.json", data, size);
    FUZZ_CHECK(kms_request_read(fuzz_dir(), &list, &err) == KMS_OK && list.count == 1);
    const struct kms_request_file *file = &list.files[0];
    FUZZ_CHECK(file->request.kind == KMS_REQUEST_ACCEPT && file->request.generation == 2);
    if (file->fault.code != KMS_OK)
        FUZZ_CHECK(file->fault.code == KMS_E_PRECONDITION && file->fault.msg[0] != '\0');
    else
        FUZZ_CHECK(strlen(file->request.by) <= KMS_REQUEST_BY_MAX);
    kms_request_list_done(&list);
    return 0;
}
