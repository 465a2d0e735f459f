/* SPDX-License-Identifier: Apache-2.0 */
#include "client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "etcd/channel.h"
#include "etcd/endpoint.h"
#include "etcd/kv.h"
#include "etcd/pager.h"
#include "etcd/tls.h"
#include "pack.h"
#include "status.h"

#define STATUS_METHOD "/etcdserverpb.Maintenance/Status"
enum { OTHER_MS = 3000 }; /* for endpoints that aren't read from */

struct client {
    struct kms_etcd_source source; /* first: it is what callers hold */
    struct kms_etcd_endpoint endpoints[KMS_ETCD_ENDPOINTS_MAX];
    struct kms_etcd_channel *channels[KMS_ETCD_ENDPOINTS_MAX];
    size_t count;
    size_t at; /* the endpoint that answered last */
    int64_t timeout_ms;
};

static void close_client(struct kms_etcd_source *source)
{
    struct client *client = (struct client *)source;
    for (size_t i = 0; i < client->count; i++)
        kms_etcd_channel_close(client->channels[i]);
    free(client);
}

/* --- calls --- */

static const char *endpoint_of(const struct client *client)
{
    return client->endpoints[client->at].target;
}

/* What the text of a failure begins with: which endpoint it was. */
static enum kms_code blame_endpoint(const struct client *client, enum kms_code code,
                                    struct kms_error *err)
{
    char text[KMS_ERROR_MSG_MAX];
    snprintf(text, sizeof text, "%s", err->msg);
    return kms_fail(err, code, "etcd at %s: %s", endpoint_of(client), text);
}

static enum kms_code code_of(grpc_status_code status)
{
    if (status == GRPC_STATUS_UNAUTHENTICATED || status == GRPC_STATUS_PERMISSION_DENIED)
        return KMS_E_PRECONDITION;
    return kms_status_code_of(status);
}

static enum kms_code fail_with(const struct client *client, const struct kms_etcd_reply *reply,
                               struct kms_error *err)
{
    return kms_fail(err, code_of(reply->status), "etcd at %s: %s: %s", endpoint_of(client),
                    kms_grpc_status_name(reply->status), reply->details);
}

/* Whether another endpoint may do better. */
static bool is_away(const struct kms_etcd_reply *reply)
{
    return reply->status == GRPC_STATUS_UNAVAILABLE ||
           reply->status == GRPC_STATUS_DEADLINE_EXCEEDED;
}

/* Calls the endpoint that answered last, then each other one once. */
static enum kms_code call(struct client *client, const char *method,
                          const ProtobufCMessage *request, const volatile sig_atomic_t *stop,
                          struct kms_etcd_reply *ret_reply, struct kms_error *err)
{
    KMS_CLEANUP(kms_secret_done) struct kms_secret packed = { 0 };
    enum kms_code rc = kms_pack(request, &packed, err);
    for (size_t tried = 1; rc == KMS_OK; tried++) {
        struct kms_etcd_reply reply = { 0 };
        rc = kms_etcd_channel_call(client->channels[client->at], method, kms_secret_bytes(&packed),
                                   client->timeout_ms, stop, &reply, err);
        if (rc == KMS_OK && (!is_away(&reply) || tried == client->count)) {
            *ret_reply = reply;
            return KMS_OK;
        }
        kms_etcd_reply_done(&reply);
        client->at = (client->at + 1) % client->count;
    }
    return rc;
}

/* --- reading --- */

struct reading {
    struct client *client;
    const struct kms_etcd_query *query;
    struct kms_etcd_summary *summary;
    struct kms_etcd_pager pager;
    int64_t visited; /* keys */
};

static bool stopped(const struct reading *reading)
{
    return reading->query->stop != NULL && *reading->query->stop != 0;
}

/* Who answers; it also tells a wrong endpoint from an etcd that has no such keys. */
static enum kms_code ask_status(struct reading *reading, struct kms_error *err)
{
    const Etcd__StatusRequest request = ETCD__STATUS_REQUEST__INIT;
    KMS_CLEANUP(kms_etcd_reply_done) struct kms_etcd_reply reply = { 0 };
    enum kms_code rc = call(reading->client, STATUS_METHOD, &request.base, reading->query->stop,
                            &reply, err);
    if (rc != KMS_OK || stopped(reading))
        return rc;
    if (reply.status != GRPC_STATUS_OK)
        return fail_with(reading->client, &reply, err);
    Etcd__StatusResponse *status = etcd__status_response__unpack(NULL, reply.len, reply.data);
    if (status == NULL)
        return kms_fail(err, KMS_E_UNAVAILABLE, "etcd at %s: malformed status: is it an etcd?",
                        endpoint_of(reading->client));
    struct kms_etcd_summary *summary = reading->summary;
    if (status->version.len < sizeof summary->version &&
        kms_text_is_clean(kms_pack_bytes(status->version)))
        memcpy(summary->version, status->version.data, status->version.len);
    if (status->header != NULL) {
        summary->cluster_id = status->header->cluster_id;
        summary->member_id = status->header->member_id;
    }
    etcd__status_response__free_unpacked(status, NULL);
    return KMS_OK;
}

