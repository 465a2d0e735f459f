/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "host_wire.h"
#include "proto/host.pb-c.h"

enum { SEED_LEN = 32 };

static const uint8_t fingerprint[KMS_FINGERPRINT_LEN] = { 0xF0, 0xF1, [31] = 0xFF };
static const uint8_t seed[SEED_LEN] = { 0x5E, 0x00, 0xED, [31] = 1 };
static struct kms_error err;

/* --- there and back --- */

static struct kms_host_request pass_call(const struct kms_host_call *call, struct kms_secret *bytes)
{
    struct kms_host_request request;
    assert_ok(kms_host_pack_call(call, bytes, &err), &err);
    assert_ok(kms_host_parse_call(kms_secret_bytes(bytes), &request, &err), &err);
    assert_int_equal(request.call.op, call->op);
    assert_int_equal(request.call.id, call->id);
    assert_int_equal(request.call.time_left_ms, call->time_left_ms);
    return request;
}

static void a_listing_passes(void **state)
{
    (void)state;
    const struct kms_kek_name names[] = {
        { .label = "another", .cka_id = { 0, 1, 2 }, .cka_id_len = 3 },
        { .label = "", .cka_id = { 9 }, .cka_id_len = 1 },
        { .label = "only a label" },
    };
    KMS_CLEANUP(kms_secret_done) struct kms_secret bytes = { 0 };
    const struct kms_host_call call = {
        .op = KMS_HOST_LIST,
        .id = UINT64_MAX,
        .time_left_ms = 12345,
        .filter = { .label_prefix = "prod.", .names = names, .name_count = 3 },
        .reload = true
    };
    KMS_CLEANUP(kms_host_request_done) struct kms_host_request request = pass_call(&call, &bytes);
    assert_true(request.call.reload);
    assert_string_equal(request.call.filter.label_prefix, "prod.");
    assert_int_equal(request.call.filter.name_count, 3);
    assert_memory_equal(request.call.filter.names, names, sizeof(names));
}

static void a_listing_without_names_passes(void **state)
{
    (void)state;
    KMS_CLEANUP(kms_secret_done) struct kms_secret bytes = { 0 };
    const struct kms_host_call call = { .op = KMS_HOST_LIST, .filter = { .label_prefix = "" } };
    KMS_CLEANUP(kms_host_request_done) struct kms_host_request request = pass_call(&call, &bytes);
    assert_false(request.call.reload);
    assert_string_equal(request.call.filter.label_prefix, "");
    assert_int_equal(request.call.filter.name_count, 0);
}

static void calls_with_a_kek_pass(void **state)
{
    (void)state;
    static const enum kms_host_op ops[] = { KMS_HOST_CANARY, KMS_HOST_WRAP, KMS_HOST_UNWRAP };
    for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
        KMS_CLEANUP(kms_secret_done) struct kms_secret bytes = { 0 };
        struct kms_host_call call = { .op = ops[i],
                                      .id = 7,
                                      .time_left_ms = -1,
                                      .kek = { "prod.v1@20261201T120000Z", fingerprint,
                                               "prod.v1.00" } };
        if (ops[i] != KMS_HOST_CANARY)
            call.data = (struct kms_bytes){ seed, sizeof(seed) };
        if (ops[i] == KMS_HOST_UNWRAP)
            call.algorithm = KMS_ALGORITHM_AES_GCM;
        KMS_CLEANUP(kms_host_request_done)
        struct kms_host_request request = pass_call(&call, &bytes);
        assert_string_equal(request.call.kek.label, call.kek.label);
        assert_memory_equal(request.call.kek.fingerprint, fingerprint, sizeof(fingerprint));
        assert_true(kms_bytes_equal(request.call.data, call.data));
        assert_string_equal(request.call.kek.key_id, "prod.v1.00");
        assert_int_equal(request.call.algorithm, call.algorithm);
    }
}

static void a_kek_without_a_key_id_has_none(void **state)
{
    (void)state;
    KMS_CLEANUP(kms_secret_done) struct kms_secret bytes = { 0 };
    const struct kms_host_call call = { .op = KMS_HOST_CANARY, .kek = { "a", fingerprint, NULL } };
    KMS_CLEANUP(kms_host_request_done)
    struct kms_host_request request = pass_call(&call, &bytes);
    assert_null(request.call.kek.key_id);
}

