/* SPDX-License-Identifier: Apache-2.0 */
#include "audit_line.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/rand.h>

#include "kms/clock.h"
#include "kms/signature.h"

enum {
    TEXT_MAX = 1024, /* bytes of a hostile text that are recorded: a request's uid has no more */
    EXE_MAX = 256,
    ESCAPED_LEN = 4, /* \xNN */
    BASE64_MAX = 4 * (KMS_SIGNATURE_MAX + 2) / 3 + 1,
};

void kms_audit_chain_begin(struct kms_audit_chain *chain)
{
    uint8_t id[KMS_AUDIT_CHAIN_LEN / 2];
    if (RAND_bytes(id, sizeof(id)) != 1)
        abort(); /* a library without randomness is no library to go on with */
    *chain = (struct kms_audit_chain){ .seq = 0 };
    kms_hex_encode((struct kms_bytes){ id, sizeof(id) }, chain->id);
}

/* --- bodies --- */

/* Hostile bytes as text that is valid in JSON and on a terminal; what is too long is cut. */
static json_t *text_of(struct kms_bytes bytes)
{
    bool cut = bytes.len > TEXT_MAX;
    if (!cut && kms_text_is_clean(bytes))
        return json_stringn((const char *)bytes.data, bytes.len);
    char text[TEXT_MAX * ESCAPED_LEN + sizeof("...")] = "";
    size_t len = 0;
    for (size_t i = 0; i < bytes.len && i < TEXT_MAX; i++) {
        uint8_t c = bytes.data[i];
        bool plain = c >= 0x20 && c < 0x7f;
        len += (size_t)snprintf(text + len, sizeof(text) - len, plain ? "%c" : "\\x%02x", c);
    }
    (void)snprintf(text + len, sizeof(text) - len, "%s", cut ? "..." : "");
    return json_string(text);
}

/* Out of memory shows as a lost @object. */
static void set(json_t **object, const char *key, json_t *value)
{
    if (json_object_set_new(*object, key, value) == 0) /* takes @value in any case */
        return;
    json_decref(*object);
    *object = NULL;
}

/* No member for an empty text. */
static void set_text(json_t **object, const char *key, struct kms_bytes text)
{
    if (text.len > 0)
        set(object, key, text_of(text));
}

static void set_string(json_t **object, const char *key, const char *text)
{
    set_text(object, key, kms_bytes_of(text != NULL ? text : ""));
}

static void set_number(json_t **object, const char *key, int64_t number)
{
    set(object, key, json_integer(number));
}

static void set_hex(json_t **object, const char *key, const uint8_t digest[static KMS_SHA256_LEN])
{
    char digits[2 * KMS_SHA256_LEN + 1];
    kms_hex_encode((struct kms_bytes){ digest, KMS_SHA256_LEN }, digits);
    set_string(object, key, digits);
}

static void set_time(json_t **object, const char *key, int64_t utc_ms)
{
    char stamp[KMS_RFC3339_LEN + 1];
    kms_rfc3339_format_ms(utc_ms, stamp);
    set_string(object, key, stamp);
}

static json_t *begin(const struct kms_audit_origin *origin, const char *type)
{
    json_t *object = json_object();
    set_time(&object, "ts", kms_utc_ms());
    set_string(&object, "type", type);
    set_string(&object, "cluster", origin->cluster);
    set_string(&object, "node", origin->node);
    set_string(&object, "writer", origin->writer);
    return object;
}

/* The members' text: kms_audit_line_put() writes the brace. */
static char *finish(json_t *object)
{
    char *text = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    if (text != NULL)
        memmove(text, text + 1, strlen(text));
    return text;
}

/* Who may see a foreign process's executable depends on the kernel; its name is everybody's. */
static void set_executable(json_t **object, int32_t pid)
{
    char link[64], text[EXE_MAX] = "";
    (void)snprintf(link, sizeof(link), "/proc/%" PRId32 "/exe", pid);
    ssize_t len = readlink(link, text, sizeof(text));
    if (len > 0) {
        set_text(object, "exe", (struct kms_bytes){ (const uint8_t *)text, (size_t)len });
        return;
    }
    (void)snprintf(link, sizeof(link), "/proc/%" PRId32 "/comm", pid);
    FILE *in = fopen(link, "re");
    if (in == NULL)
        return;
    if (fgets(text, sizeof(text), in) != NULL)
        set_text(object, "comm", (struct kms_bytes){ (const uint8_t *)text, strcspn(text, "\n") });
    (void)fclose(in);
}

static void set_peer(json_t **object, const struct kms_audit_peer *peer)
{
    set_number(object, "peer_uid", peer->uid);
    set_number(object, "peer_gid", peer->gid);
    set_number(object, "peer_pid", peer->pid);
    if (peer->pid > 0)
        set_executable(object, peer->pid);
}