static enum kms_code visit_kv(struct reading *reading, const Etcd__RangeResponse *page, size_t i,
                              struct kms_error *err)
{
    struct kms_etcd_kv kv;
    if (!kms_etcd_kv_parse(kms_pack_bytes(page->kvs[i]), &kv)) {
        kms_fail(err, KMS_E_UNAVAILABLE, "it sends a malformed key and value: is it an etcd?");
        return blame_endpoint(reading->client, KMS_E_UNAVAILABLE, err);
    }
    enum kms_code rc = kms_etcd_pager_take(&reading->pager, kv.key, err);
    if (rc != KMS_OK)
        return blame_endpoint(reading->client, rc, err);
    struct kms_etcd_entry entry = { .key = kv.key,
                                    .value = kv.value,
                                    .create_revision = kv.create_revision,
                                    .mod_revision = kv.mod_revision,
                                    .version = kv.version,
                                    .state = KMS_ETCD_CURRENT,
                                    .fraction = 1 };
    if (reading->visited < reading->pager.total)
        entry.fraction = (double)reading->visited / (double)reading->pager.total;
    reading->visited++;
    return reading->query->visit(reading->query->context, &entry, err);
}

static enum kms_code visit_page(struct reading *reading, const Etcd__RangeResponse *page,
                                size_t len, struct kms_error *err)
{
    enum kms_code rc = kms_etcd_pager_begin(&reading->pager, page, reading->summary, err);
    if (rc != KMS_OK)
        return blame_endpoint(reading->client, rc, err);
    for (size_t i = 0; i < page->n_kvs && !stopped(reading); i++) {
        rc = visit_kv(reading, page, i, err);
        if (rc != KMS_OK)
            return rc;
    }
    rc = kms_etcd_pager_end(&reading->pager, page, len, err);
    return rc == KMS_OK ? KMS_OK : blame_endpoint(reading->client, rc, err);
}

/* Frees the reply before the visitors' work: of a page there shall be one copy only. */
static enum kms_code take_page(struct reading *reading, struct kms_etcd_reply *reply,
                               struct kms_error *err)
{
    Etcd__RangeResponse *page = etcd__range_response__unpack(NULL, reply->len, reply->data);
    size_t len = reply->len;
    kms_etcd_reply_done(reply);
    if (page == NULL)
        return kms_fail(err, KMS_E_UNAVAILABLE, "etcd at %s: malformed page: is it an etcd?",
                        endpoint_of(reading->client));
    enum kms_code rc = visit_page(reading, page, len, err);
    etcd__range_response__free_unpacked(page, NULL);
    return rc;
}

static enum kms_code fail_too_large(const struct reading *reading, struct kms_error *err)
{
    const struct kms_etcd_pager *pager = &reading->pager;
    return kms_fail(err, KMS_E_UNAVAILABLE,
                    "etcd at %s: the value at or behind key %.*s is larger than %d MiB: read a "
                    "snapshot instead",
                    endpoint_of(reading->client),
                    (int)(pager->next.len < 200 ? pager->next.len : 200),
                    (const char *)pager->next.data, KMS_ETCD_PAGE_MAX / 1024 / 1024);
}

static enum kms_code read_page(struct reading *reading, struct kms_error *err)
{
    const Etcd__RangeRequest request = kms_etcd_pager_request(&reading->pager);
    KMS_CLEANUP(kms_etcd_reply_done) struct kms_etcd_reply reply = { 0 };
    enum kms_code rc = call(reading->client, "/etcdserverpb.KV/Range", &request.base,
                            reading->query->stop, &reply, err);
    if (rc != KMS_OK || stopped(reading))
        return rc;
    if (reply.status == GRPC_STATUS_OK)
        return take_page(reading, &reply, err);
    if (reply.status == GRPC_STATUS_OUT_OF_RANGE && kms_etcd_pager_restart(&reading->pager))
        return KMS_OK;
    if (reply.status != GRPC_STATUS_RESOURCE_EXHAUSTED)
        return fail_with(reading->client, &reply, err);
    return kms_etcd_pager_shrink(&reading->pager) ? KMS_OK : fail_too_large(reading, err);
}

