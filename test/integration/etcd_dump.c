/* SPDX-License-Identifier: Apache-2.0 */
/* usage: etcd_dump SOURCE [PREFIX [PAUSE_AFTER]]
 *
 * Reads a source of etcd as hsm-kms does, for test_etcd_source.py.  SOURCE is a file, or a list of URLs;
 * then ETCD_CA, ETCD_CERT and ETCD_KEY of the environment name PEM files, ETCD_TIMEOUT_MS is the timeout
 * of a call.  One line an entry:
 * state, mod revision, create revision, version, SHA-256 of the value, and the key in hexadecimal.
 * Then the summary.  After PAUSE_AFTER entries it prints "paused" and waits for a line on stdin.
 * SIGINT ends it early.  Exit 0, or 1 with the error's code and text on stderr. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "etcd/client.h"
#include "etcd/snapshot.h"

static volatile sig_atomic_t stop;

static void on_sigint(int signo)
{
    (void)signo;
    stop = 1;
}

struct dump {
    unsigned long count, pause_after; /* entries */
};

static void print_hex(struct kms_bytes bytes)
{
    for (size_t i = 0; i < bytes.len; i++)
        printf("%02x", bytes.data[i]);
}

static void wait_for_line(void)
{
    printf("paused\n");
    fflush(stdout);
    while (stop == 0 && getchar() != '\n' && feof(stdin) == 0)
        ;
}

static enum kms_code print_entry(void *context, const struct kms_etcd_entry *entry,
                                 struct kms_error *err)
{
    static const char *const names[] = { [KMS_ETCD_CURRENT] = "current",
                                         [KMS_ETCD_HISTORY] = "history",
                                         [KMS_ETCD_DELETED] = "deleted" };
    (void)err;
    struct dump *dump = context;
    uint8_t digest[KMS_SHA256_LEN];
    kms_sha256(entry->value, digest);
    printf("%s %lld %lld %lld ", names[entry->state], (long long)entry->mod_revision,
           (long long)entry->create_revision, (long long)entry->version);
    print_hex((struct kms_bytes){ digest, sizeof digest });
    printf(" ");
    print_hex(entry->key);
    printf("\n");
    if (++dump->count == dump->pause_after)
        wait_for_line();
    return KMS_OK;
}

static void print_summary(const struct kms_etcd_summary *summary)
{
    static const char *const kinds[] = { [KMS_ETCD_SERVER] = "server",
                                         [KMS_ETCD_SNAPSHOT] = "snapshot",
                                         [KMS_ETCD_MEMBER_DB] = "member-db" };
    printf("kind %s\nstopped %d\n", kinds[summary->kind], summary->stopped);
    printf("compact %lld\nindex %llu\nversion %s\n", (long long)summary->compact_revision,
           (unsigned long long)summary->consistent_index, summary->version);
    printf("cluster %llx\nmember %llx\n", (unsigned long long)summary->cluster_id,
           (unsigned long long)summary->member_id);
    for (size_t i = 0; i < summary->span_count; i++) {
        printf("span %lld ", (long long)summary->spans[i].revision);
        print_hex((struct kms_bytes){ summary->spans[i].from, summary->spans[i].from_len });
        printf("\n");
    }
}

static enum kms_code open_source(const char *name, struct kms_etcd_source **ret_source,
                                 struct kms_error *err)
{
    if (strstr(name, "://") == NULL)
        return kms_etcd_snapshot_open(name, ret_source, err);
    const char *timeout = getenv("ETCD_TIMEOUT_MS");
    const struct kms_etcd_options options = {
        .endpoints = name,
        .ca_path = getenv("ETCD_CA"),
        .cert_path = getenv("ETCD_CERT"),
        .key_path = getenv("ETCD_KEY"),
        .timeout_ms = timeout != NULL ? strtol(timeout, NULL, 10) : 10000,
    };
    return kms_etcd_client_open(&options, ret_source, err);
}

static enum kms_code dump_source(const char *name, const struct kms_etcd_query *query,
                                 struct kms_error *err)
{
    KMS_CLEANUP(kms_etcd_close_ptr) struct kms_etcd_source *source = NULL;
    KMS_CLEANUP(kms_etcd_summary_done) struct kms_etcd_summary summary = { 0 };
    enum kms_code rc = open_source(name, &source, err);
    if (rc == KMS_OK)
        rc = kms_etcd_read(source, query, &summary, err);
    if (rc == KMS_OK)
        print_summary(&summary);
    return rc;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: etcd_dump SOURCE [PREFIX [PAUSE_AFTER]]\n");
        return 2;
    }
    struct dump dump = { .pause_after = argc > 3 ? strtoul(argv[3], NULL, 10) : 0 };
    const struct kms_etcd_query query = { .prefix = kms_bytes_of(argc > 2 ? argv[2] : ""),
                                          .visit = print_entry,
                                          .context = &dump,
                                          .stop = &stop };
    const struct sigaction action = { .sa_handler = on_sigint };
    sigaction(SIGINT, &action, NULL);
    struct kms_error err = { 0 };
    enum kms_code rc = dump_source(argv[1], &query, &err);
    if (rc == KMS_OK)
        return fflush(stdout) == 0 ? 0 : 1;
    fprintf(stderr, "%s: %s\n", kms_code_name(rc), err.msg);
    return 1;
}
