/* SPDX-License-Identifier: Apache-2.0 */
#include "source.h"

#include <stdlib.h>
#include <string.h>

void kms_etcd_summary_done(struct kms_etcd_summary *summary)
{
    for (size_t i = 0; i < summary->span_count; i++)
        free(summary->spans[i].from);
    free(summary->spans);
    *summary = (struct kms_etcd_summary){ 0 };
}

int64_t kms_etcd_summary_revision(const struct kms_etcd_summary *summary)
{
    return summary->span_count > 0 ? summary->spans[summary->span_count - 1].revision : 0;
}

enum kms_code kms_etcd_summary_add(struct kms_etcd_summary *summary, struct kms_bytes from,
                                   int64_t revision, struct kms_error *err)
{
    struct kms_etcd_span *spans = realloc(summary->spans,
                                          (summary->span_count + 1) * sizeof *spans);
    if (spans == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    summary->spans = spans;
    uint8_t *copy = malloc(from.len + 1); /* never of 0 bytes */
    if (copy == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    if (from.len > 0)
        memcpy(copy, from.data, from.len);
    spans[summary->span_count++] = (struct kms_etcd_span){ .from = copy,
                                                           .from_len = from.len,
                                                           .revision = revision };
    return KMS_OK;
}

enum kms_code kms_etcd_read(struct kms_etcd_source *source, const struct kms_etcd_query *query,
                            struct kms_etcd_summary *ret_summary, struct kms_error *err)
{
    return source->ops->read(source, query, ret_summary, err);
}

void kms_etcd_close(struct kms_etcd_source *source)
{
    if (source != NULL)
        source->ops->close(source);
}
