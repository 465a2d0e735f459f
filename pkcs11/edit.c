/* SPDX-License-Identifier: Apache-2.0 */
#include "edit.h"

#include <string.h>

#include <openssl/rand.h>

#include "attributes.h"
#include "find.h"
#include "rv.h"

enum { KEK_LEN = 32 }; /* bytes: AES-256 */

static enum kms_code check_label(const char *label, struct kms_error *err)
{
    if (label[0] == '\0' || strlen(label) > KMS_LABEL_MAX)
        return kms_fail(err, KMS_E_INVALID, "a label has 1 to %d bytes", KMS_LABEL_MAX);
    return KMS_OK;
}

enum kms_code pkcs11_new_kek_init(struct pkcs11_new_kek *new_kek, const char *label,
                                  struct kms_error *err)
{
    enum kms_code rc = check_label(label, err);
    if (rc != KMS_OK)
        return rc;
    *new_kek = (struct pkcs11_new_kek){ .label = label };
    if (RAND_bytes(new_kek->cka_id, sizeof(new_kek->cka_id)) != 1)
        return kms_fail(err, KMS_E_INTERNAL, "OpenSSL has no random bytes");
    return KMS_OK;
}

/* --- found --- */

static enum kms_code find(const struct pkcs11_place *place, const struct kms_object *kek,
                          struct pkcs11_handles *ret_found, struct kms_error *err)
{
    return pkcs11_find_keys(place->wrap->fn, place->session->handle, kek->label, &kek->cka_id,
                            ret_found, err);
}

static enum kms_code find_one(const struct pkcs11_place *place, const struct kms_object *kek,
                              CK_OBJECT_HANDLE *ret_handle, struct kms_error *err)
{
    KMS_CLEANUP(pkcs11_handles_done) struct pkcs11_handles found = { 0 };
    enum kms_code rc = find(place, kek, &found, err);
    if (rc != KMS_OK)
        return rc;
    if (found.count != 1)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "%zu keys have label '%s' and this CKA_ID: nothing was changed",
                        found.count, kek->label);
    *ret_handle = found.handles[0];
    return KMS_OK;
}

static enum kms_code is_there(const struct pkcs11_place *place, const struct kms_object *kek,
                              bool *ret_there, struct kms_error *err)
{
    KMS_CLEANUP(pkcs11_handles_done) struct pkcs11_handles found = { 0 };
    enum kms_code rc = find(place, kek, &found, err);
    if (rc == KMS_OK)
        *ret_there = found.count > 0;
    return rc;
}

/* --- made --- */

static struct kms_object name_of(const struct pkcs11_new_kek *new_kek)
{
    struct kms_bytes id = { new_kek->cka_id, sizeof(new_kek->cka_id) };
    return (struct kms_object){ new_kek->label, id };
}

/* If an earlier try made it there must be no second: *ret_handle, else CK_INVALID_HANDLE. */
static enum kms_code find_made(const struct pkcs11_place *place,
                               const struct pkcs11_new_kek *new_kek, CK_OBJECT_HANDLE *ret_handle,
                               struct kms_error *err)
{
    *ret_handle = CK_INVALID_HANDLE;
    struct kms_object name = name_of(new_kek);
    bool there = false;
    enum kms_code rc = new_kek->tried ? is_there(place, &name, &there, err) : KMS_OK;
    return rc == KMS_OK && there ? find_one(place, &name, ret_handle, err) : rc;
}

static enum kms_code read_made(const struct pkcs11_place *place,
                               const struct pkcs11_new_kek *new_kek, CK_OBJECT_HANDLE handle,
                               struct pkcs11_kek *ret_kek, struct kms_error *err)
{
    const struct kms_kek_filter filter = { .label_prefix = new_kek->label };
    bool wanted = false;
    enum kms_code rc = pkcs11_kek_read(place, handle, &filter, ret_kek, &wanted, err);
    if (rc == KMS_OK && !wanted)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "KEK '%s' was made, but the token gives its label otherwise",
                        new_kek->label);
    return rc;
}

