/* SPDX-License-Identifier: Apache-2.0 */
#include "manage.h"

#include "edit.h"
#include "token.h"

/* Each operation takes what it needs of these. */
struct manage_args {
    const struct kms_object *object;
    const char *label; /* the new one */
    bool usable;
    bool tried; /* by an earlier attempt of the same call */
    struct pkcs11_new_kek new_kek;
    struct kms_kek_info *ret_kek;
    struct kms_kek_details *ret_details;
};

/* Without a login private keys are hidden, and would seem not to be there. */
static enum kms_code check_login(const struct pkcs11_call *call, const struct pkcs11_place *place,
                                 struct kms_error *err)
{
    return pkcs11_token_check_login(place->wrap->fn, place->session->handle, call->link.token, err);
}

/* --- made --- */

static enum kms_code run_generate(struct pkcs11_call *call, const struct pkcs11_place *place,
                                  CK_OBJECT_HANDLE unused, struct kms_error *err)
{
    (void)unused;
    struct manage_args *args = call->args;
    struct pkcs11_kek kek;
    enum kms_code rc = pkcs11_kek_generate(place, &args->new_kek, &kek, err);
    if (rc == KMS_OK)
        *args->ret_kek = kek.info;
    return rc;
}

enum kms_code pkcs11_manage_generate(struct kms_keystore *base, const char *label,
                                     int64_t deadline_ms, struct kms_kek_info *ret_kek,
                                     struct kms_error *err)
{
    struct manage_args args = { .ret_kek = ret_kek };
    enum kms_code rc = pkcs11_new_kek_init(&args.new_kek, label, err);
    if (rc != KMS_OK)
        return rc;
    struct pkcs11_call call = { .run = run_generate, .args = &args, .deadline_ms = deadline_ms };
    return pkcs11_keystore_run(base, call, err);
}

static enum kms_code run_copy(struct pkcs11_call *call, const struct pkcs11_place *place,
                              CK_OBJECT_HANDLE unused, struct kms_error *err)
{
    (void)unused;
    struct manage_args *args = call->args;
    struct pkcs11_kek kek;
    enum kms_code rc = check_login(call, place, err);
    if (rc == KMS_OK)
        rc = pkcs11_kek_copy(place, args->object, &args->new_kek, &kek, err);
    if (rc == KMS_OK)
        *args->ret_kek = kek.info;
    return rc;
}

enum kms_code pkcs11_manage_copy(struct kms_keystore *base, const struct kms_object *from,
                                 const char *label, int64_t deadline_ms,
                                 struct kms_kek_info *ret_kek, struct kms_error *err)
{
    struct manage_args args = { .object = from, .ret_kek = ret_kek };
    enum kms_code rc = pkcs11_new_kek_init(&args.new_kek, label, err);
    if (rc != KMS_OK)
        return rc;
    struct pkcs11_call call = { .run = run_copy, .args = &args, .deadline_ms = deadline_ms };
    return pkcs11_keystore_run(base, call, err);
}

/* --- changed and destroyed --- */

/* The next inventory reads the key anew, and doesn't miss it under what it was. */
static enum kms_code forget(struct pkcs11_call *call, enum kms_code rc)
{
    const struct manage_args *args = call->args;
    if (rc == KMS_OK)
        pkcs11_cache_drop(call->cache, args->object);
    return rc;
}

static enum kms_code run_relabel(struct pkcs11_call *call, const struct pkcs11_place *place,
                                 CK_OBJECT_HANDLE unused, struct kms_error *err)
{
    (void)unused;
    struct manage_args *args = call->args;
    enum kms_code rc = check_login(call, place, err);
    if (rc == KMS_OK)
        rc = pkcs11_kek_relabel(place, args->object, args->label, &args->tried, err);
    return forget(call, rc);
}

enum kms_code pkcs11_manage_relabel(struct kms_keystore *base, const struct kms_object *kek,
                                    const char *label, int64_t deadline_ms, struct kms_error *err)
{
    struct manage_args args = { .object = kek, .label = label };
    struct pkcs11_call call = { .run = run_relabel, .args = &args, .deadline_ms = deadline_ms };
    return pkcs11_keystore_run(base, call, err);
}

static enum kms_code run_set_usage(struct pkcs11_call *call, const struct pkcs11_place *place,
                                   CK_OBJECT_HANDLE unused, struct kms_error *err)
{
    (void)unused;
    const struct manage_args *args = call->args;
    enum kms_code rc = check_login(call, place, err);
    if (rc == KMS_OK)
        rc = pkcs11_kek_set_usage(place, args->object, args->usable, err);
    return forget(call, rc);
}

enum kms_code pkcs11_manage_set_usage(struct kms_keystore *base, const struct kms_object *kek,
                                      bool usable, int64_t deadline_ms, struct kms_error *err)
{
    struct manage_args args = { .object = kek, .usable = usable };
    struct pkcs11_call call = { .run = run_set_usage, .args = &args, .deadline_ms = deadline_ms };
    return pkcs11_keystore_run(base, call, err);
}

static enum kms_code run_destroy(struct pkcs11_call *call, const struct pkcs11_place *place,
                                 CK_OBJECT_HANDLE unused, struct kms_error *err)
{
    (void)unused;
    struct manage_args *args = call->args;
    enum kms_code rc = check_login(call, place, err);
    if (rc == KMS_OK)
        rc = pkcs11_kek_destroy(place, args->object, &args->tried, err);
    return forget(call, rc);
}

enum kms_code pkcs11_manage_destroy(struct kms_keystore *base, const char *label,
                                    struct kms_bytes cka_id, int64_t deadline_ms,
                                    struct kms_error *err)
{
    const struct kms_object object = { label, cka_id };
    struct manage_args args = { .object = &object };
    struct pkcs11_call call = { .run = run_destroy, .args = &args, .deadline_ms = deadline_ms };
    return pkcs11_keystore_run(base, call, err);
}

/* --- looked at --- */

static enum kms_code run_inspect(struct pkcs11_call *call, const struct pkcs11_place *place,
                                 CK_OBJECT_HANDLE unused, struct kms_error *err)
{
    (void)unused;
    const struct manage_args *args = call->args;
    enum kms_code rc = check_login(call, place, err);
    return rc == KMS_OK ? pkcs11_kek_inspect(place, args->object, args->ret_details, err) : rc;
}

enum kms_code pkcs11_manage_inspect(struct kms_keystore *base, const struct kms_object *kek,
                                    int64_t deadline_ms, struct kms_kek_details *ret_details,
                                    struct kms_error *err)
{
    struct manage_args args = { .object = kek, .ret_details = ret_details };
    struct pkcs11_call call = { .run = run_inspect, .args = &args, .deadline_ms = deadline_ms };
    return pkcs11_keystore_run(base, call, err);
}