/* One that isn't there may be a member that is down. */
static enum kms_code compare_cluster(const struct reading *reading, size_t at,
                                     struct kms_error *err)
{
    const struct client *client = reading->client;
    const Etcd__StatusRequest request = ETCD__STATUS_REQUEST__INIT;
    KMS_CLEANUP(kms_secret_done) struct kms_secret packed = { 0 };
    KMS_CLEANUP(kms_etcd_reply_done) struct kms_etcd_reply reply = { 0 };
    int64_t timeout_ms = client->timeout_ms < OTHER_MS ? client->timeout_ms : OTHER_MS;
    enum kms_code rc = kms_pack(&request.base, &packed, err);
    if (rc == KMS_OK)
        rc = kms_etcd_channel_call(client->channels[at], STATUS_METHOD, kms_secret_bytes(&packed),
                                   timeout_ms, reading->query->stop, &reply, err);
    if (rc != KMS_OK || reply.status != GRPC_STATUS_OK)
        return rc;
    Etcd__StatusResponse *status = etcd__status_response__unpack(NULL, reply.len, reply.data);
    if (status != NULL && status->header != NULL &&
        status->header->cluster_id != reading->summary->cluster_id)
        rc = kms_fail(err, KMS_E_PRECONDITION,
                      "etcd at %s belongs to another cluster than %s: only one is read, so name "
                      "endpoints of one cluster",
                      client->endpoints[at].target, endpoint_of(client));
    if (status != NULL)
        etcd__status_response__free_unpacked(status, NULL);
    return rc;
}

/* Whoever names two clusters thinks that both are read. */
static enum kms_code compare_clusters(const struct reading *reading, struct kms_error *err)
{
    enum kms_code rc = KMS_OK;
    for (size_t i = 0; rc == KMS_OK && i < reading->client->count && !stopped(reading); i++)
        if (i != reading->client->at)
            rc = compare_cluster(reading, i, err);
    return rc;
}

static enum kms_code read_pages(struct reading *reading, struct kms_error *err)
{
    enum kms_code rc = ask_status(reading, err);
    if (rc == KMS_OK)
        rc = compare_clusters(reading, err);
    while (rc == KMS_OK && !reading->pager.done && !stopped(reading))
        rc = read_page(reading, err);
    reading->summary->stopped = rc == KMS_OK && stopped(reading) && !reading->pager.done;
    return rc;
}

static enum kms_code read_server(struct kms_etcd_source *source, const struct kms_etcd_query *query,
                                 struct kms_etcd_summary *ret_summary, struct kms_error *err)
{
    KMS_CLEANUP(kms_etcd_summary_done) struct kms_etcd_summary summary = { .kind = source->kind };
    struct reading reading = { .client = (struct client *)source,
                               .query = query,
                               .summary = &summary };
    enum kms_code rc = kms_etcd_pager_init(&reading.pager, query->prefix, err);
    if (rc == KMS_OK)
        rc = read_pages(&reading, err);
    kms_etcd_pager_done(&reading.pager);
    if (rc != KMS_OK)
        return rc;
    *ret_summary = summary;
    summary = (struct kms_etcd_summary){ 0 };
    return KMS_OK;
}

static const struct kms_etcd_source_ops ops = { .read = read_server, .close = close_client };

/* --- opening --- */

static enum kms_code open_channels(struct client *client, size_t count,
                                   const struct kms_etcd_options *options, struct kms_error *err)
{
    KMS_CLEANUP(kms_etcd_tls_done) struct kms_etcd_tls tls = { 0 };
    enum kms_code rc = kms_etcd_tls_read(options->ca_path, options->cert_path, options->key_path,
                                         &tls, err);
    while (rc == KMS_OK && client->count < count) {
        rc = kms_etcd_channel_open(&client->endpoints[client->count], &tls, KMS_ETCD_PAGE_MAX,
                                   &client->channels[client->count], err);
        client->count += rc == KMS_OK;
    }
    return rc;
}

enum kms_code kms_etcd_client_open(const struct kms_etcd_options *options,
                                   struct kms_etcd_source **ret_source, struct kms_error *err)
{
    struct client *client = calloc(1, sizeof *client);
    if (client == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    KMS_CLEANUP(kms_etcd_close_ptr) struct kms_etcd_source *source = &client->source;
    *source = (struct kms_etcd_source){ .ops = &ops, .kind = KMS_ETCD_SERVER };
    client->timeout_ms = options->timeout_ms;
    size_t count = 0;
    enum kms_code rc = kms_etcd_endpoints_parse(options->endpoints, client->endpoints, &count, err);
    if (rc == KMS_OK)
        rc = open_channels(client, count, options, err);
    if (rc != KMS_OK)
        return rc;
    *ret_source = source;
    source = NULL;
    return KMS_OK;
}
