/* SPDX-License-Identifier: Apache-2.0 */
#include "finding.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name, *meaning;
} texts[KMS_FINDING_KIND_COUNT] = {
    [KMS_FINDING_PLAINTEXT] = { "plaintext", "not encrypted" },
    [KMS_FINDING_OLD_KEY] = { "old-key", "under a KEK of the ring that isn't the promoted one" },
    [KMS_FINDING_UNKNOWN_KEY] = { "unknown-key",
                                  "under a key_id of the ring that none of its KEKs has" },
    [KMS_FINDING_FOREIGN_KEY] = { "foreign-key", "KMS v2, under a key_id of no KEK of this ring" },
    [KMS_FINDING_OTHER_PROVIDER] = { "other-provider", "encrypted, but not by KMS v2" },
    [KMS_FINDING_UNKNOWN_FORMAT] = { "unknown-format",
                                     "starts with k8s:enc: and is of no known format" },
    [KMS_FINDING_MALFORMED] = { "malformed", "not what kube-apiserver writes" },
    [KMS_FINDING_SWAPPED] = { "swapped-key", "unwraps under another KEK than its key_id names" },
    [KMS_FINDING_CORRUPT_SEED] = { "corrupt-seed", "unwraps under no KEK that could be tried" },
    [KMS_FINDING_LOST_KEY] = { "lost-key", "the KEK that its key_id names isn't there" },
    [KMS_FINDING_UNPROVEN] = { "unproven", "its KEK is there and can't be used" },
    [KMS_FINDING_CORRUPT_OBJECT] = { "corrupt-object",
                                     "the seed unwraps, the object doesn't open" },
    [KMS_LISTED_EXEMPT] = { "exempt", "not encrypted; kube-apiserver never encrypts it" },
    [KMS_LISTED_EXEMPTED] = { "exempted", "not encrypted; exempt as configured" },
    [KMS_LISTED_DEPENDENT] = { "dependent", "needs what is to be destroyed or removed" },
};

const char *kms_finding_name(enum kms_finding_kind kind)
{
    return texts[kind].name;
}

const char *kms_finding_meaning(enum kms_finding_kind kind)
{
    return texts[kind].meaning;
}

bool kms_finding_is_fault(enum kms_finding_kind kind)
{
    return kind < KMS_LISTED_EXEMPT;
}

void kms_findings_done(struct kms_findings *findings)
{
    for (size_t kind = 0; kind < KMS_FINDING_KIND_COUNT; kind++) {
        struct kms_findings_list *list = &findings->lists[kind];
        for (size_t i = 0; i < list->kept; i++)
            free(list->items[i].bytes);
        free(list->items);
    }
    *findings = (struct kms_findings){ 0 };
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static bool keep(const struct kms_finding *finding, struct kms_findings_item *ret_item)
{
    size_t key_len = least(finding->key.len, KMS_FINDING_KEY_MAX);
    size_t id_len = least(finding->key_id.len, KMS_FINDING_TEXT_MAX);
    size_t detail_len = least(strlen(finding->detail), KMS_FINDING_TEXT_MAX);
    uint8_t *bytes = calloc(1, key_len + id_len + detail_len + 1);
    if (bytes == NULL)
        return false;
    if (key_len > 0)
        memcpy(bytes, finding->key.data, key_len);
    if (id_len > 0)
        memcpy(bytes + key_len, finding->key_id.data, id_len);
    memcpy(bytes + key_len + id_len, finding->detail, detail_len);
    *ret_item = (struct kms_findings_item){
        .history = finding->history,
        .cut = key_len < finding->key.len,
        .mod_revision = finding->mod_revision,
        .key = { bytes, key_len },
        .key_id = { bytes + key_len, id_len },
        .detail = (char *)bytes + key_len + id_len,
        .bytes = bytes,
    };
    return true;
}

enum kms_code kms_findings_add(struct kms_findings *findings, const struct kms_finding *finding,
                               struct kms_error *err)
{
    struct kms_findings_list *list = &findings->lists[finding->kind];
    list->count++;
    if (list->kept == KMS_FINDINGS_SHOWN)
        return KMS_OK;
    if (list->items == NULL)
        list->items = calloc(KMS_FINDINGS_SHOWN, sizeof *list->items);
    if (list->items == NULL || !keep(finding, &list->items[list->kept]))
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    list->kept++;
    return KMS_OK;
}

uint64_t kms_findings_count_faults(const struct kms_findings *findings)
{
    uint64_t count = 0;
    for (size_t kind = 0; kind < KMS_FINDING_KIND_COUNT; kind++)
        if (kms_finding_is_fault((enum kms_finding_kind)kind))
            count += findings->lists[kind].count;
    return count;
}
