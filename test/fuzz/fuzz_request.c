/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a request file of each kind: they give a request that says what its name says, or are
 * refused. */
#include "request.h"

#include <string.h>
#include <unistd.h>

#include "fuzz.h"

static const struct {
    const char *name;
    struct kms_request named;
} files[] = {
    { "request.accept.2.json", { .kind = KMS_REQUEST_ACCEPT, .generation = 2 } },
    { "request.drain.main.json", { .kind = KMS_REQUEST_DRAIN, .token = "main" } },
    { "request.waive.2.main.json",
      { .kind = KMS_REQUEST_WAIVE, .generation = 2, .token = "main" } },
};
enum { FILE_COUNT = sizeof files / sizeof files[0] };

static void check_file(const struct kms_request_file *file, const struct kms_request *named)
{
    const struct kms_request *request = &file->request;
    FUZZ_CHECK(request->kind == named->kind && request->generation == named->generation);
    FUZZ_CHECK(strcmp(request->token, named->token) == 0);
    if (file->fault.code != KMS_OK) {
        FUZZ_CHECK(file->fault.code == KMS_E_PRECONDITION && file->fault.msg[0] != '\0');
        return;
    }
    FUZZ_CHECK(strlen(request->by) <= KMS_REQUEST_BY_MAX);
    FUZZ_CHECK((request->kind == KMS_REQUEST_DRAIN) == (request->until_utc_s > 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < FILE_COUNT; i++) {
        struct kms_request_list list = { 0 };
        struct kms_error err = { 0 };
        const char *path = fuzz_file(files[i].name, data, size);
        FUZZ_CHECK(kms_request_read(fuzz_dir(), &list, &err) == KMS_OK && list.count == 1);
        check_file(&list.files[0], &files[i].named);
        kms_request_list_done(&list);
        FUZZ_CHECK(unlink(path) == 0);
    }
    return 0;
}