static void every_deadline_passes(void **state)
{
    (void)state;
    static const int64_t times_ms[] = { INT64_MAX, INT64_MIN, 0, -1, 1 };
    for (size_t i = 0; i < sizeof(times_ms) / sizeof(times_ms[0]); i++) {
        KMS_CLEANUP(kms_secret_done) struct kms_secret bytes = { 0 };
        const struct kms_host_call call = { .op = KMS_HOST_CANARY,
                                            .time_left_ms = times_ms[i],
                                            .kek = { "a", fingerprint, NULL } };
        struct kms_host_request request = pass_call(&call, &bytes);
        kms_host_request_done(&request);
    }
}

static struct kms_host_answer pass_answer(const struct kms_host_answer *answer)
{
    KMS_CLEANUP(kms_secret_done) struct kms_secret bytes = { 0 };
    struct kms_host_answer back;
    assert_ok(kms_host_pack_answer(answer, &bytes, &err), &err);
    assert_ok(kms_host_parse_answer(kms_secret_bytes(&bytes), &back, &err), &err);
    assert_int_equal(back.id, answer->id);
    return back;
}

static void an_algorithm_that_there_is_not_is_refused(void **state)
{
    (void)state;
    KMS_CLEANUP(kms_secret_done) struct kms_secret bytes = { 0 };
    struct kms_host_request request;
    const struct kms_host_call call = { .op = KMS_HOST_UNWRAP,
                                        .kek = { "a", fingerprint, NULL },
                                        .data = { seed, sizeof(seed) },
                                        .algorithm = (enum kms_algorithm)KMS_ALGORITHM_COUNT };
    assert_ok(kms_host_pack_call(&call, &bytes, &err), &err);
    assert_int_equal(kms_host_parse_call(kms_secret_bytes(&bytes), &request, &err), KMS_E_INVALID);
    kms_secret_done(&bytes);
    KMS_CLEANUP(kms_host_answer_done) struct kms_host_answer back = { .id = 0 };
    const struct kms_host_answer answer = { .algorithm = (enum kms_algorithm)KMS_ALGORITHM_COUNT };
    assert_ok(kms_host_pack_answer(&answer, &bytes, &err), &err);
    assert_int_equal(kms_host_parse_answer(kms_secret_bytes(&bytes), &back, &err), KMS_E_INVALID);
}

static void a_signature_passes_with_its_call(void **state)
{
    (void)state;
    KMS_CLEANUP(kms_secret_done) struct kms_secret bytes = { 0 };
    const struct kms_host_call call = { .op = KMS_HOST_SIGN,
                                        .label = "prod.audit",
                                        .data = kms_bytes_of("text") };
    KMS_CLEANUP(kms_host_request_done) struct kms_host_request request = pass_call(&call, &bytes);
    assert_string_equal(request.call.label, "prod.audit");
    assert_true(kms_bytes_equal(request.call.data, call.data));

    KMS_CLEANUP(kms_secret_done) struct kms_secret packed = { 0 };
    struct kms_host_answer answer = { .signature = { .data = { 1, 2, 3 },
                                                     .len = 3,
                                                     .signing = KMS_SIGNING_RSA_PKCS1,
                                                     .key_sha256 = { 9 } } };
    KMS_CLEANUP(kms_host_answer_done) struct kms_host_answer got = { .id = 0 };
    assert_ok(kms_host_pack_answer(&answer, &packed, &err), &err);
    assert_ok(kms_host_parse_answer(kms_secret_bytes(&packed), &got, &err), &err);
    assert_int_equal(got.signature.signing, KMS_SIGNING_RSA_PKCS1);
    assert_int_equal(got.signature.len, 3);
    assert_memory_equal(got.signature.data, answer.signature.data, 3);
    assert_memory_equal(got.signature.key_sha256, answer.signature.key_sha256, KMS_SHA256_LEN);
}

static void the_algorithm_of_an_answer_passes(void **state)
{
    (void)state;
    const struct kms_host_answer answer = { .algorithm = KMS_ALGORITHM_AES_KWP,
                                            .token.algorithm = KMS_ALGORITHM_AES_GCM };
    KMS_CLEANUP(kms_host_answer_done) struct kms_host_answer back = pass_answer(&answer);
    assert_int_equal(back.algorithm, KMS_ALGORITHM_AES_KWP);
    assert_int_equal(back.token.algorithm, KMS_ALGORITHM_AES_GCM);
}

static void fill(char *text, size_t size, char letter)
{
    memset(text, letter, size - 1);
    text[size - 1] = '\0';
}

