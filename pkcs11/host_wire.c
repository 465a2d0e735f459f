/* SPDX-License-Identifier: Apache-2.0 */
#include "host_wire.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/host.pb-c.h"

/* Small names and KEKs take more room unpacked than an arena expects. */
enum { ARENA_MORE = 16 * 1024, ARENA_TIMES = 4 };

void kms_host_answer_done(struct kms_host_answer *answer)
{
    kms_inventory_done(&answer->inventory);
    kms_secret_done(&answer->data);
    *answer = (struct kms_host_answer){ .failure = { .code = KMS_OK } };
}

void kms_host_request_done(struct kms_host_request *request)
{
    free(request->names);
    kms_arena_done(&request->arena);
    *request = (struct kms_host_request){ .names = NULL };
}

/* False: too long for its place. */
static bool copy_text(char *place, size_t size, const char *text)
{
    size_t len = strlen(text);
    if (len >= size)
        return false;
    memcpy(place, text, len + 1);
    return true;
}

static bool copy_bytes(uint8_t *place, size_t size, ProtobufCBinaryData data, size_t *ret_len)
{
    if (data.len > size)
        return false;
    if (data.len > 0)
        memcpy(place, data.data, data.len);
    *ret_len = data.len;
    return true;
}

static enum kms_code malformed(const char *what, struct kms_error *err)
{
    return kms_fail(err, KMS_E_INVALID, "a %s that the other side can't have meant", what);
}

/* --- names --- */

/* One block each for messages and the pointers to them. */
struct name_list {
    Hsmkms__Host__V1__Name *messages;
    Hsmkms__Host__V1__Name **pointers;
};

static void name_list_done(struct name_list *list)
{
    free(list->messages);
    free((void *)list->pointers);
}