static enum kms_code call_generate(const struct pkcs11_place *place,
                                   const struct pkcs11_new_kek *new_kek,
                                   CK_OBJECT_HANDLE *ret_handle, struct kms_error *err)
{
    struct kms_object name = name_of(new_kek);
    struct pkcs11_template template = { 0 };
    pkcs11_template_number(&template, CKA_CLASS, CKO_SECRET_KEY);
    pkcs11_template_number(&template, CKA_KEY_TYPE, CKK_AES);
    pkcs11_template_number(&template, CKA_VALUE_LEN, KEK_LEN);
    pkcs11_template_bool(&template, CKA_TOKEN, true);
    pkcs11_template_bool(&template, CKA_PRIVATE, true);
    pkcs11_template_bool(&template, CKA_SENSITIVE, true);
    pkcs11_template_bool(&template, CKA_EXTRACTABLE, new_kek->extractable);
    pkcs11_template_bool(&template, CKA_WRAP, true);
    pkcs11_template_bool(&template, CKA_UNWRAP, true);
    pkcs11_template_bool(&template, CKA_ENCRYPT, pkcs11_wrap_is_cipher(place->wrap));
    pkcs11_template_bool(&template, CKA_DECRYPT, pkcs11_wrap_is_cipher(place->wrap));
    pkcs11_template_bytes(&template, CKA_LABEL, kms_bytes_of(name.label));
    pkcs11_template_bytes(&template, CKA_ID, name.cka_id);

    CK_MECHANISM mechanism = { CKM_AES_KEY_GEN, NULL, 0 };
    CK_RV rv = place->wrap->fn->C_GenerateKey(place->session->handle, &mechanism, template.items,
                                              template.count, ret_handle);
    return rv == CKR_OK ? KMS_OK
                        : pkcs11_fail(err, "C_GenerateKey", rv, "making KEK '%s'", name.label);
}

enum kms_code pkcs11_kek_generate(const struct pkcs11_place *place, struct pkcs11_new_kek *new_kek,
                                  struct pkcs11_kek *ret_kek, struct kms_error *err)
{
    CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
    enum kms_code rc = find_made(place, new_kek, &handle, err);
    new_kek->tried = true;
    if (rc == KMS_OK && handle == CK_INVALID_HANDLE)
        rc = call_generate(place, new_kek, &handle, err);
    return rc == KMS_OK ? read_made(place, new_kek, handle, ret_kek, err) : rc;
}

/* --- copied --- */

static bool is_exposed(const struct kms_kek_info *info)
{
    return (info->attributes & KMS_KEK_EXTRACTABLE) != 0 ||
           ((info->known & KMS_KEK_SENSITIVE) != 0 && (info->attributes & KMS_KEK_SENSITIVE) == 0);
}

static struct pkcs11_object object_at(const struct pkcs11_place *place, CK_OBJECT_HANDLE handle)
{
    return (struct pkcs11_object){ place->wrap->fn, place->session->handle, handle };
}

static enum kms_code check_source(const struct pkcs11_place *place, const struct kms_object *from,
                                  CK_OBJECT_HANDLE handle, struct kms_error *err)
{
    struct pkcs11_object object = object_at(place, handle);
    struct kms_kek_info info = { 0 };
    enum kms_code rc = pkcs11_read_attributes(&object, &info, err);
    if (rc == KMS_OK && is_exposed(&info))
        return kms_fail(err, KMS_E_PRECONDITION,
                        "KEK '%s' can leave the token (extractable, or not sensitive), and is not "
                        "copied",
                        from->label);
    return rc;
}

static enum kms_code call_copy(const struct pkcs11_place *place, const struct kms_object *from,
                               const struct pkcs11_new_kek *new_kek, CK_OBJECT_HANDLE *ret_handle,
                               struct kms_error *err)
{
    CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
    enum kms_code rc = find_one(place, from, &handle, err);
    if (rc == KMS_OK)
        rc = check_source(place, from, handle, err);
    if (rc != KMS_OK)
        return rc;
    /* No more than must differ: tokens refuse to set what a copy inherits. */
    struct kms_object name = name_of(new_kek);
    struct pkcs11_template template = { 0 };
    pkcs11_template_bytes(&template, CKA_LABEL, kms_bytes_of(name.label));
    pkcs11_template_bytes(&template, CKA_ID, name.cka_id);
    CK_RV rv = place->wrap->fn->C_CopyObject(place->session->handle, handle, template.items,
                                             template.count, ret_handle);
    if (rv != CKR_OK)
        return pkcs11_fail(err, "C_CopyObject", rv, "copying KEK '%s' to '%s'", from->label,
                           name.label);
    return KMS_OK;
}

static enum kms_code withdraw(const struct pkcs11_place *place, const struct pkcs11_kek *copy,
                              struct kms_error *err)
{
    CK_RV rv = place->wrap->fn->C_DestroyObject(place->session->handle, copy->handle);
    if (rv != CKR_OK)
        return pkcs11_fail(err, "C_DestroyObject", rv,
                           "the copy '%s' can leave the token, and must be destroyed by hand",
                           copy->info.label);
    return kms_fail(err, KMS_E_PRECONDITION,
                    "the token made the copy '%s' extractable or not sensitive: it was destroyed "
                    "again; report this with the module's name and version",
                    copy->info.label);
}

