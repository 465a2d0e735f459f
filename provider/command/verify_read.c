/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"
#include "verify.h"

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

/* The first one ends the reading, a second one the program. */
static void catch_interrupt(void)
{
    const struct sigaction action = { .sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND };
    (void)sigaction(SIGINT, &action, NULL);
}

struct run {
    struct kms_report *report;
    struct kms_progress progress;
};

static enum kms_code visit(void *context, const struct kms_etcd_entry *entry, struct kms_error *err)
{
    struct run *run = context;
    kms_progress_step(&run->progress, entry->fraction);
    return kms_report_visit(run->report, entry, err);
}

/* What keys begin with, as kube-apiserver makes it of its --etcd-prefix: "/registry/". */
static char *reading_prefix(const char *prefix)
{
    size_t len = strlen(prefix);
    bool begun = prefix[0] == '/', ended = len > 0 && prefix[len - 1] == '/';
    char *text = kms_must_alloc(malloc(len + 3));
    (void)snprintf(text, len + 3, "%s%s%s", begun ? "" : "/", prefix, ended ? "" : "/");
    return text;
}

enum kms_code kms_verify_read(struct kms_etcd_source *source, const char *prefix,
                              struct kms_report *report, struct kms_etcd_summary *ret_summary,
                              struct kms_error *err)
{
    struct run run = { .report = report };
    char *below = prefix != NULL ? reading_prefix(prefix) : NULL;
    struct kms_etcd_query query = { .visit = visit, .context = &run, .stop = &stop };
    if (below != NULL)
        query.prefix = kms_bytes_of(below);
    catch_interrupt();
    kms_progress_start(&run.progress);
    enum kms_code rc = kms_etcd_read(source, &query, ret_summary, err);
    kms_progress_end(&run.progress);
    free(below);
    return rc;
}