static void a_failure_passes(void **state)
{
    (void)state;
    struct kms_host_answer answer = {
        .id = 3, .failure = { .code = KMS_E_CORRUPT, .ckr = 0x80000005, .op = "C_UnwrapKey" }
    };
    fill(answer.failure.msg, sizeof(answer.failure.msg), 'm');
    KMS_CLEANUP(kms_host_answer_done) struct kms_host_answer back = pass_answer(&answer);
    assert_int_equal(back.failure.code, KMS_E_CORRUPT);
    assert_int_equal(back.failure.ckr, 0x80000005);
    assert_string_equal(back.failure.op, "C_UnwrapKey");
    assert_string_equal(back.failure.msg, answer.failure.msg);
}

static void a_failure_without_an_operation_passes(void **state)
{
    (void)state;
    const struct kms_host_answer answer = { .failure = { .code = KMS_E_BUSY, .msg = "busy" } };
    KMS_CLEANUP(kms_host_answer_done) struct kms_host_answer back = pass_answer(&answer);
    assert_null(back.failure.op);
    assert_int_equal(back.failure.ckr, 0);
}

static void operations_beyond_number_or_length_are_still_failures(void **state)
{
    (void)state;
    char op[64];
    struct kms_host_answer answer = { .failure = { .code = KMS_E_BUSY, .op = op } };
    for (int i = 0; i < 200; i++) {
        (void)snprintf(op, sizeof(op), "C_Operation%d", i);
        struct kms_host_answer back = pass_answer(&answer);
        assert_true(strcmp(back.failure.op, op) == 0 || strcmp(back.failure.op, "token host") == 0);
        kms_host_answer_done(&back);
    }
    fill(op, sizeof(op), 'x');
    struct kms_host_answer back = pass_answer(&answer);
    assert_string_equal(back.failure.op, "token host");
    kms_host_answer_done(&back);
}

static void what_the_token_says_passes(void **state)
{
    (void)state;
    struct kms_host_answer answer = { .token = { .connected = true } };
    struct kms_token_info *token = &answer.token;
    fill(token->label, sizeof(token->label), 'l');
    fill(token->serial, sizeof(token->serial), 's');
    fill(token->model, sizeof(token->model), 'm');
    fill(token->manufacturer, sizeof(token->manufacturer), 'M');
    fill(token->firmware, sizeof(token->firmware), 'f');
    fill(token->library, sizeof(token->library), 'L');
    fill(token->profile, sizeof(token->profile), 'p');
    KMS_CLEANUP(kms_host_answer_done) struct kms_host_answer back = pass_answer(&answer);
    assert_int_equal(back.failure.code, KMS_OK);
    assert_string_equal(back.token.label, token->label);
    assert_string_equal(back.token.serial, token->serial);
    assert_string_equal(back.token.model, token->model);
    assert_string_equal(back.token.manufacturer, token->manufacturer);
    assert_string_equal(back.token.firmware, token->firmware);
    assert_string_equal(back.token.library, token->library);
    assert_string_equal(back.token.profile, token->profile);
    assert_true(back.token.connected);
}

static void assert_same_kek(const struct kms_kek_info *a, const struct kms_kek_info *b)
{
    assert_string_equal(a->label, b->label);
    assert_int_equal(a->cka_id_len, b->cka_id_len);
    assert_memory_equal(a->cka_id, b->cka_id, sizeof(a->cka_id));
    assert_int_equal(a->attributes, b->attributes);
    assert_int_equal(a->known, b->known);
    assert_int_equal(a->value_len, b->value_len);
    assert_int_equal(a->fingerprinted, b->fingerprinted);
    assert_memory_equal(a->fingerprint, b->fingerprint, sizeof(a->fingerprint));
    assert_string_equal(a->problem, b->problem);
}

