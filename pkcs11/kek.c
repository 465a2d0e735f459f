/* SPDX-License-Identifier: Apache-2.0 */
#include "kek.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attributes.h"
#include "find.h"
#include "rv.h"

void pkcs11_kek_list_done(struct pkcs11_kek_list *list)
{
    free(list->keks);
    free(list->others);
    *list = (struct pkcs11_kek_list){ 0 };
}

enum kms_code pkcs11_kek_list_add(struct pkcs11_kek_list *list, const struct pkcs11_kek *kek,
                                  struct kms_error *err)
{
    struct pkcs11_kek *grown = reallocarray(list->keks, list->count + 1, sizeof(*grown));
    if (grown == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory for a list of KEKs");
    list->keks = grown;
    list->keks[list->count++] = *kek;
    return KMS_OK;
}

/* --- one KEK --- */

bool pkcs11_kek_is_to_blame(const struct kms_error *err)
{
    enum pkcs11_class class = pkcs11_error_class(err);
    return class == PKCS11_CLASS_NONE
               ? err->code == KMS_E_PRECONDITION
               : class == PKCS11_CLASS_CONFIG || class == PKCS11_CLASS_REQUEST ||
                     class == PKCS11_CLASS_AMBIGUOUS || class == PKCS11_CLASS_HANDLE;
}

static bool is_told_false(const struct kms_kek_info *info, uint32_t attribute)
{
    return (info->known & attribute) != 0 && (info->attributes & attribute) == 0;
}

/* A module that wraps by C_Encrypt alone asks for rights that policy doesn't know. */
static const char *missing_right(const struct pkcs11_wrap *wrap, const struct kms_kek_info *info)
{
    if (!pkcs11_wrap_fingerprints_by_cipher(wrap))
        return NULL;
    if (is_told_false(info, KMS_KEK_ENCRYPT))
        return "CKA_ENCRYPT";
    return is_told_false(info, KMS_KEK_DECRYPT) ? "CKA_DECRYPT" : NULL;
}

/* Fills fingerprint or problem. */
static enum kms_code judge(const struct pkcs11_place *place, struct pkcs11_kek *kek,
                           struct kms_error *err)
{
    struct kms_kek_info *info = &kek->info;
    if (is_told_false(info, KMS_KEK_WRAP)) {
        (void)snprintf(info->problem, sizeof(info->problem), "%s",
                       is_told_false(info, KMS_KEK_UNWRAP)
                           ? "disabled: CKA_WRAP and CKA_UNWRAP are false"
                           : "not used, not even to decrypt: CKA_WRAP is false, so that its "
                             "fingerprint can't be computed");
        return KMS_OK;
    }
    const char *missing = missing_right(place->wrap, info);
    if (missing != NULL) {
        (void)snprintf(info->problem, sizeof(info->problem),
                       "not used, not even to decrypt: %s is false, and this module wraps by "
                       "C_Encrypt and C_Decrypt: set it on the HSM",
                       missing);
        return KMS_OK;
    }
    enum kms_code rc = pkcs11_kek_fingerprint(place, kek->handle, &kek->rung, info->fingerprint,
                                              err);
    info->fingerprinted = rc == KMS_OK;
    if (rc == KMS_OK || !pkcs11_kek_is_to_blame(err))
        return rc;
    (void)snprintf(info->problem, sizeof(info->problem), "%.*s", (int)sizeof(info->problem) - 1,
                   err->msg);
    return KMS_OK;
}

static struct pkcs11_object object_at(const struct pkcs11_place *place, CK_OBJECT_HANDLE handle)
{
    return (struct pkcs11_object){ place->wrap->fn, place->session->handle, handle };
}

enum kms_code pkcs11_kek_read(const struct pkcs11_place *place, CK_OBJECT_HANDLE handle,
                              const struct kms_kek_filter *filter, struct pkcs11_kek *ret_kek,
                              bool *ret_wanted, struct kms_error *err)
{
    struct pkcs11_kek kek = { .handle = handle };
    struct pkcs11_object object = object_at(place, handle);
    bool usable = false;
    *ret_kek = kek;
    *ret_wanted = false;
    enum kms_code rc = pkcs11_read_label(&object, kek.info.label, &usable, err);
    if (rc == KMS_OK && usable && filter->name_count > 0)
        rc = pkcs11_read_id(&object, &kek.info, err);
    if (rc != KMS_OK || !usable)
        return rc;
    *ret_kek = kek;
    if (!kms_kek_filter_takes(filter, &kek.info))
        return KMS_OK;
    *ret_wanted = true;
    rc = pkcs11_read_attributes(&object, &kek.info, err);
    if (rc == KMS_OK)
        rc = judge(place, &kek, err);
    if (rc == KMS_OK)
        *ret_kek = kek;
    return rc;
}

/* --- the list --- */

static const struct pkcs11_kek *known_at(const struct pkcs11_kek_list *known,
                                         CK_OBJECT_HANDLE handle)
{
    for (size_t i = 0; i < known->count; i++) {
        if (known->keks[i].handle == handle)
            return &known->keks[i];
    }
    return NULL;
}

/* A fingerprint goes with the right to wrap, a problem with all rights: if they changed, judge again;
 * and so if the fingerprint failed. */
static bool still_holds(const struct kms_kek_info *before, const struct kms_kek_info *now)
{
    const uint32_t rights = KMS_KEK_WRAP | KMS_KEK_UNWRAP | KMS_KEK_ENCRYPT | KMS_KEK_DECRYPT;
    uint32_t changed = (before->attributes ^ now->attributes) & rights;
    return changed == 0 && now->fingerprinted != is_told_false(now, KMS_KEK_WRAP);
}

static enum kms_code read_known_or_new(const struct pkcs11_place *place, CK_OBJECT_HANDLE handle,
                                       const struct kms_kek_filter *filter,
                                       const struct pkcs11_kek_list *known,
                                       struct pkcs11_kek *ret_kek, bool *ret_wanted,
                                       struct kms_error *err)
{
    const struct pkcs11_kek *before = known_at(known, handle);
    if (before != NULL) {
        struct pkcs11_object object = object_at(place, handle);
        struct pkcs11_kek kek = *before;
        bool same = false;
        enum kms_code rc = pkcs11_reread_attributes(&object, &kek.info, &same, err);
        if (rc != KMS_OK)
            return rc;
        if (same && still_holds(&before->info, &kek.info)) {
            *ret_wanted = kms_kek_filter_takes(filter, &kek.info);
            *ret_kek = kek;
            return KMS_OK;
        }
    }
    return pkcs11_kek_read(place, handle, filter, ret_kek, ret_wanted, err);
}

/* What an operator may have meant who named a key that isn't there. */
static enum kms_code add_other(const struct kms_kek_filter *filter, const struct kms_kek_info *kek,
                               struct pkcs11_kek_list *list, struct kms_error *err)
{
    if (filter->name_count == 0 || list->other_count == KMS_OTHERS_MAX ||
        (kek->label[0] == '\0' && kek->cka_id_len == 0))
        return KMS_OK;
    struct kms_kek_name *grown = reallocarray(list->others, list->other_count + 1, sizeof(*grown));
    if (grown == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory for a list of keys");
    list->others = grown;
    struct kms_kek_name *other = &grown[list->other_count++];
    *other = (struct kms_kek_name){ .cka_id_len = kek->cka_id_len };
    memcpy(other->label, kek->label, sizeof(other->label));
    memcpy(other->cka_id, kek->cka_id, kek->cka_id_len);
    return KMS_OK;
}

static enum kms_code add_one(const struct pkcs11_place *place, CK_OBJECT_HANDLE handle,
                             const struct kms_kek_filter *filter,
                             const struct pkcs11_kek_list *known, struct pkcs11_kek_list *list,
                             struct kms_error *err)
{
    enum kms_code rc = pkcs11_check_deadline(place->deadline_ms, err);
    if (rc != KMS_OK)
        return rc;
    struct pkcs11_kek kek;
    bool wanted = false;
    rc = read_known_or_new(place, handle, filter, known, &kek, &wanted, err);
    if (rc != KMS_OK && pkcs11_error_class(err) == PKCS11_CLASS_HANDLE) {
        list->denied++;
        return KMS_OK;
    }
    if (rc != KMS_OK)
        return rc;
    return wanted ? pkcs11_kek_list_add(list, &kek, err) : add_other(filter, &kek.info, list, err);
}

static int by_label_and_id(const void *left, const void *right)
{
    const struct pkcs11_kek *a = left, *b = right;
    return kms_kek_order(&a->info, &b->info);
}

enum kms_code pkcs11_kek_list_read(const struct pkcs11_place *place,
                                   const struct kms_kek_filter *filter,
                                   const struct pkcs11_kek_list *known,
                                   struct pkcs11_kek_list *ret_list, struct kms_error *err)
{
    KMS_CLEANUP(pkcs11_handles_done) struct pkcs11_handles found = { 0 };
    enum kms_code rc = pkcs11_find_keys(place->wrap->fn, place->session->handle, NULL, NULL, &found,
                                        err);
    KMS_CLEANUP(pkcs11_kek_list_done) struct pkcs11_kek_list list = { 0 };
    for (size_t i = 0; i < found.count && rc == KMS_OK; i++)
        rc = add_one(place, found.handles[i], filter, known, &list, err);
    if (rc != KMS_OK)
        return rc;
    if (list.count > 0)
        qsort(list.keks, list.count, sizeof(*list.keks), by_label_and_id);
    *ret_list = list;
    list = (struct pkcs11_kek_list){ 0 };
    return KMS_OK;
}

/* A key that can't be fingerprinted may be the right one: then its failure is what is told. */
static enum kms_code find_match(const struct pkcs11_place *place, const struct kms_kek_ref *ref,
                                const struct pkcs11_handles *found, struct pkcs11_kek *ret_kek,
                                struct kms_error *err)
{
    enum kms_code rc = pkcs11_kek_substituted(ref, err);
    for (size_t i = 0; i < found->count; i++) {
        bool other = false;
        struct kms_error one;
        enum kms_code one_rc = pkcs11_kek_verify(place, ref, found->handles[i], &other, &one);
        if (one_rc == KMS_OK) {
            const struct kms_kek_filter filter = { .label_prefix = ref->label };
            bool wanted = false;
            return pkcs11_kek_read(place, found->handles[i], &filter, ret_kek, &wanted, err);
        }
        if (!other) {
            rc = one_rc;
            *err = one;
        }
    }
    return rc;
}

enum kms_code pkcs11_kek_find(const struct pkcs11_place *place, const struct kms_kek_ref *ref,
                              struct pkcs11_kek *ret_kek, bool *ret_absent, struct kms_error *err)
{
    KMS_CLEANUP(pkcs11_handles_done) struct pkcs11_handles found = { 0 };
    enum kms_code rc = pkcs11_find_keys(place->wrap->fn, place->session->handle, ref->label, NULL,
                                        &found, err);
    if (rc != KMS_OK)
        return rc;
    *ret_absent = found.count == 0;
    if (found.count == 0)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "KEK '%s' is not on the token: bring it back; do not delete objects: they "
                        "come back with it",
                        ref->label);
    return find_match(place, ref, &found, ret_kek, err);
}
