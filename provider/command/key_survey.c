/* SPDX-License-Identifier: Apache-2.0 */
#include "key_survey.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "json.h"
#include "kms/clock.h"
#include "text.h"

enum { STATUS_TIMEOUT_MS = 5000, MS_PER_S = 1000 };

/* Whatever a node may still promote, it isn't this: a disabled key wraps nothing, a foreign one isn't
 * trusted unasked.  Other refusals may pass by themselves. */
static bool is_declined(const Hsmkms__Node__V1__Kek *kek)
{
    if (strcmp(kek->state, kms_kek_state_name(KMS_KEK_DISABLED)) == 0)
        return true;
    return strcmp(kek->state, kms_kek_state_name(KMS_KEK_REFUSED)) == 0 &&
           (kek->attributes & kek->known & KMS_KEK_LOCAL) == 0;
}

static bool declines(const Hsmkms__Node__V1__DescribeResponse *description, uint32_t generation)
{
    bool listed = false;
    for (size_t i = 0; i < description->n_keks; i++) {
        if (description->keks[i]->generation != generation)
            continue;
        if (!is_declined(description->keks[i]))
            return false;
        listed = true;
    }
    return listed;
}

static void add(struct kms_key_survey *survey, const struct kms_node *node, bool is_declining)
{
    struct kms_key_peer *peer = &survey->peers[survey->count];
    int64_t measured_ms = node->offset_ms + node->doubt_ms;
    *peer = (struct kms_key_peer){
        .promoted = node->promoted,
        .is_export = node->is_export,
        .told_utc_s = node->told_utc_s,
        .ahead_ms = measured_ms > node->clock_skew_ms ? measured_ms : node->clock_skew_ms,
        .declines = is_declining,
    };
    kms_node_title(node, peer->title);
    (void)snprintf(peer->ring, sizeof(peer->ring), "%s", node->ring);
    survey->nodes[survey->count++] = *node;
}

static enum kms_code ask(struct kms_key_survey *survey, const char *socket, uint32_t generation,
                         struct kms_error *err)
{
    KMS_CLEANUP(kms_client_close_ptr) struct kms_client *client = NULL;
    Hsmkms__Node__V1__DescribeResponse *description = NULL;
    V2__StatusResponse *status = NULL;
    struct kms_node node = { .source = socket };
    struct kms_error why = { 0 }; /* an unhealthy node still describes itself */
    enum kms_code rc = kms_client_open(socket, &client, err);
    if (rc != KMS_OK)
        return rc;
    if (kms_client_status(client, kms_monotonic_ms() + STATUS_TIMEOUT_MS, &status, &why) == KMS_OK)
        kms_client_free_status(status);
    rc = kms_node_ask(client, socket, &node, &description, &why);
    survey->unanswered = rc != KMS_OK;
    if (rc != KMS_OK)
        return kms_fail(err, rc, "the node on %s does not answer: %s", socket, why.msg);
    add(survey, &node, declines(description, generation));
    kms_client_free_describe(description);
    return KMS_OK;
}

static enum kms_code read_export(struct kms_key_survey *survey, const char *path,
                                 struct kms_error *err)
{
    struct kms_node node = { .source = path };
    enum kms_code rc = kms_node_read(path, kms_utc_ms(), &node, err);
    if (rc == KMS_OK)
        add(survey, &node, false);
    return rc;
}

enum kms_code kms_key_survey_take(struct kms_key_survey *survey, struct kms_node_sources *sources,
                                  const char *config, uint32_t generation, struct kms_error *err)
{
    if (sources->socket_count + sources->file_count == 0)
        return KMS_OK;
    enum kms_code rc = kms_node_sources_default(sources, config, err);
    const size_t count = sources->socket_count + sources->file_count;
    survey->nodes = kms_must_alloc(calloc(count, sizeof(survey->nodes[0])));
    survey->peers = kms_must_alloc(calloc(count, sizeof(survey->peers[0])));
    for (size_t i = 0; i < sources->file_count && rc == KMS_OK; i++)
        rc = read_export(survey, sources->files[i], err);
    for (size_t i = 0; i < sources->socket_count && rc == KMS_OK; i++)
        rc = ask(survey, sources->sockets[i], generation, err);
    return rc;
}

void kms_key_survey_done(struct kms_key_survey *survey)
{
    free(survey->nodes);
    free(survey->peers);
    *survey = (struct kms_key_survey){ 0 };
}

json_t *kms_key_survey_json(const struct kms_key_survey *survey)
{
    json_t *nodes = json_array();
    for (size_t i = 0; i < survey->count; i++) {
        json_t *node = kms_node_json(&survey->nodes[i]);
        kms_json_set(node, "told", kms_json_time(survey->nodes[i].told_utc_s));
        kms_json_append(nodes, node);
    }
    return nodes;
}
