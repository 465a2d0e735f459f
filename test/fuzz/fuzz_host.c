/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a call to a token host and as its answer: what is accepted can be read, is within its
 * bounds, and comes back the same after being packed again; the rest is KMS_E_INVALID. */
#include <stdbool.h>
#include <string.h>

#include "fuzz.h"
#include "host_wire.h"

/* Reads every byte, so that the sanitizer sees a span which isn't ours. */
static void read_all(struct kms_bytes bytes)
{
    volatile uint8_t sum = 0;
    for (size_t i = 0; i < bytes.len; i++)
        sum = (uint8_t)(sum + bytes.data[i]);
}

static bool parsed(enum kms_code rc, const struct kms_error *err)
{
    FUZZ_CHECK(rc == KMS_OK || (rc == KMS_E_INVALID && err->code == rc && err->msg[0] != '\0'));
    return rc == KMS_OK;
}

/* --- calls --- */

static void check_same_call(const struct kms_host_call *a, const struct kms_host_call *b)
{
    FUZZ_CHECK(a->op == b->op && a->id == b->id && a->time_left_ms == b->time_left_ms);
    FUZZ_CHECK(kms_bytes_equal(a->data, b->data));
    if (a->op == KMS_HOST_LIST) {
        FUZZ_CHECK(a->reload == b->reload && a->filter.name_count == b->filter.name_count);
        FUZZ_CHECK(strcmp(a->filter.label_prefix, b->filter.label_prefix) == 0);
        return;
    }
    if (a->op == KMS_HOST_SIGN) {
        FUZZ_CHECK(strcmp(a->label, b->label) == 0);
        return;
    }
    FUZZ_CHECK(strcmp(a->kek.label, b->kek.label) == 0);
    FUZZ_CHECK(memcmp(a->kek.fingerprint, b->kek.fingerprint, KMS_FINGERPRINT_LEN) == 0);
    FUZZ_CHECK(a->algorithm == b->algorithm);
    if (a->kek.key_id == NULL || b->kek.key_id == NULL)
        FUZZ_CHECK(a->kek.key_id == b->kek.key_id);
    else
        FUZZ_CHECK(strcmp(a->kek.key_id, b->kek.key_id) == 0);
}

static void check_call(struct kms_bytes bytes)
{
    struct kms_host_request request, again;
    struct kms_secret packed = { 0 };
    struct kms_error err = { 0 };
    if (!parsed(kms_host_parse_call(bytes, &request, &err), &err))
        return;
    const struct kms_host_call *call = &request.call;
    read_all(call->data);
    FUZZ_CHECK((unsigned)call->algorithm < KMS_ALGORITHM_COUNT);
    for (size_t i = 0; i < call->filter.name_count; i++) {
        FUZZ_CHECK(strlen(call->filter.names[i].label) <= KMS_LABEL_MAX);
        FUZZ_CHECK(call->filter.names[i].cka_id_len <= KMS_CKA_ID_MAX);
    }
    FUZZ_CHECK(kms_host_pack_call(call, &packed, &err) == KMS_OK);
    if (parsed(kms_host_parse_call(kms_secret_bytes(&packed), &again, &err), &err)) {
        check_same_call(call, &again.call);
        kms_host_request_done(&again);
    }
    kms_secret_done(&packed);
    kms_host_request_done(&request);
}

/* --- answers --- */

static void read_answer(const struct kms_host_answer *answer)
{
    read_all(kms_secret_bytes(&answer->data));
    FUZZ_CHECK((unsigned)answer->failure.code < KMS_CODE_COUNT);
    FUZZ_CHECK(strlen(answer->failure.msg) < KMS_ERROR_MSG_MAX);
    FUZZ_CHECK(strlen(answer->token.label) < sizeof(answer->token.label));
    FUZZ_CHECK(strlen(answer->token.library) < sizeof(answer->token.library));
    FUZZ_CHECK((unsigned)answer->algorithm < KMS_ALGORITHM_COUNT);
    FUZZ_CHECK((unsigned)answer->token.algorithm < KMS_ALGORITHM_COUNT);
    FUZZ_CHECK(answer->inventory.other_count <= KMS_OTHERS_MAX);
    FUZZ_CHECK(answer->signature.len <= KMS_SIGNATURE_MAX);
    for (size_t i = 0; i < answer->inventory.count; i++) {
        const struct kms_kek_info *kek = &answer->inventory.keks[i];
        FUZZ_CHECK(strlen(kek->label) <= KMS_LABEL_MAX && kek->cka_id_len <= KMS_CKA_ID_MAX);
        FUZZ_CHECK(strlen(kek->problem) < sizeof(kek->problem));
    }
    for (size_t i = 0; i < answer->inventory.other_count; i++)
        FUZZ_CHECK(strlen(answer->inventory.others[i].label) <= KMS_LABEL_MAX);
}

static void check_same_kek(const struct kms_kek_info *a, const struct kms_kek_info *b)
{
    FUZZ_CHECK(strcmp(a->label, b->label) == 0 && strcmp(a->problem, b->problem) == 0);
    FUZZ_CHECK(a->cka_id_len == b->cka_id_len && a->value_len == b->value_len);
    FUZZ_CHECK(memcmp(a->cka_id, b->cka_id, sizeof(a->cka_id)) == 0);
    FUZZ_CHECK(a->attributes == b->attributes && a->known == b->known);
    FUZZ_CHECK(a->fingerprinted == b->fingerprinted);
    FUZZ_CHECK(memcmp(a->fingerprint, b->fingerprint, sizeof(a->fingerprint)) == 0);
}

static void check_same_answer(const struct kms_host_answer *a, const struct kms_host_answer *b)
{
    FUZZ_CHECK(a->id == b->id && kms_secret_equal(&a->data, &b->data));
    FUZZ_CHECK(a->algorithm == b->algorithm && a->signature.len == b->signature.len);
    FUZZ_CHECK(a->failure.code == b->failure.code && a->failure.ckr == b->failure.ckr);
    FUZZ_CHECK(a->inventory.count == b->inventory.count);
    for (size_t i = 0; i < a->inventory.count; i++)
        check_same_kek(&a->inventory.keks[i], &b->inventory.keks[i]);
}

static void check_answer(struct kms_bytes bytes)
{
    struct kms_host_answer answer, again;
    struct kms_secret packed = { 0 };
    struct kms_error err = { 0 };
    if (!parsed(kms_host_parse_answer(bytes, &answer, &err), &err))
        return;
    read_answer(&answer);
    FUZZ_CHECK(kms_host_pack_answer(&answer, &packed, &err) == KMS_OK);
    if (parsed(kms_host_parse_answer(kms_secret_bytes(&packed), &again, &err), &err)) {
        check_same_answer(&answer, &again);
        kms_host_answer_done(&again);
    }
    kms_secret_done(&packed);
    kms_host_answer_done(&answer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_call((struct kms_bytes){ data, size });
    check_answer((struct kms_bytes){ data, size });
    return 0;
}