enum kms_code pkcs11_kek_copy(const struct pkcs11_place *place, const struct kms_object *from,
                              struct pkcs11_new_kek *new_kek, struct pkcs11_kek *ret_kek,
                              struct kms_error *err)
{
    CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
    enum kms_code rc = find_made(place, new_kek, &handle, err);
    new_kek->tried = true;
    if (rc == KMS_OK && handle == CK_INVALID_HANDLE)
        rc = call_copy(place, from, new_kek, &handle, err);
    struct pkcs11_kek copy;
    if (rc == KMS_OK)
        rc = read_made(place, new_kek, handle, &copy, err);
    if (rc != KMS_OK)
        return rc;
    if (is_exposed(&copy.info))
        return withdraw(place, &copy, err);
    *ret_kek = copy;
    return KMS_OK;
}

enum kms_code pkcs11_kek_keep(const struct pkcs11_place *place, CK_OBJECT_HANDLE session_object,
                              struct pkcs11_new_kek *new_kek, struct pkcs11_kek *ret_kek,
                              struct kms_error *err)
{
    CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
    enum kms_code rc = find_made(place, new_kek, &handle, err);
    new_kek->tried = true;
    if (rc == KMS_OK && handle == CK_INVALID_HANDLE) {
        struct kms_object name = name_of(new_kek);
        struct pkcs11_template template = { 0 };
        pkcs11_template_bool(&template, CKA_TOKEN, true);
        pkcs11_template_bytes(&template, CKA_LABEL, kms_bytes_of(name.label));
        pkcs11_template_bytes(&template, CKA_ID, name.cka_id);
        CK_RV rv = place->wrap->fn->C_CopyObject(place->session->handle, session_object,
                                                 template.items, template.count, &handle);
        if (rv != CKR_OK)
            return pkcs11_fail(err, "C_CopyObject", rv, "keeping KEK '%s'", name.label);
    }
    struct pkcs11_kek copy;
    if (rc == KMS_OK)
        rc = read_made(place, new_kek, handle, &copy, err);
    if (rc != KMS_OK)
        return rc;
    if (is_exposed(&copy.info))
        return withdraw(place, &copy, err);
    *ret_kek = copy;
    return KMS_OK;
}

/* --- changed and destroyed --- */

static enum kms_code set_attributes(const struct pkcs11_place *place, const struct kms_object *kek,
                                    struct pkcs11_template *template, CK_OBJECT_HANDLE *ret_handle,
                                    struct kms_error *err)
{
    CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
    enum kms_code rc = find_one(place, kek, &handle, err);
    if (rc != KMS_OK)
        return rc;
    CK_RV rv = place->wrap->fn->C_SetAttributeValue(place->session->handle, handle, template->items,
                                                    template->count);
    if (rv != CKR_OK)
        return pkcs11_fail(err, "C_SetAttributeValue", rv, "changing KEK '%s'", kek->label);
    *ret_handle = handle;
    return KMS_OK;
}

enum kms_code pkcs11_kek_relabel(const struct pkcs11_place *place, const struct kms_object *kek,
                                 const char *label, bool *tried, struct kms_error *err)
{
    enum kms_code rc = check_label(label, err);
    struct kms_object done = { label, kek->cka_id };
    bool there = false;
    if (rc == KMS_OK && *tried)
        rc = is_there(place, &done, &there, err);
    if (rc != KMS_OK || there)
        return rc;
    *tried = true;
    struct pkcs11_template template = { 0 };
    pkcs11_template_bytes(&template, CKA_LABEL, kms_bytes_of(label));
    CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
    return set_attributes(place, kek, &template, &handle, err);
}

/* A catch that only looks closed is worse than none. */
static enum kms_code check_usage(const struct pkcs11_place *place, const struct kms_object *kek,
                                 CK_OBJECT_HANDLE handle, bool usable, struct kms_error *err)
{
    const uint32_t all = KMS_KEK_WRAP | KMS_KEK_UNWRAP | KMS_KEK_ENCRYPT | KMS_KEK_DECRYPT;
    const uint32_t needed = pkcs11_wrap_is_cipher(place->wrap) ? all
                                                               : KMS_KEK_WRAP | KMS_KEK_UNWRAP;
    struct pkcs11_object object = object_at(place, handle);
    struct kms_kek_info info = { 0 };
    enum kms_code rc = pkcs11_read_attributes(&object, &info, err);
    if (rc != KMS_OK)
        return rc;
    bool missing = (info.known & ~info.attributes & needed) != 0;
    bool left = (info.attributes & all) != 0;
    if (usable ? missing : left)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "C_SetAttributeValue: the token said yes, but KEK '%s' is %s: use the "
                        "vendor's tool",
                        kek->label, usable ? "still disabled" : "not disabled");
    return KMS_OK;
}

