/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "command.h"
#include "kms/clock.h"
#include "text.h"
#include "verify.h"

enum { TIMEOUT_MS = 5000 };

static void free_ids(struct kms_verify_ring *ring)
{
    for (size_t i = 0; i < ring->count; i++)
        free(ring->ids[i]);
    free(ring->ids);
    ring->ids = NULL;
    ring->count = 0;
}

void kms_verify_ring_done(struct kms_verify_ring *ring)
{
    free_ids(ring);
    free(ring->key_id);
    free(ring->name);
    kms_snapshot_release(ring->snapshot);
    kms_inventory_done(&ring->inventory);
    if (ring->listed)
        kms_keyring_done(&ring->keyring);
    *ring = (struct kms_verify_ring){ 0 };
}

static void set_text(char **text, const char *value)
{
    free(*text);
    *text = kms_must_alloc(strdup(value));
}

static void add_id(struct kms_verify_ring *ring, const char *key_id)
{
    if (key_id[0] == '\0')
        return;
    ring->ids = kms_must_alloc(realloc(ring->ids, (ring->count + 1) * sizeof(*ring->ids)));
    ring->ids[ring->count++] = kms_must_alloc(strdup(key_id));
}

/* --- the running plugin --- */

static enum kms_code take_description(struct kms_verify_ring *ring,
                                      const Hsmkms__Node__V1__DescribeResponse *description,
                                      struct kms_error *err)
{
    if (description->promoted == 0 || description->key_id[0] == '\0')
        return kms_fail(err, KMS_E_PRECONDITION, "the plugin has promoted no KEK yet");
    set_text(&ring->name, description->ring);
    set_text(&ring->key_id, description->key_id);
    for (size_t i = 0; i < description->n_keks; i++)
        add_id(ring, description->keks[i]->key_id);
    ring->from = "the running plugin";
    return KMS_OK;
}

static enum kms_code ask_plugin(struct kms_verify_ring *ring, const char *socket,
                                struct kms_error *err)
{
    Hsmkms__Node__V1__DescribeResponse *description = NULL;
    enum kms_code rc = kms_client_describe_at(socket, kms_monotonic_ms() + TIMEOUT_MS, &description,
                                              err);
    if (rc != KMS_OK)
        return rc;
    rc = take_description(ring, description, err);
    kms_client_free_describe(description);
    return rc;
}

static enum kms_code ask_socket(struct kms_verify_ring *ring,
                                const struct kms_verify_options *options, struct kms_error *err)
{
    char *socket = NULL;
    enum kms_code rc = kms_command_socket_path(options->socket, options->keyring.config_path,
                                               &socket, err);
    if (rc == KMS_OK)
        rc = ask_plugin(ring, socket, err);
    if (rc != KMS_OK && options->socket == NULL)
        kms_command_note("the running plugin doesn't say which KEK is promoted (%s), asking the "
                         "token",
                         err->msg);
    free(socket);
    return rc;
}

/* --- the token --- */

/* gRPC's threads are there already, if the plugin or etcd was asked; they have nothing to do, and glibc
 * changes the ids of all threads. */
static enum kms_code list_token(struct kms_verify_ring *ring,
                                const struct kms_verify_options *options, struct kms_error *err)
{
    ring->listed = true;
    enum kms_code rc = kms_keyring_init(&ring->keyring, &options->keyring, err);
    if (rc == KMS_OK)
        rc = kms_keyring_list(&ring->keyring, &ring->inventory, err);
    if (rc == KMS_OK)
        rc = kms_keyring_judge(&ring->keyring, &ring->inventory, kms_utc_s(), &ring->snapshot, err);
    return rc;
}

static enum kms_code take_snapshot(struct kms_verify_ring *ring, struct kms_error *err)
{
    free_ids(ring);
    set_text(&ring->name, ring->keyring.config.ring);
    for (size_t i = 0; i < ring->snapshot->count; i++)
        add_id(ring, ring->snapshot->entries[i].key_id);
    if (ring->key_id != NULL)
        return KMS_OK;
    if (ring->snapshot->promoted == 0 || ring->snapshot->key_id[0] == '\0')
        return kms_fail(err, KMS_E_PRECONDITION,
                        "no KEK is promoted yet as far as this node knows: give --key-id");
    set_text(&ring->key_id, ring->snapshot->key_id);
    ring->from = "the token, and this node's memory";
    return KMS_OK;
}

/* --- a key_id --- */

/* "prod" of "prod.v3.…"; NULL if it isn't one of hsm-kms. */
static char *ring_of(const char *key_id)
{
    struct kms_key_id parsed;
    const char *dot = strstr(key_id, ".v");
    if (dot == NULL)
        return NULL;
    char *name = kms_must_alloc(strndup(key_id, (size_t)(dot - key_id)));
    if (kms_ring_name_is_valid(name) && kms_key_id_parse(name, kms_bytes_of(key_id), &parsed))
        return name;
    free(name);
    return NULL;
}

enum kms_code kms_verify_ring_find(struct kms_verify_ring *ring,
                                   const struct kms_verify_options *options, struct kms_error *err)
{
    enum kms_code rc = KMS_OK;
    if (options->key_id != NULL) {
        set_text(&ring->key_id, options->key_id);
        ring->from = "--key-id";
    } else {
        rc = ask_socket(ring, options, err);
    }
    if (rc != KMS_OK && options->socket != NULL)
        return rc;
    if (rc != KMS_OK || options->prove)
        rc = list_token(ring, options, err);
    if (rc == KMS_OK && ring->snapshot != NULL)
        rc = take_snapshot(ring, err);
    if (rc == KMS_OK && ring->name == NULL)
        ring->name = ring_of(ring->key_id);
    return rc;
}
