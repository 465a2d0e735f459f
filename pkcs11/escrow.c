/* SPDX-License-Identifier: Apache-2.0 */
#include "escrow.h"

#include <string.h>

#include "attributes.h"
#include "edit.h"
#include "find.h"
#include "manage.h"
#include "oaep.h"
#include "profile.h"
#include "rv.h"
#include "token.h"
#include "transport.h"

struct escrow_args {
    const struct kms_object *object;
    const struct pkcs11_rsa_numbers *recipient;
    enum kms_oaep_hash hash;
    struct pkcs11_new_kek new_kek;
    struct kms_transport_blob *ret_blob;
    struct kms_kek_info *ret_kek;
};

/* The handle of the one key that is meant, and what it is now. */
static enum kms_code find_one(const struct pkcs11_call *call, const struct pkcs11_place *place,
                              const struct kms_object *kek, struct pkcs11_object *ret_object,
                              struct kms_kek_info *ret_info, struct kms_error *err)
{
    CK_FUNCTION_LIST *fn = place->wrap->fn;
    KMS_CLEANUP(pkcs11_handles_done) struct pkcs11_handles found = { 0 };
    /* Without a login private keys are hidden, and would seem not to be there. */
    enum kms_code rc = pkcs11_token_check_login(fn, place->session->handle, call->link.token, err);
    if (rc == KMS_OK)
        rc = pkcs11_find_keys(fn, place->session->handle, kek->label, &kek->cka_id, &found, err);
    if (rc != KMS_OK)
        return rc;
    if (found.count != 1)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "%zu keys have label '%s' and this CKA_ID: nothing was changed",
                        found.count, kek->label);
    *ret_object = (struct pkcs11_object){ fn, place->session->handle, found.handles[0] };
    return pkcs11_read_attributes(ret_object, ret_info, err);
}

/* --- generated --- */

static enum kms_code run_generate(struct pkcs11_call *call, const struct pkcs11_place *place,
                                  CK_OBJECT_HANDLE unused, struct kms_error *err)
{
    (void)unused;
    struct escrow_args *args = call->args;
    struct pkcs11_kek kek;
    enum kms_code rc = pkcs11_kek_generate(place, &args->new_kek, &kek, err);
    if (rc == KMS_OK)
        *args->ret_kek = kek.info;
    return rc;
}

enum kms_code pkcs11_escrow_generate(struct kms_keystore *base, const char *label,
                                     int64_t deadline_ms, struct kms_kek_info *ret_kek,
                                     struct kms_error *err)
{
    struct escrow_args args = { .ret_kek = ret_kek };
    enum kms_code rc = pkcs11_new_kek_init(&args.new_kek, label, err);
    if (rc != KMS_OK)
        return rc;
    args.new_kek.extractable = true;
    struct pkcs11_call call = { .run = run_generate, .args = &args, .deadline_ms = deadline_ms };
    return pkcs11_keystore_run(base, call, err);
}

/* --- exported --- */

static enum kms_code create_recipient(const struct pkcs11_place *place,
                                      const struct pkcs11_rsa_numbers *numbers,
                                      CK_OBJECT_HANDLE *ret_handle, struct kms_error *err)
{
    struct pkcs11_template template = { 0 };
    pkcs11_template_number(&template, CKA_CLASS, CKO_PUBLIC_KEY);
    pkcs11_template_number(&template, CKA_KEY_TYPE, CKK_RSA);
    pkcs11_template_bool(&template, CKA_TOKEN, false);
    pkcs11_template_bool(&template, CKA_PRIVATE, false);
    pkcs11_template_bool(&template, CKA_WRAP, true);
    pkcs11_template_bool(&template, CKA_ENCRYPT, false);
    pkcs11_template_bool(&template, CKA_VERIFY, false);
    pkcs11_template_bytes(&template, CKA_MODULUS,
                          (struct kms_bytes){ numbers->modulus, numbers->modulus_len });
    pkcs11_template_bytes(&template, CKA_PUBLIC_EXPONENT,
                          (struct kms_bytes){ numbers->exponent, numbers->exponent_len });
    CK_RV rv = place->wrap->fn->C_CreateObject(place->session->handle, template.items,
                                               template.count, ret_handle);
    if (rv != CKR_OK)
        return pkcs11_fail(err, "C_CreateObject", rv, "bringing the recipient's public key in");
    return KMS_OK;
}

static enum kms_code wrap_by(const struct pkcs11_place *place, CK_OBJECT_HANDLE recipient,
                             CK_OBJECT_HANDLE kek, const struct escrow_args *args,
                             enum kms_oaep_hash hash, struct kms_error *err)
{
    struct pkcs11_oaep oaep;
    pkcs11_oaep_init(&oaep, hash);
    struct kms_transport_blob blob = { .hash = hash };
    CK_ULONG len = sizeof(blob.data);
    CK_RV rv = place->wrap->fn->C_WrapKey(place->session->handle, &oaep.mechanism, recipient, kek,
                                          blob.data, &len);
    if (rv != CKR_OK)
        return pkcs11_fail(err, "C_WrapKey", rv, "wrapping KEK '%s' by RSA-OAEP",
                           args->object->label);
    if (len != args->recipient->modulus_len)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "C_WrapKey: the module answered with %lu bytes where RSA-OAEP gives %zu",
                        len, args->recipient->modulus_len);
    blob.len = len;
    *args->ret_blob = blob;
    return KMS_OK;
}