enum kms_code pkcs11_kek_set_usage(const struct pkcs11_place *place, const struct kms_object *kek,
                                   bool usable, struct kms_error *err)
{
    struct pkcs11_template template = { 0 };
    pkcs11_template_bool(&template, CKA_WRAP, usable);
    pkcs11_template_bool(&template, CKA_UNWRAP, usable);
    if (!usable || pkcs11_wrap_is_cipher(place->wrap)) {
        pkcs11_template_bool(&template, CKA_ENCRYPT, usable);
        pkcs11_template_bool(&template, CKA_DECRYPT, usable);
    }
    CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
    enum kms_code rc = set_attributes(place, kek, &template, &handle, err);
    return rc == KMS_OK ? check_usage(place, kek, handle, usable, err) : rc;
}

enum kms_code pkcs11_kek_destroy(const struct pkcs11_place *place, const struct kms_object *kek,
                                 bool *tried, struct kms_error *err)
{
    bool there = true;
    enum kms_code rc = *tried ? is_there(place, kek, &there, err) : KMS_OK;
    if (rc != KMS_OK || !there)
        return rc;
    CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
    rc = find_one(place, kek, &handle, err);
    if (rc != KMS_OK)
        return rc;
    *tried = true;
    CK_RV rv = place->wrap->fn->C_DestroyObject(place->session->handle, handle);
    if (rv != CKR_OK)
        return pkcs11_fail(err, "C_DestroyObject", rv, "destroying KEK '%s'", kek->label);
    return KMS_OK;
}

/* --- looked at --- */

/* CK_UNAVAILABLE_INFORMATION is an answer here: not generated on a token. */
static enum kms_code read_mechanism(const struct pkcs11_object *object,
                                    struct kms_kek_details *details, struct kms_error *err)
{
    union {
        CK_ULONG number;
        uint8_t bytes[sizeof(CK_ULONG)];
    } value = { 0 };
    size_t len = 0;
    bool known = false;
    enum kms_code rc = pkcs11_read_bytes(object, CKA_KEY_GEN_MECHANISM, value.bytes,
                                         sizeof(value.bytes), &len, &known, err);
    if (rc != KMS_OK)
        return rc;
    details->has_mechanism = known && len == sizeof(value.number);
    details->key_gen_mechanism = details->has_mechanism ? value.number : 0;
    return KMS_OK;
}

static enum kms_code read_check_value(const struct pkcs11_object *object,
                                      struct kms_kek_details *details, struct kms_error *err)
{
    size_t len = 0;
    bool known = false;
    enum kms_code rc = pkcs11_read_bytes(object, CKA_CHECK_VALUE, details->check_value,
                                         sizeof(details->check_value), &len, &known, err);
    details->has_check_value = rc == KMS_OK && known && len == sizeof(details->check_value);
    return rc;
}

static enum kms_code read_permission(const struct pkcs11_object *object, CK_ATTRIBUTE_TYPE type,
                                     bool *ret_may, struct kms_error *err)
{
    bool value = false;
    bool known = false;
    enum kms_code rc = pkcs11_read_bool(object, type, &value, &known, err);
    *ret_may = value || !known;
    return rc;
}

static enum kms_code read_details(const struct pkcs11_object *object,
                                  struct kms_kek_details *details, struct kms_error *err)
{
    enum kms_code rc = read_mechanism(object, details, err);
    if (rc == KMS_OK)
        rc = read_check_value(object, details, err);
    if (rc == KMS_OK)
        rc = read_permission(object, CKA_MODIFIABLE, &details->modifiable, err);
    if (rc == KMS_OK)
        rc = read_permission(object, CKA_COPYABLE, &details->copyable, err);
    if (rc == KMS_OK)
        rc = read_permission(object, CKA_DESTROYABLE, &details->destroyable, err);
    return rc;
}

enum kms_code pkcs11_kek_inspect(const struct pkcs11_place *place, const struct kms_object *kek,
                                 struct kms_kek_details *ret_details, struct kms_error *err)
{
    CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
    enum kms_code rc = find_one(place, kek, &handle, err);
    const struct kms_kek_filter filter = { .label_prefix = kek->label };
    struct pkcs11_kek read;
    bool wanted = false;
    if (rc == KMS_OK)
        rc = pkcs11_kek_read(place, handle, &filter, &read, &wanted, err);
    if (rc == KMS_OK && !wanted)
        return kms_fail(err, KMS_E_PRECONDITION, "the token gives the label of KEK '%s' otherwise",
                        kek->label);
    if (rc != KMS_OK)
        return rc;
    struct kms_kek_details details = { .info = read.info };
    struct pkcs11_object object = object_at(place, handle);
    rc = read_details(&object, &details, err);
    if (rc == KMS_OK)
        *ret_details = details;
    return rc;
}