/* No member for what isn't known. */
static void set_id(json_t **object, const char *key, int64_t id)
{
    if (id >= 0)
        set_number(object, key, id);
}

static void set_login(json_t **object, const struct kms_audit_login *login)
{
    set_id(object, "login_uid", login->login_uid);
    set_id(object, "started_uid", login->started_uid);
    set_id(object, "claimed_uid", login->claimed_uid);
}

char *kms_audit_body_use(const struct kms_audit_origin *origin, const struct kms_audit_use *use)
{
    json_t *object = begin(origin, "use");
    set_string(&object, "op", use->op);
    set_text(&object, "uid", use->uid);
    set_text(&object, "key_id", use->key_id);
    set_string(&object, "code", kms_code_name(use->code));
    set_peer(&object, &use->peer);
    set_number(&object, "queue_us", use->queue_us);
    set_number(&object, "token_us", use->token_us);
    set_number(&object, "total_us", use->total_us);
    if (use->ciphertext.len > 0) {
        uint8_t digest[KMS_SHA256_LEN];
        kms_sha256(use->ciphertext, digest);
        set_hex(&object, "ciphertext_sha256", digest);
    }
    return finish(object);
}

char *kms_audit_body_command(const struct kms_audit_origin *origin,
                             const struct kms_audit_command *command)
{
    json_t *object = begin(origin, "command");
    set_string(&object, "op", command->op);
    set_string(&object, "phase", command->done ? "done" : "begin");
    set_string(&object, "outcome", command->outcome);
    if (command->generation != 0)
        set_number(&object, "generation", command->generation);
    set_string(&object, "key_id", command->key_id);
    set_string(&object, "token", command->token);
    set_string(&object, "verified_by", command->verified_by);
    set_string(&object, "wait", command->wait);
    if (command->done)
        set_string(&object, "code", kms_code_name(command->code));
    set_peer(&object, &command->peer);
    if (command->login != NULL)
        set_login(&object, command->login);
    return finish(object);
}

char *kms_audit_body_event(const struct kms_audit_origin *origin,
                           const struct kms_audit_event *event)
{
    json_t *object = begin(origin, "state");
    set_string(&object, "op", event->op);
    set_string(&object, "key_id", event->key_id);
    set_string(&object, "token", event->token);
    set_string(&object, "reason", event->reason);
    if (event->peer != NULL)
        set_peer(&object, event->peer);
    if (event->count > 1)
        set_number(&object, "count", (int64_t)event->count);
    return finish(object);
}

char *kms_audit_body_open(const struct kms_audit_origin *origin, const char *previous)
{
    json_t *object = begin(origin, "open");
    set_string(&object, "version", KMS_VERSION);
    set_string(&object, "previous_file", previous);
    return finish(object);
}

char *kms_audit_body_cut(const struct kms_audit_origin *origin, const char *file, uint64_t bytes,
                         const uint8_t sha256[static KMS_SHA256_LEN])
{
    json_t *object = begin(origin, "cut");
    set_string(&object, "file", file);
    set_number(&object, "bytes", (int64_t)bytes);
    set_hex(&object, "sha256", sha256);
    return finish(object);
}

char *kms_audit_body_gap(const struct kms_audit_origin *origin, uint64_t lost, int64_t from_ms,
                         int64_t to_ms, const char *reason)
{
    json_t *object = begin(origin, "gap");
    set_number(&object, "lost", (int64_t)lost);
    set_time(&object, "from", from_ms);
    set_time(&object, "to", to_ms);
    set_string(&object, "reason", reason);
    return finish(object);
}

char *kms_audit_body_late(const struct kms_audit_origin *origin, uint64_t count, int64_t from_ms,
                          int64_t to_ms)
{
    json_t *object = begin(origin, "late");
    set_number(&object, "late", (int64_t)count);
    set_time(&object, "from", from_ms);
    set_time(&object, "to", to_ms);
    return finish(object);
}

/* Texts of our own, which may be longer than hostile ones. */
static void set_long(json_t **object, const char *key, const char *text)
{
    set(object, key, json_string(text));
}

char *kms_audit_body_key(const struct kms_audit_origin *origin, const char *id,
                         const char *sealed_key)
{
    json_t *object = begin(origin, "key");
    set_string(&object, "key", id);
    set_long(&object, "sealed_key", sealed_key);
    return finish(object);
}

char *kms_audit_body_sealed(const struct kms_audit_origin *origin, const char *id, uint64_t number,
                            const char *data)
{
    json_t *object = begin(origin, "sealed");
    set_string(&object, "key", id);
    set_number(&object, "number", (int64_t)number);
    set_long(&object, "data", data);
    return finish(object);
}