static void an_inventory_passes(void **state)
{
    (void)state;
    struct kms_kek_info keks[3] = {
        { .label = "prod.v1@20261201T120000Z",
          .cka_id = { 1, 0, 2 },
          .cka_id_len = 3,
          .attributes = 0x155,
          .known = 0x3FF,
          .value_len = 32,
          .fingerprinted = true,
          .fingerprint = { 0xAB, [31] = 0xCD } },
        { .label = "", .value_len = UINT32_MAX },
    };
    struct kms_kek_name others[KMS_OTHERS_MAX] = { { .label = "first" } };
    fill(keks[2].label, sizeof(keks[2].label), 'l');
    fill(keks[2].problem, sizeof(keks[2].problem), 'p');
    memset(keks[2].cka_id, 0xEE, sizeof(keks[2].cka_id));
    keks[2].cka_id_len = sizeof(keks[2].cka_id);
    keks[2].attributes = keks[2].known = UINT32_MAX;
    fill(others[1].label, sizeof(others[1].label), 'o');
    memset(others[1].cka_id, 0xDD, sizeof(others[1].cka_id));
    others[1].cka_id_len = sizeof(others[1].cka_id);
    const struct kms_host_answer answer = {
        .inventory = { .keks = keks, .count = 3, .others = others, .other_count = KMS_OTHERS_MAX }
    };

    KMS_CLEANUP(kms_host_answer_done) struct kms_host_answer back = pass_answer(&answer);
    assert_int_equal(back.inventory.count, 3);
    for (size_t i = 0; i < 3; i++)
        assert_same_kek(&back.inventory.keks[i], &keks[i]);
    assert_int_equal(back.inventory.other_count, KMS_OTHERS_MAX);
    assert_memory_equal(back.inventory.others, others, sizeof(others));
}

/* The less a KEK says, the more room it takes beside its bytes. */
static void thousands_of_short_keks_pass(void **state)
{
    (void)state;
    enum { COUNT = 5000 };
    struct kms_kek_info *keks = calloc(COUNT, sizeof(*keks));
    assert_non_null(keks);
    for (size_t i = 0; i < COUNT; i++) {
        strcpy(keks[i].label, "p.v1");
        keks[i].attributes = keks[i].known = 0x3FF;
        keks[i].value_len = 32;
    }
    const struct kms_host_answer answer = { .inventory = { .keks = keks, .count = COUNT } };
    KMS_CLEANUP(kms_host_answer_done) struct kms_host_answer back = pass_answer(&answer);
    assert_int_equal(back.inventory.count, COUNT);
    free(keks);
}

static void bytes_pass(void **state)
{
    (void)state;
    struct kms_host_answer answer = { .id = 1 };
    assert_ok(kms_secret_copy(&answer.data, (struct kms_bytes){ seed, sizeof(seed) }, &err), &err);
    KMS_CLEANUP(kms_host_answer_done) struct kms_host_answer back = pass_answer(&answer);
    assert_true(kms_secret_equal(&back.data, &answer.data));
    kms_host_answer_done(&answer);
}

/* --- hostile --- */

static void bytes_that_are_no_message_are_refused(void **state)
{
    (void)state;
    static const uint8_t garbage[] = { 0xFF, 0xFF, 0xFF, 0xFF };
    const struct kms_bytes bytes = { garbage, sizeof(garbage) };
    struct kms_host_request request;
    struct kms_host_answer answer;
    assert_int_equal(kms_host_parse_call(bytes, &request, &err), KMS_E_INVALID);
    assert_int_equal(kms_host_parse_answer(bytes, &answer, &err), KMS_E_INVALID);
}

static void a_call_without_an_operation_is_refused(void **state)
{
    (void)state;
    struct kms_host_request request;
    assert_int_equal(kms_host_parse_call((struct kms_bytes){ NULL, 0 }, &request, &err),
                     KMS_E_INVALID);
}

/* Any cut leaves no call, or one that can be read. */
static void a_call_cut_anywhere_is_refused_or_whole(void **state)
{
    (void)state;
    const struct kms_host_call call = { .op = KMS_HOST_WRAP,
                                        .kek = { "prod.v1", fingerprint, NULL },
                                        .data = { seed, sizeof(seed) } };
    KMS_CLEANUP(kms_secret_done) struct kms_secret bytes = { 0 };
    assert_ok(kms_host_pack_call(&call, &bytes, &err), &err);
    for (size_t len = 0; len < bytes.len; len++) {
        struct kms_host_request request;
        enum kms_code rc = kms_host_parse_call((struct kms_bytes){ bytes.data, len }, &request,
                                               &err);
        assert_int_equal(rc, KMS_E_INVALID);
    }
}

/* Of what kms_host_pack_call() would never make. */
static enum kms_code parse_raw_call(Hsmkms__Host__V1__Call *message)
{
    KMS_CLEANUP(kms_secret_done) struct kms_secret bytes = { 0 };
    struct kms_host_request request;
    assert_ok(kms_pack(&message->base, &bytes, &err), &err);
    enum kms_code rc = kms_host_parse_call(kms_secret_bytes(&bytes), &request, &err);
    if (rc == KMS_OK)
        kms_host_request_done(&request);
    return rc;
}