static enum kms_code name_list_init(struct name_list *list, const struct kms_kek_name *names,
                                    size_t count, struct kms_error *err)
{
    list->messages = calloc(count + 1, sizeof(*list->messages));
    list->pointers = calloc(count + 1, sizeof(Hsmkms__Host__V1__Name *));
    if (list->messages == NULL || list->pointers == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory for %zu names", count);
    for (size_t i = 0; i < count; i++) {
        Hsmkms__Host__V1__Name *message = &list->messages[i];
        *message = (Hsmkms__Host__V1__Name)HSMKMS__HOST__V1__NAME__INIT;
        message->label = kms_pack_text(names[i].label);
        message->cka_id = kms_pack_data((struct kms_bytes){ names[i].cka_id, names[i].cka_id_len });
        list->pointers[i] = message;
    }
    return KMS_OK;
}

static enum kms_code parse_names(Hsmkms__Host__V1__Name *const *messages, size_t count,
                                 struct kms_kek_name **ret_names, struct kms_error *err)
{
    struct kms_kek_name *names = calloc(count + 1, sizeof(*names));
    if (names == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory for %zu names", count);
    bool good = true;
    for (size_t i = 0; i < count; i++)
        good = good && copy_text(names[i].label, sizeof(names[i].label), messages[i]->label) &&
               copy_bytes(names[i].cka_id, sizeof(names[i].cka_id), messages[i]->cka_id,
                          &names[i].cka_id_len);
    if (!good) {
        free(names);
        return malformed("name", err);
    }
    *ret_names = names;
    return KMS_OK;
}

/* --- calls --- */

static Hsmkms__Host__V1__Kek pack_ref(const struct kms_kek_ref *ref)
{
    Hsmkms__Host__V1__Kek kek = HSMKMS__HOST__V1__KEK__INIT;
    kek.label = kms_pack_text(ref->label);
    kek.fingerprint = kms_pack_data((struct kms_bytes){ ref->fingerprint, KMS_FINGERPRINT_LEN });
    kek.key_id = kms_pack_text(ref->key_id != NULL ? ref->key_id : "");
    return kek;
}

static enum kms_code pack_list(const struct kms_host_call *call, Hsmkms__Host__V1__Call *message,
                               struct kms_secret *ret_bytes, struct kms_error *err)
{
    KMS_CLEANUP(name_list_done) struct name_list names = { 0 };
    const struct kms_kek_filter *filter = &call->filter;
    enum kms_code rc = name_list_init(&names, filter->names, filter->name_count, err);
    if (rc != KMS_OK)
        return rc;
    Hsmkms__Host__V1__List list = HSMKMS__HOST__V1__LIST__INIT;
    list.label_prefix = kms_pack_text(filter->label_prefix);
    list.n_names = filter->name_count;
    list.names = names.pointers;
    list.reload = call->reload;
    message->op_case = HSMKMS__HOST__V1__CALL__OP_LIST;
    message->list = &list;
    rc = kms_pack(&message->base, ret_bytes, err);
    message->list = NULL;
    return rc;
}

static enum kms_code pack_sign(const struct kms_host_call *call, Hsmkms__Host__V1__Call *message,
                               struct kms_secret *ret_bytes, struct kms_error *err)
{
    Hsmkms__Host__V1__Sign sign = HSMKMS__HOST__V1__SIGN__INIT;
    sign.label = kms_pack_text(call->label);
    sign.message = kms_pack_data(call->data);
    message->op_case = HSMKMS__HOST__V1__CALL__OP_SIGN;
    message->sign = &sign;
    enum kms_code rc = kms_pack(&message->base, ret_bytes, err);
    message->sign = NULL;
    return rc;
}

enum kms_code kms_host_pack_call(const struct kms_host_call *call, struct kms_secret *ret_bytes,
                                 struct kms_error *err)
{
    Hsmkms__Host__V1__Call message = HSMKMS__HOST__V1__CALL__INIT;
    Hsmkms__Host__V1__Wrap wrap = HSMKMS__HOST__V1__WRAP__INIT;
    Hsmkms__Host__V1__Unwrap unwrap = HSMKMS__HOST__V1__UNWRAP__INIT;
    message.time_left = call->time_left_ms;
    message.id = call->id;
    if (call->op == KMS_HOST_LIST)
        return pack_list(call, &message, ret_bytes, err);
    if (call->op == KMS_HOST_SIGN)
        return pack_sign(call, &message, ret_bytes, err);
    Hsmkms__Host__V1__Kek kek = pack_ref(&call->kek);
    switch (call->op) {
    case KMS_HOST_CANARY:
        message.op_case = HSMKMS__HOST__V1__CALL__OP_CANARY;
        message.canary = &kek;
        break;
    case KMS_HOST_WRAP:
        wrap.kek = &kek;
        wrap.seed = kms_pack_data(call->data);
        message.op_case = HSMKMS__HOST__V1__CALL__OP_WRAP;
        message.wrap = &wrap;
        break;
    case KMS_HOST_UNWRAP:
        unwrap.kek = &kek;
        unwrap.wrapped = kms_pack_data(call->data);
        unwrap.algorithm = (uint32_t)call->algorithm;
        message.op_case = HSMKMS__HOST__V1__CALL__OP_UNWRAP;
        message.unwrap = &unwrap;
        break;
    case KMS_HOST_LIST:
    case KMS_HOST_SIGN:
        break;
    }
    return kms_pack(&message.base, ret_bytes, err);
}

static bool parse_ref(const Hsmkms__Host__V1__Kek *kek, struct kms_kek_ref *ret_ref)
{
    if (kek == NULL || kek->fingerprint.len != KMS_FINGERPRINT_LEN)
        return false;
    *ret_ref = (struct kms_kek_ref){ kek->label, kek->fingerprint.data,
                                     kek->key_id[0] != '\0' ? kek->key_id : NULL };
    return true;
}

static bool parse_algorithm(uint32_t number, enum kms_algorithm *ret_algorithm)
{
    *ret_algorithm = (enum kms_algorithm)number;
    return number < KMS_ALGORITHM_COUNT;
}

static enum kms_code parse_list(const Hsmkms__Host__V1__List *list,
                                struct kms_host_request *request, struct kms_error *err)
{
    request->call.op = KMS_HOST_LIST;
    request->call.reload = list->reload != 0;
    enum kms_code rc = parse_names(list->names, list->n_names, &request->names, err);
    request->call.filter = (struct kms_kek_filter){
        .label_prefix = list->label_prefix,
        .names = request->names,
        .name_count = list->n_names,
    };
    return rc;
}

static enum kms_code read_call(const Hsmkms__Host__V1__Call *message,
                               struct kms_host_request *request, struct kms_error *err)
{
    struct kms_host_call *call = &request->call;
    bool good = false;
    call->time_left_ms = message->time_left;
    call->id = message->id;
    switch (message->op_case) {
    case HSMKMS__HOST__V1__CALL__OP_LIST:
        return parse_list(message->list, request, err);
    case HSMKMS__HOST__V1__CALL__OP_CANARY:
        call->op = KMS_HOST_CANARY;
        good = parse_ref(message->canary, &call->kek);
        break;
    case HSMKMS__HOST__V1__CALL__OP_WRAP:
        call->op = KMS_HOST_WRAP;
        call->data = kms_pack_bytes(message->wrap->seed);
        good = parse_ref(message->wrap->kek, &call->kek);
        break;
    case HSMKMS__HOST__V1__CALL__OP_UNWRAP:
        call->op = KMS_HOST_UNWRAP;
        call->data = kms_pack_bytes(message->unwrap->wrapped);
        good = parse_ref(message->unwrap->kek, &call->kek) &&
               parse_algorithm(message->unwrap->algorithm, &call->algorithm);
        break;
    case HSMKMS__HOST__V1__CALL__OP_SIGN:
        call->op = KMS_HOST_SIGN;
        call->label = message->sign->label;
        call->data = kms_pack_bytes(message->sign->message);
        good = true;
        break;
    case HSMKMS__HOST__V1__CALL__OP__NOT_SET:
    case _HSMKMS__HOST__V1__CALL__OP__CASE_IS_INT_SIZE:
        break;
    }
    return good ? KMS_OK : malformed("call", err);
}

enum kms_code kms_host_parse_call(struct kms_bytes bytes, struct kms_host_request *ret_request,
                                  struct kms_error *err)
{
    *ret_request = (struct kms_host_request){ .names = NULL };
    enum kms_code rc = kms_arena_init(&ret_request->arena, ARENA_TIMES * bytes.len + ARENA_MORE,
                                      err);
    if (rc != KMS_OK)
        return rc;
    ProtobufCMessage *message = NULL;
    rc = kms_unpack(&ret_request->arena, &hsmkms__host__v1__call__descriptor, bytes, &message, err);
    if (rc == KMS_OK)
        rc = read_call((const Hsmkms__Host__V1__Call *)message, ret_request, err);
    if (rc != KMS_OK)
        kms_host_request_done(ret_request);
    return rc;
}

/* --- answers --- */

struct info_list {
    Hsmkms__Host__V1__Info *messages;
    Hsmkms__Host__V1__Info **pointers;
};

static void info_list_done(struct info_list *list)
{
    free(list->messages);
    free((void *)list->pointers);
}

static enum kms_code info_list_init(struct info_list *list, const struct kms_inventory *inventory,
                                    struct kms_error *err)
{
    list->messages = calloc(inventory->count + 1, sizeof(*list->messages));
    list->pointers = calloc(inventory->count + 1, sizeof(Hsmkms__Host__V1__Info *));
    if (list->messages == NULL || list->pointers == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory for %zu KEKs", inventory->count);
    for (size_t i = 0; i < inventory->count; i++) {
        const struct kms_kek_info *kek = &inventory->keks[i];
        Hsmkms__Host__V1__Info *message = &list->messages[i];
        *message = (Hsmkms__Host__V1__Info)HSMKMS__HOST__V1__INFO__INIT;
        message->label = kms_pack_text(kek->label);
        message->cka_id = kms_pack_data((struct kms_bytes){ kek->cka_id, kek->cka_id_len });
        message->attributes = kek->attributes;
        message->known = kek->known;
        message->value_len = kek->value_len;
        if (kek->fingerprinted)
            message->fingerprint = kms_pack_data(
                (struct kms_bytes){ kek->fingerprint, sizeof(kek->fingerprint) });
        message->problem = kms_pack_text(kek->problem);
        list->pointers[i] = message;
    }
    return KMS_OK;
}

static void pack_token(const struct kms_token_info *token, Hsmkms__Host__V1__Token *ret)
{
    *ret = (Hsmkms__Host__V1__Token)HSMKMS__HOST__V1__TOKEN__INIT;
    ret->label = kms_pack_text(token->label);
    ret->serial = kms_pack_text(token->serial);
    ret->model = kms_pack_text(token->model);
    ret->manufacturer = kms_pack_text(token->manufacturer);
    ret->firmware = kms_pack_text(token->firmware);
    ret->library = kms_pack_text(token->library);
    ret->profile = kms_pack_text(token->profile);
    ret->connected = token->connected;
    ret->algorithm = (uint32_t)token->algorithm;
}

static Hsmkms__Host__V1__Signature *pack_signature(const struct kms_signature *signature,
                                                   Hsmkms__Host__V1__Signature *message)
{
    message->data = kms_pack_data((struct kms_bytes){ signature->data, signature->len });
    message->signing = (uint32_t)signature->signing;
    message->key_sha256 = kms_pack_data(
        (struct kms_bytes){ signature->key_sha256, sizeof(signature->key_sha256) });
    return message;
}

enum kms_code kms_host_pack_answer(const struct kms_host_answer *answer,
                                   struct kms_secret *ret_bytes, struct kms_error *err)
{
    KMS_CLEANUP(info_list_done) struct info_list keks = { 0 };
    KMS_CLEANUP(name_list_done) struct name_list others = { 0 };
    const struct kms_inventory *inventory = &answer->inventory;
    enum kms_code rc = info_list_init(&keks, inventory, err);
    if (rc == KMS_OK)
        rc = name_list_init(&others, inventory->others, inventory->other_count, err);
    if (rc != KMS_OK)
        return rc;
    Hsmkms__Host__V1__Failure failure = HSMKMS__HOST__V1__FAILURE__INIT;
    Hsmkms__Host__V1__Token token;
    Hsmkms__Host__V1__Answer message = HSMKMS__HOST__V1__ANSWER__INIT;
    if (answer->failure.code != KMS_OK) {
        failure.code = (uint32_t)answer->failure.code;
        failure.ckr = answer->failure.ckr;
        failure.op = kms_pack_text(answer->failure.op != NULL ? answer->failure.op : "");
        failure.message = kms_pack_text(answer->failure.msg);
        message.failure = &failure;
    }
    pack_token(&answer->token, &token);
    message.id = answer->id;
    message.token = &token;
    message.n_keks = inventory->count;
    message.keks = keks.pointers;
    message.n_others = inventory->other_count;
    message.others = others.pointers;
    message.data = kms_pack_data(kms_secret_bytes(&answer->data));
    message.algorithm = (uint32_t)answer->algorithm;
    Hsmkms__Host__V1__Signature signature = HSMKMS__HOST__V1__SIGNATURE__INIT;
    if (answer->signature.len > 0)
        message.signature = pack_signature(&answer->signature, &signature);
    return kms_pack(&message.base, ret_bytes, err);
}

/* A kms_error's op is a constant: the few names that come (of Cryptoki functions and system calls)
 * are kept for good. */
static const char *intern(const char *op)
{
    enum { OPS_MAX = 128, OP_LEN_MAX = 31 };
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static char ops[OPS_MAX][OP_LEN_MAX + 1];
    const char *found = NULL;
    if (op[0] == '\0')
        return NULL;
    if (strlen(op) > OP_LEN_MAX)
        return "token host";
    (void)pthread_mutex_lock(&lock);
    for (size_t i = 0; i < OPS_MAX && found == NULL; i++) {
        if (ops[i][0] == '\0')
            (void)copy_text(ops[i], sizeof(ops[i]), op);
        if (strcmp(ops[i], op) == 0)
            found = ops[i];
    }
    (void)pthread_mutex_unlock(&lock);
    return found != NULL ? found : "token host";
}

static bool read_failure(const Hsmkms__Host__V1__Failure *message, struct kms_error *ret)
{
    *ret = (struct kms_error){ .code = KMS_OK };
    if (message == NULL)
        return true;
    if (message->code == KMS_OK || message->code >= KMS_CODE_COUNT)
        return false;
    ret->code = (enum kms_code)message->code;
    ret->ckr = (unsigned long)message->ckr;
    ret->op = intern(message->op);
    return copy_text(ret->msg, sizeof(ret->msg), message->message);
}

static bool read_token(const Hsmkms__Host__V1__Token *message, struct kms_token_info *ret)
{
    *ret = (struct kms_token_info){ .connected = message != NULL && message->connected };
    return message != NULL && copy_text(ret->label, sizeof(ret->label), message->label) &&
           copy_text(ret->serial, sizeof(ret->serial), message->serial) &&
           copy_text(ret->model, sizeof(ret->model), message->model) &&
           copy_text(ret->manufacturer, sizeof(ret->manufacturer), message->manufacturer) &&
           copy_text(ret->firmware, sizeof(ret->firmware), message->firmware) &&
           copy_text(ret->library, sizeof(ret->library), message->library) &&
           copy_text(ret->profile, sizeof(ret->profile), message->profile) &&
           parse_algorithm(message->algorithm, &ret->algorithm);
}

static bool read_info(const Hsmkms__Host__V1__Info *message, struct kms_kek_info *ret)
{
    size_t fingerprint_len = 0;
    ret->attributes = message->attributes;
    ret->known = message->known;
    ret->value_len = message->value_len;
    if (!copy_text(ret->label, sizeof(ret->label), message->label) ||
        !copy_text(ret->problem, sizeof(ret->problem), message->problem) ||
        !copy_bytes(ret->cka_id, sizeof(ret->cka_id), message->cka_id, &ret->cka_id_len) ||
        !copy_bytes(ret->fingerprint, sizeof(ret->fingerprint), message->fingerprint,
                    &fingerprint_len))
        return false;
    ret->fingerprinted = fingerprint_len == KMS_FINGERPRINT_LEN;
    return ret->fingerprinted || fingerprint_len == 0;
}

static enum kms_code read_inventory(const Hsmkms__Host__V1__Answer *message,
                                    struct kms_inventory *ret, struct kms_error *err)
{
    enum kms_code rc = parse_names(message->others, message->n_others, &ret->others, err);
    if (rc != KMS_OK)
        return rc;
    ret->other_count = message->n_others;
    ret->keks = calloc(message->n_keks + 1, sizeof(*ret->keks));
    if (ret->keks == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory for %zu KEKs", message->n_keks);
    ret->count = message->n_keks;
    for (size_t i = 0; i < message->n_keks; i++)
        if (!read_info(message->keks[i], &ret->keks[i]))
            return malformed("KEK", err);
    return KMS_OK;
}

static bool read_signature(const Hsmkms__Host__V1__Signature *message, struct kms_signature *ret)
{
    size_t key_len = 0;
    if (message == NULL)
        return true;
    ret->signing = (enum kms_signing)message->signing;
    return message->signing <= KMS_SIGNING_RSA_PKCS1 &&
           copy_bytes(ret->data, sizeof(ret->data), message->data, &ret->len) &&
           copy_bytes(ret->key_sha256, sizeof(ret->key_sha256), message->key_sha256, &key_len) &&
           key_len == sizeof(ret->key_sha256);
}

static enum kms_code read_answer(const Hsmkms__Host__V1__Answer *message,
                                 struct kms_host_answer *answer, struct kms_error *err)
{
    if (!read_failure(message->failure, &answer->failure) ||
        !read_token(message->token, &answer->token) || message->n_others > KMS_OTHERS_MAX ||
        !parse_algorithm(message->algorithm, &answer->algorithm) ||
        !read_signature(message->signature, &answer->signature))
        return malformed("answer", err);
    answer->id = message->id;
    enum kms_code rc = read_inventory(message, &answer->inventory, err);
    if (rc == KMS_OK)
        rc = kms_secret_copy(&answer->data, kms_pack_bytes(message->data), err);
    return rc;
}

enum kms_code kms_host_parse_answer(struct kms_bytes bytes, struct kms_host_answer *ret_answer,
                                    struct kms_error *err)
{
    KMS_CLEANUP(kms_arena_done) struct kms_arena arena = { .used = 0 };
    KMS_CLEANUP(kms_host_answer_done)
    struct kms_host_answer answer = { .failure = { .code = KMS_OK } };
    enum kms_code rc = kms_arena_init(&arena, ARENA_TIMES * bytes.len + ARENA_MORE, err);
    ProtobufCMessage *message = NULL;
    if (rc == KMS_OK)
        rc = kms_unpack(&arena, &hsmkms__host__v1__answer__descriptor, bytes, &message, err);
    if (rc == KMS_OK)
        rc = read_answer((const Hsmkms__Host__V1__Answer *)message, &answer, err);
    if (rc != KMS_OK)
        return rc;
    *ret_answer = answer;
    answer = (struct kms_host_answer){ .failure = { .code = KMS_OK } };
    return KMS_OK;
}
