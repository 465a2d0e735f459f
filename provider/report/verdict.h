/* SPDX-License-Identifier: Apache-2.0 */
/* What follows from a report. */
#ifndef KMS_REPORT_VERDICT_H
#define KMS_REPORT_VERDICT_H

#include "report/report.h"

enum kms_verdict_kind {
    KMS_VERDICT_CLEAN, /* all that was asked about is as it should be; or nothing needs … any more */
    KMS_VERDICT_FINDINGS, /* something isn't */
    KMS_VERDICT_NEEDED,   /* something needs, or may need, what is to be destroyed or removed */
    KMS_VERDICT_LOST,     /* values are under KEKs that aren't there */
    KMS_VERDICT_PARTIAL,  /* the reading was stopped */
};
enum { KMS_VERDICT_TEXT_MAX = 400 };
struct kms_verdict {
    enum kms_verdict_kind kind;
    char text[KMS_VERDICT_TEXT_MAX]; /* for people, with what to do */
};

/* "clean", "findings" …: for reports.  Static. */
const char *kms_verdict_name(enum kms_verdict_kind kind);

/* Of a reading that ended with @summary.  Pure. */
struct kms_verdict kms_report_verdict(const struct kms_report *report,
                                      const struct kms_etcd_summary *summary);

#endif