char *kms_audit_body_checkpoint(const struct kms_audit_origin *origin,
                                const struct kms_audit_chain *at,
                                const struct kms_signature *signature)
{
    char text[BASE64_MAX];
    json_t *object = begin(origin, "checkpoint");
    (void)EVP_EncodeBlock((uint8_t *)text, signature->data, (int)signature->len);
    set_number(&object, "signed_seq", (int64_t)at->seq);
    set_hex(&object, "signed_sha256", at->head);
    set_hex(&object, "key_sha256", signature->key_sha256);
    set_string(&object, "alg", kms_signing_name(signature->signing));
    set_long(&object, "signature", text);
    return finish(object);
}

/* --- lines --- */

size_t kms_audit_line_put(struct kms_audit_chain *chain, const char *body, char *text, size_t room)
{
    char prev[2 * KMS_SHA256_LEN + 1];
    kms_hex_encode((struct kms_bytes){ chain->head, sizeof(chain->head) }, prev);
    int len = snprintf(text, room, "{\"chain\":\"%s\",\"seq\":%" PRIu64 ",\"prev\":\"%s\",%s\n",
                       chain->id, chain->seq + 1, prev, body);
    if (len < 0 || (size_t)len >= room || chain->seq >= KMS_AUDIT_SEQ_MAX)
        return 0;
    kms_sha256((struct kms_bytes){ (const uint8_t *)text, (size_t)len - 1 }, chain->head);
    chain->seq++;
    return (size_t)len;
}

static enum kms_code read_place(struct kms_audit_line *line, struct kms_error *err)
{
    const char *chain = kms_audit_line_text(line, "chain");
    int64_t seq = kms_audit_line_number(line, "seq");
    uint8_t id[KMS_AUDIT_CHAIN_LEN / 2];
    if (!kms_hex_decode(chain, id, sizeof(id)))
        return kms_fail(err, KMS_E_INVALID, "chain is not %d hexadecimal digits",
                        (int)KMS_AUDIT_CHAIN_LEN);
    if (seq < 1 || seq > KMS_AUDIT_SEQ_MAX)
        return kms_fail(err, KMS_E_INVALID, "seq is no number from 1 to %" PRId64,
                        KMS_AUDIT_SEQ_MAX);
    if (!kms_hex_decode(kms_audit_line_text(line, "prev"), line->prev, sizeof(line->prev)))
        return kms_fail(err, KMS_E_INVALID, "prev is no SHA-256");
    line->type = kms_audit_line_text(line, "type");
    line->time = kms_audit_line_text(line, "ts");
    if (line->type[0] == '\0' || strlen(line->time) != KMS_RFC3339_LEN)
        return kms_fail(err, KMS_E_INVALID, "type or ts is missing");
    (void)snprintf(line->at.id, sizeof(line->at.id), "%s", chain);
    line->at.seq = (uint64_t)seq;
    return KMS_OK;
}

/* What lines say of people and processes are numbers of the kernel's, if they say it. */
static enum kms_code check_ids(const struct kms_audit_line *line, struct kms_error *err)
{
    static const char *const keys[] = { "peer_uid", "peer_gid", "login_uid", "started_uid",
                                        "claimed_uid" };
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        int64_t id = kms_audit_line_number(line, keys[i]);
        if (json_object_get(line->json, keys[i]) != NULL && (id < 0 || id > UINT32_MAX))
            return kms_fail(err, KMS_E_INVALID, "%s is no number from 0 to %" PRIu32, keys[i],
                            UINT32_MAX);
    }
    return KMS_OK;
}

enum kms_code kms_audit_line_parse(struct kms_bytes text, struct kms_audit_line *ret_line,
                                   struct kms_error *err)
{
    json_error_t why;
    if (text.len >= KMS_AUDIT_LINE_MAX)
        return kms_fail(err, KMS_E_INVALID, "longer than %d bytes", (int)KMS_AUDIT_LINE_MAX);
    KMS_CLEANUP(kms_audit_line_done)
    struct kms_audit_line line = {
        .json = json_loadb((const char *)text.data, text.len, JSON_REJECT_DUPLICATES, &why),
    };
    if (!json_is_object(line.json))
        return kms_fail(err, KMS_E_INVALID, "not a JSON object");
    enum kms_code rc = read_place(&line, err);
    if (rc == KMS_OK)
        rc = check_ids(&line, err);
    if (rc != KMS_OK)
        return rc;
    kms_sha256(text, line.at.head);
    *ret_line = line;
    line.json = NULL;
    return KMS_OK;
}

void kms_audit_line_done(struct kms_audit_line *line)
{
    json_decref(line->json);
    *line = (struct kms_audit_line){ .json = NULL };
}

const char *kms_audit_line_text(const struct kms_audit_line *line, const char *key)
{
    const char *text = json_string_value(json_object_get(line->json, key));
    return text != NULL ? text : "";
}

int64_t kms_audit_line_number(const struct kms_audit_line *line, const char *key)
{
    const json_t *number = json_object_get(line->json, key);
    return json_is_integer(number) ? json_integer_value(number) : -1;
}