static void a_fingerprint_of_another_length_is_refused(void **state)
{
    (void)state;
    uint8_t longer[KMS_FINGERPRINT_LEN + 1] = { 0 };
    static const size_t lengths[] = { 0, 1, KMS_FINGERPRINT_LEN - 1, KMS_FINGERPRINT_LEN + 1 };
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        Hsmkms__Host__V1__Kek kek = HSMKMS__HOST__V1__KEK__INIT;
        Hsmkms__Host__V1__Call message = HSMKMS__HOST__V1__CALL__INIT;
        kek.fingerprint = (ProtobufCBinaryData){ lengths[i], longer };
        message.op_case = HSMKMS__HOST__V1__CALL__OP_CANARY;
        message.canary = &kek;
        assert_int_equal(parse_raw_call(&message), KMS_E_INVALID);
    }
}

static void a_wrap_without_a_kek_is_refused(void **state)
{
    (void)state;
    Hsmkms__Host__V1__Wrap wrap = HSMKMS__HOST__V1__WRAP__INIT;
    Hsmkms__Host__V1__Call message = HSMKMS__HOST__V1__CALL__INIT;
    message.op_case = HSMKMS__HOST__V1__CALL__OP_WRAP;
    message.wrap = &wrap;
    assert_int_equal(parse_raw_call(&message), KMS_E_INVALID);
}

static void a_name_too_long_is_refused(void **state)
{
    (void)state;
    char label[KMS_LABEL_MAX + 2];
    uint8_t id[KMS_CKA_ID_MAX + 1] = { 0 };
    Hsmkms__Host__V1__Name name = HSMKMS__HOST__V1__NAME__INIT, *names[] = { &name };
    Hsmkms__Host__V1__List list = HSMKMS__HOST__V1__LIST__INIT;
    Hsmkms__Host__V1__Call message = HSMKMS__HOST__V1__CALL__INIT;
    list.n_names = 1;
    list.names = names;
    message.op_case = HSMKMS__HOST__V1__CALL__OP_LIST;
    message.list = &list;
    assert_int_equal(parse_raw_call(&message), KMS_OK);
    name.cka_id = (ProtobufCBinaryData){ sizeof(id), id };
    assert_int_equal(parse_raw_call(&message), KMS_E_INVALID);
    name.cka_id.len = 0;
    fill(label, sizeof(label), 'l');
    name.label = label;
    assert_int_equal(parse_raw_call(&message), KMS_E_INVALID);
}

/* An answer as raw as may be; its parts are changed one at a time. */
struct raw {
    Hsmkms__Host__V1__Token token;
    Hsmkms__Host__V1__Failure failure;
    Hsmkms__Host__V1__Info kek, *keks[1];
    Hsmkms__Host__V1__Name other, *others[KMS_OTHERS_MAX + 1];
    Hsmkms__Host__V1__Answer message;
    char text[1024];
    uint8_t bytes[1024];
};

static void raw_init(struct raw *raw)
{
    *raw = (struct raw){ .token = HSMKMS__HOST__V1__TOKEN__INIT,
                         .failure = HSMKMS__HOST__V1__FAILURE__INIT,
                         .kek = HSMKMS__HOST__V1__INFO__INIT,
                         .other = HSMKMS__HOST__V1__NAME__INIT,
                         .message = HSMKMS__HOST__V1__ANSWER__INIT };
    fill(raw->text, sizeof(raw->text), 't');
    raw->keks[0] = &raw->kek;
    for (size_t i = 0; i < KMS_OTHERS_MAX + 1; i++)
        raw->others[i] = &raw->other;
    raw->message.token = &raw->token;
    raw->message.keks = raw->keks;
    raw->message.others = raw->others;
}

static enum kms_code parse_raw_answer(const struct raw *raw)
{
    KMS_CLEANUP(kms_secret_done) struct kms_secret bytes = { 0 };
    struct kms_host_answer answer;
    assert_ok(kms_pack(&raw->message.base, &bytes, &err), &err);
    enum kms_code rc = kms_host_parse_answer(kms_secret_bytes(&bytes), &answer, &err);
    if (rc == KMS_OK)
        kms_host_answer_done(&answer);
    return rc;
}

static void an_answer_without_a_token_is_refused(void **state)
{
    (void)state;
    struct raw raw;
    raw_init(&raw);
    assert_int_equal(parse_raw_answer(&raw), KMS_OK);
    raw.message.token = NULL;
    assert_int_equal(parse_raw_answer(&raw), KMS_E_INVALID);
}

