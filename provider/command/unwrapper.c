/* SPDX-License-Identifier: Apache-2.0 */
#include "unwrapper.h"

#include <inttypes.h>
#include <stdio.h>

#include "kms/clock.h"
#include "service.h"

enum {
    ANNOTATIONS_MAX = 2, /* one is ours; a second one is refused, whatever it is */
    TIMEOUT_MS = 10 * 1000,
};

/* What was wrapped, as far as the value says. */
struct sealed {
    enum kms_algorithm algorithm;
    struct kms_bytes bytes;
};

static enum kms_code read_algorithm(const struct kms_value *value, struct sealed *ret_sealed,
                                    struct kms_error *err)
{
    struct kms_annotation annotations[ANNOTATIONS_MAX];
    struct kms_value_annotation next;
    struct kms_bytes rest = value->message;
    size_t count = 0;
    while (count < ANNOTATIONS_MAX && kms_value_annotation_next(&rest, &next))
        annotations[count++] = (struct kms_annotation){ .key = next.key, .value = next.value };
    ret_sealed->bytes = value->dek_source;
    return kms_annotations_read(annotations, count, &ret_sealed->algorithm, err);
}

static enum kms_code read_sealed(const struct kms_value *value, struct sealed *ret_sealed,
                                 struct kms_error *err)
{
    enum kms_code rc = read_algorithm(value, ret_sealed, err);
    if (rc == KMS_OK && !kms_wrapped_len_is_valid(ret_sealed->algorithm, ret_sealed->bytes.len))
        rc = kms_fail(err, KMS_E_INVALID, "%zu bytes, which %s doesn't make", ret_sealed->bytes.len,
                      kms_algorithm_name(ret_sealed->algorithm));
    return rc;
}

static enum kms_code unwrap(const struct kms_unwrapper *unwrapper,
                            const struct kms_ring_entry *entry, const struct sealed *sealed,
                            struct kms_secret *ret_seed, struct kms_error *err)
{
    const struct kms_kek_ref kek = { .label = entry->kek.label,
                                     .fingerprint = entry->kek.fingerprint,
                                     .key_id = entry->key_id };
    return kms_keystore_unwrap(unwrapper->keystore, &kek, sealed->algorithm, sealed->bytes,
                               kms_monotonic_ms() + TIMEOUT_MS, ret_seed, err);
}

static enum kms_code conclude(struct kms_proof *proof, enum kms_proof_result result,
                              const char *why)
{
    (void)snprintf(proof->why, sizeof(proof->why), "%s", why);
    proof->result = result;
    return KMS_OK;
}

/* The key, or the algorithm that the value names, can't be used on this token. */
static bool is_barred(enum kms_code rc)
{
    return rc == KMS_E_PRECONDITION || rc == KMS_E_INVALID;
}

/* What isn't on the token any more can't be destroyed there, and is looked for by its label. */
static bool is_wanted(const struct kms_unwrapper *unwrapper, const struct kms_ring_entry *entry)
{
    return entry->state != KMS_KEK_MISSING &&
           (unwrapper->wanted == 0 || entry->generation == unwrapper->wanted);
}

/* Under another KEK than @named (NULL: any), if there is one.  Else @otherwise, because of @why. */
static enum kms_code try_others(const struct kms_unwrapper *unwrapper,
                                const struct kms_ring_entry *named, const struct sealed *sealed,
                                enum kms_proof_result otherwise, const char *why,
                                struct kms_proof *ret_proof, struct kms_error *err)
{
    for (size_t i = 0; i < unwrapper->snapshot->count; i++) {
        const struct kms_ring_entry *entry = &unwrapper->snapshot->entries[i];
        if (entry == named)
            continue;
        if (!entry->may_unwrap) {
            ret_proof->untried |= is_wanted(unwrapper, entry);
            continue;
        }
        KMS_CLEANUP(kms_secret_done) struct kms_secret seed = { 0 };
        enum kms_code rc = unwrap(unwrapper, entry, sealed, &seed, err);
        if (rc == KMS_OK) {
            ret_proof->generation = entry->generation;
            char under[KMS_KEY_ID_LEN + sizeof("it is under ")];
            (void)snprintf(under, sizeof(under), "it is under %s", entry->key_id);
            return conclude(ret_proof, KMS_PROOF_SWAPPED, under);
        }
        if (rc != KMS_E_CORRUPT && !is_barred(rc))
            return rc;
        ret_proof->untried |= is_barred(rc) && is_wanted(unwrapper, entry);
    }
    return conclude(ret_proof, otherwise, why);
}

/* The KEK that @key_id names can't be had, for the reason in @why. */
static enum kms_code miss(const struct kms_unwrapper *unwrapper, const struct kms_key_id *key_id,
                          const struct kms_error *why, struct kms_proof *ret_proof)
{
    bool lost = why->code == KMS_E_KEY_UNKNOWN;
    for (size_t i = 0; i < unwrapper->snapshot->count && why->code == KMS_E_PRECONDITION; i++) {
        const struct kms_ring_entry *entry = &unwrapper->snapshot->entries[i];
        if (entry->generation == key_id->generation)
            lost = entry->state == KMS_KEK_MISSING;
    }
    return conclude(ret_proof, lost ? KMS_PROOF_LOST : KMS_PROOF_BARRED, why->msg);
}

static enum kms_code prove_named(const struct kms_unwrapper *unwrapper,
                                 const struct kms_key_id *key_id, const struct sealed *sealed,
                                 struct kms_proof *ret_proof, struct kms_error *err)
{
    struct kms_error why = { .code = KMS_OK };
    const struct kms_ring_entry *entry = kms_snapshot_find(unwrapper->snapshot, key_id, &why);
    if (entry == NULL)
        return miss(unwrapper, key_id, &why, ret_proof);
    enum kms_code rc = unwrap(unwrapper, entry, sealed, &ret_proof->seed, err);
    if (rc == KMS_OK) {
        ret_proof->generation = entry->generation;
        return conclude(ret_proof, KMS_PROOF_GOOD, "");
    }
    if (is_barred(rc))
        return conclude(ret_proof, KMS_PROOF_BARRED, err->msg);
    if (rc != KMS_E_CORRUPT)
        return rc;
    return try_others(unwrapper, entry, sealed, KMS_PROOF_CORRUPT, "", ret_proof, err);
}

enum kms_code kms_unwrapper_prove(void *context, const struct kms_value *value,
                                  struct kms_proof *ret_proof, struct kms_error *err)
{
    const struct kms_unwrapper *unwrapper = context;
    struct sealed sealed = { .algorithm = KMS_ALGORITHM_AES_KW };
    struct kms_key_id key_id;
    struct kms_error why = { .code = KMS_OK };
    bool ours = kms_key_id_parse(unwrapper->ring, value->key_id, &key_id);
    if (read_sealed(value, &sealed, &why) != KMS_OK)
        return conclude(ret_proof, ours ? KMS_PROOF_CORRUPT : KMS_PROOF_FOREIGN, why.msg);
    if (ours)
        return prove_named(unwrapper, &key_id, &sealed, ret_proof, err);
    return try_others(unwrapper, NULL, &sealed, KMS_PROOF_FOREIGN, "", ret_proof, err);
}
