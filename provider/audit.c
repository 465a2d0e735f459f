/* SPDX-License-Identifier: Apache-2.0 */
#include "audit.h"

#include <stdlib.h>

#include "audit_checkpoint.h"
#include "audit_line.h"
#include "audit_seal.h"
#include "audit_writer.h"
#include "kms/clock.h"

struct kms_audit {
    enum kms_audit_on_error on_error;
    struct kms_audit_writer *writer;
};

static const struct kms_audit_origin *origin_of(const struct kms_audit *audit)
{
    return kms_audit_writer_origin(audit->writer);
}

/* Sealed if lines are, and forgiven if callers go on.  @body is taken. */
static enum kms_code seal_and_put(struct kms_audit *audit, char *body, int64_t deadline_ms,
                                  struct kms_error *err)
{
    struct kms_audit_seal *seal = kms_audit_writer_seal(audit->writer);
    char *sealed = kms_audit_seal_body(seal, origin_of(audit), body);
    enum kms_code rc = kms_audit_writer_put(audit->writer, sealed, deadline_ms, err);
    return audit->on_error == KMS_AUDIT_CONTINUE ? KMS_OK : rc;
}

enum kms_code kms_audit_write_use(struct kms_audit *audit, const struct kms_audit_use *use,
                                  struct kms_error *err)
{
    if (audit == NULL)
        return KMS_OK;
    int64_t deadline_ms = use->deadline_ms != 0 ? use->deadline_ms : KMS_DEADLINE_NEVER;
    return seal_and_put(audit, kms_audit_body_use(origin_of(audit), use), deadline_ms, err);
}

enum kms_code kms_audit_write_command(struct kms_audit *audit,
                                      const struct kms_audit_command *command,
                                      struct kms_error *err)
{
    if (audit == NULL)
        return KMS_OK;
    return seal_and_put(audit, kms_audit_body_command(origin_of(audit), command),
                        KMS_DEADLINE_NEVER, err);
}

void kms_audit_write_event(struct kms_audit *audit, const struct kms_audit_event *event)
{
    struct kms_error ignored; /* the log has it, and the gap */
    if (audit != NULL)
        (void)seal_and_put(audit, kms_audit_body_event(origin_of(audit), event), KMS_DEADLINE_NEVER,
                           &ignored);
}

enum kms_code kms_audit_write_checkpoint(struct kms_audit *audit, const struct kms_audit_chain *at,
                                         const struct kms_signature *signature,
                                         struct kms_error *err)
{
    if (audit == NULL)
        return KMS_OK;
    return kms_audit_writer_put(audit->writer,
                                kms_audit_body_checkpoint(origin_of(audit), at, signature),
                                KMS_DEADLINE_NEVER, err);
}

struct kms_audit_where kms_audit_where(struct kms_audit *audit)
{
    if (audit == NULL)
        return (struct kms_audit_where){ .rotations = 0 };
    return kms_audit_writer_where(audit->writer);
}

enum kms_code kms_audit_health(struct kms_audit *audit, struct kms_error *err)
{
    struct kms_error why = { .code = KMS_OK };
    if (audit == NULL || audit->on_error == KMS_AUDIT_CONTINUE ||
        kms_audit_writer_failure(audit->writer, &why) == KMS_OK)
        return KMS_OK;
    return kms_fail(err, KMS_E_PRECONDITION, "audit log: %s", why.msg);
}

enum kms_code kms_audit_failure(struct kms_audit *audit, struct kms_error *ret_why)
{
    return audit != NULL ? kms_audit_writer_failure(audit->writer, ret_why) : KMS_OK;
}

struct kms_audit_counts kms_audit_count(struct kms_audit *audit)
{
    if (audit == NULL)
        return (struct kms_audit_counts){ .written = 0 };
    return kms_audit_writer_count(audit->writer);
}

enum kms_code kms_audit_open(const struct kms_audit_options *options, struct kms_audit **ret_audit,
                             struct kms_error *err)
{
    struct kms_audit *audit = calloc(1, sizeof(*audit));
    if (audit == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    audit->on_error = options->on_error;
    enum kms_code rc = kms_audit_writer_open(options, &audit->writer, err);
    if (rc != KMS_OK) {
        free(audit);
        return rc;
    }
    *ret_audit = audit;
    return KMS_OK;
}

void kms_audit_close(struct kms_audit *audit)
{
    if (audit == NULL)
        return;
    kms_audit_writer_close(audit->writer);
    free(audit);
}