static void a_failure_that_is_none_is_refused(void **state)
{
    (void)state;
    static const uint32_t codes[] = { KMS_OK, KMS_CODE_COUNT, UINT32_MAX };
    struct raw raw;
    raw_init(&raw);
    raw.message.failure = &raw.failure;
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        raw.failure.code = codes[i];
        assert_int_equal(parse_raw_answer(&raw), KMS_E_INVALID);
    }
    raw.failure.code = KMS_E_BUSY;
    assert_int_equal(parse_raw_answer(&raw), KMS_OK);
    raw.failure.message = raw.text;
    assert_int_equal(parse_raw_answer(&raw), KMS_E_INVALID);
}

static void a_token_with_a_long_text_is_refused(void **state)
{
    (void)state;
    struct raw raw;
    char **texts[] = { &raw.token.label,        &raw.token.serial,   &raw.token.model,
                       &raw.token.manufacturer, &raw.token.firmware, &raw.token.library,
                       &raw.token.profile };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        raw_init(&raw);
        *texts[i] = raw.text;
        assert_int_equal(parse_raw_answer(&raw), KMS_E_INVALID);
    }
}

static void a_kek_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    struct raw raw;
    char **texts[] = { &raw.kek.label, &raw.kek.problem };
    ProtobufCBinaryData *bytes[] = { &raw.kek.cka_id, &raw.kek.fingerprint };
    for (size_t i = 0; i < 2; i++) {
        raw_init(&raw);
        raw.message.n_keks = 1;
        assert_int_equal(parse_raw_answer(&raw), KMS_OK);
        *texts[i] = raw.text;
        assert_int_equal(parse_raw_answer(&raw), KMS_E_INVALID);
        *texts[i] = raw.text + sizeof(raw.text) - 1;
        *bytes[i] = (ProtobufCBinaryData){ sizeof(raw.bytes), raw.bytes };
        assert_int_equal(parse_raw_answer(&raw), KMS_E_INVALID);
    }
}

static void half_a_fingerprint_is_refused(void **state)
{
    (void)state;
    struct raw raw;
    raw_init(&raw);
    raw.message.n_keks = 1;
    raw.kek.fingerprint = (ProtobufCBinaryData){ KMS_FINGERPRINT_LEN / 2, raw.bytes };
    assert_int_equal(parse_raw_answer(&raw), KMS_E_INVALID);
}

static void more_others_than_an_inventory_has_are_refused(void **state)
{
    (void)state;
    struct raw raw;
    raw_init(&raw);
    raw.message.n_others = KMS_OTHERS_MAX;
    assert_int_equal(parse_raw_answer(&raw), KMS_OK);
    raw.message.n_others = KMS_OTHERS_MAX + 1;
    assert_int_equal(parse_raw_answer(&raw), KMS_E_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_listing_passes),
        cmocka_unit_test(a_listing_without_names_passes),
        cmocka_unit_test(calls_with_a_kek_pass),
        cmocka_unit_test(a_kek_without_a_key_id_has_none),
        cmocka_unit_test(an_algorithm_that_there_is_not_is_refused),
        cmocka_unit_test(a_signature_passes_with_its_call),
        cmocka_unit_test(the_algorithm_of_an_answer_passes),
        cmocka_unit_test(every_deadline_passes),
        cmocka_unit_test(a_failure_passes),
        cmocka_unit_test(a_failure_without_an_operation_passes),
        cmocka_unit_test(what_the_token_says_passes),
        cmocka_unit_test(an_inventory_passes),
        cmocka_unit_test(thousands_of_short_keks_pass),
        cmocka_unit_test(bytes_pass),
        cmocka_unit_test(bytes_that_are_no_message_are_refused),
        cmocka_unit_test(a_call_without_an_operation_is_refused),
        cmocka_unit_test(a_call_cut_anywhere_is_refused_or_whole),
        cmocka_unit_test(a_fingerprint_of_another_length_is_refused),
        cmocka_unit_test(a_wrap_without_a_kek_is_refused),
        cmocka_unit_test(a_name_too_long_is_refused),
        cmocka_unit_test(an_answer_without_a_token_is_refused),
        cmocka_unit_test(a_failure_that_is_none_is_refused),
        cmocka_unit_test(a_token_with_a_long_text_is_refused),
        cmocka_unit_test(a_kek_that_does_not_fit_is_refused),
        cmocka_unit_test(half_a_fingerprint_is_refused),
        cmocka_unit_test(more_others_than_an_inventory_has_are_refused),
        cmocka_unit_test(operations_beyond_number_or_length_are_still_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