/* A module that doesn't know a hash says so in as many ways as there are modules. */
static enum kms_code wrap_by_best(const struct pkcs11_place *place, CK_OBJECT_HANDLE recipient,
                                  CK_OBJECT_HANDLE kek, const struct escrow_args *args,
                                  struct kms_error *err)
{
    if (args->hash == KMS_OAEP_SHA1)
        return wrap_by(place, recipient, kek, args, KMS_OAEP_SHA1, err);
    enum kms_code rc = wrap_by(place, recipient, kek, args, KMS_OAEP_SHA256, err);
    enum pkcs11_class class = rc == KMS_OK ? PKCS11_CLASS_NONE : pkcs11_error_class(err);
    if (class != PKCS11_CLASS_CONFIG && class != PKCS11_CLASS_AMBIGUOUS)
        return rc;
    return wrap_by(place, recipient, kek, args, KMS_OAEP_SHA1, err);
}

static enum kms_code run_export(struct pkcs11_call *call, const struct pkcs11_place *place,
                                CK_OBJECT_HANDLE unused, struct kms_error *err)
{
    (void)unused;
    const struct escrow_args *args = call->args;
    struct pkcs11_object kek = { 0 };
    struct kms_kek_info info = { .label = "" };
    enum kms_code rc = find_one(call, place, args->object, &kek, &info, err);
    if (rc == KMS_OK && (info.known & info.attributes & KMS_KEK_EXTRACTABLE) == 0)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "KEK '%s' can't leave the token (CKA_EXTRACTABLE is false)",
                        args->object->label);
    CK_OBJECT_HANDLE recipient = CK_INVALID_HANDLE;
    if (rc == KMS_OK)
        rc = create_recipient(place, args->recipient, &recipient, err);
    if (rc != KMS_OK)
        return rc;
    rc = wrap_by_best(place, recipient, kek.handle, args, err);
    pkcs11_wrap_destroy(place->wrap->fn, place->session, recipient);
    return rc;
}

enum kms_code pkcs11_escrow_export(struct kms_keystore *base, const struct kms_object *kek,
                                   const struct kms_spki *recipient, enum kms_oaep_hash hash,
                                   int64_t deadline_ms, struct kms_transport_blob *ret_blob,
                                   struct kms_error *err)
{
    struct pkcs11_rsa_numbers numbers;
    enum kms_code rc = pkcs11_spki_to_numbers(recipient, &numbers, err);
    if (rc != KMS_OK)
        return rc;
    struct escrow_args args = {
        .object = kek, .recipient = &numbers, .hash = hash, .ret_blob = ret_blob
    };
    struct pkcs11_call call = { .run = run_export, .args = &args, .deadline_ms = deadline_ms };
    return pkcs11_keystore_run(base, call, err);
}

/* --- sealed --- */

static bool is_sealed(const struct kms_kek_info *info)
{
    return (info->known & ~info->attributes & KMS_KEK_EXTRACTABLE) != 0;
}

static enum kms_code run_seal(struct pkcs11_call *call, const struct pkcs11_place *place,
                              CK_OBJECT_HANDLE unused, struct kms_error *err)
{
    (void)unused;
    const struct escrow_args *args = call->args;
    struct pkcs11_object kek = { 0 };
    struct kms_kek_info info = { .label = "" };
    enum kms_code rc = find_one(call, place, args->object, &kek, &info, err);
    if (rc != KMS_OK || is_sealed(&info)) /* some tokens refuse to clear it twice */
        return rc;
    struct pkcs11_template template = { 0 };
    pkcs11_template_bool(&template, CKA_EXTRACTABLE, false);
    CK_RV rv = kek.fn->C_SetAttributeValue(kek.session, kek.handle, template.items, template.count);
    if (rv != CKR_OK)
        return pkcs11_fail(err, "C_SetAttributeValue", rv, "clearing CKA_EXTRACTABLE of KEK '%s'",
                           args->object->label);
    rc = pkcs11_read_attributes(&kek, &info, err);
    if (rc == KMS_OK && !is_sealed(&info))
        return kms_fail(err, KMS_E_PRECONDITION,
                        "C_SetAttributeValue: the token said yes, but KEK '%s' can still leave it: "
                        "destroy it",
                        args->object->label);
    if (rc == KMS_OK)
        pkcs11_cache_drop(call->cache, args->object);
    return rc;
}

enum kms_code pkcs11_escrow_seal(struct kms_keystore *base, const struct kms_object *kek,
                                 int64_t deadline_ms, struct kms_error *err)
{
    struct escrow_args args = { .object = kek };
    struct pkcs11_call call = { .run = run_seal, .args = &args, .deadline_ms = deadline_ms };
    return pkcs11_keystore_run(base, call, err);
}
