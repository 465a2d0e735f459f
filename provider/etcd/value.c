/* SPDX-License-Identifier: Apache-2.0 */
#include "etcd/value.h"

#include <string.h>

#include "etcd/fields.h"

/* Of v2.EncryptedObject (k8s.io/apiserver, pkg/storage/value/encrypt/envelope/kmsv2/v2/api.proto). */
enum {
    FIELD_DATA = 1,
    FIELD_KEY_ID = 2,
    FIELD_DEK_SOURCE = 3,
    FIELD_ANNOTATIONS = 4,
    FIELD_DEK_TYPE = 5,
};
/* Of an entry of a protobuf map. */
enum { ENTRY_KEY = 1, ENTRY_VALUE = 2 };

enum {
    GCM_LEN = KMS_VALUE_NONCE_LEN + KMS_VALUE_TAG_LEN,
    CBC_BLOCK_LEN = 16,
    BOX_LEN = 24 + 16,
    LABEL_MAX = 63, /* bytes of one part of a domain name */
};

static bool starts_with(struct kms_bytes bytes, struct kms_bytes head)
{
    return bytes.len >= head.len && memcmp(bytes.data, head.data, head.len) == 0;
}

static struct kms_bytes behind(struct kms_bytes bytes, size_t len)
{
    return (struct kms_bytes){ .data = bytes.data + len, .len = bytes.len - len };
}

/* --- annotations --- */

static bool is_lower_alnum(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_domain_label(struct kms_bytes label)
{
    if (label.len == 0 || label.len > LABEL_MAX || !is_lower_alnum(label.data[0]) ||
        !is_lower_alnum(label.data[label.len - 1]))
        return false;
    for (size_t i = 0; i < label.len; i++) {
        if (!is_lower_alnum(label.data[i]) && label.data[i] != '-')
            return false;
    }
    return true;
}

/* IsFullyQualifiedDomainName (k8s.io/apimachinery, pkg/util/validation): two labels at least, and
 * one final dot is forgiven. */
static bool is_domain_name(struct kms_bytes name)
{
    if (name.len > 0 && name.data[name.len - 1] == '.')
        name.len--;
    if (name.len == 0 || name.len > KMS_VALUE_DOMAIN_MAX)
        return false;
    size_t start = 0, labels = 0;
    for (size_t i = 0; i <= name.len; i++) {
        if (i < name.len && name.data[i] != '.')
            continue;
        if (!is_domain_label((struct kms_bytes){ name.data + start, i - start }))
            return false;
        start = i + 1;
        labels++;
    }
    return labels >= 2;
}

/* An entry may lack its key or its value, which is then empty. */
static const char *read_entry(struct kms_bytes rest, struct kms_value_annotation *ret_annotation)
{
    struct kms_value_annotation entry = { 0 };
    unsigned seen = 0;
    while (rest.len > 0) {
        struct kms_field field;
        const char *wrong = kms_field_next(&rest, &field);
        if (wrong != NULL)
            return wrong;
        if (field.number > ENTRY_VALUE || field.type != KMS_WIRE_LEN)
            return "an annotation has a field that no map entry has";
        if ((seen & 1U << field.number) != 0)
            return "a field of an annotation comes twice";
        seen |= 1U << field.number;
        *(field.number == ENTRY_KEY ? &entry.key : &entry.value) = field.bytes;
    }
    *ret_annotation = entry;
    return NULL;
}

bool kms_value_annotation_next(struct kms_bytes *rest, struct kms_value_annotation *ret_annotation)
{
    while (rest->len > 0) {
        struct kms_field field;
        if (kms_field_next(rest, &field) != NULL)
            return false;
        if (field.number == FIELD_ANNOTATIONS)
            return read_entry(field.bytes, ret_annotation) == NULL;
    }
    return false;
}

/* Of a message whose entries can all be read. */
static const char *check_annotations(struct kms_bytes message)
{
    size_t total = 0;
    struct kms_value_annotation annotation;
    while (kms_value_annotation_next(&message, &annotation)) {
        if (!is_domain_name(annotation.key))
            return "an annotation's key is no domain name";
        total += annotation.key.len + annotation.value.len; /* both are parts of one value */
        if (total > KMS_VALUE_ANNOTATIONS_MAX)
            return "the annotations are longer than kube-apiserver allows";
    }
    return NULL;
}

/* --- KMS v2 --- */

static const char *take_dek_type(struct kms_value *value, uint64_t number)
{
    if (number != KMS_DEK_KEY && number != KMS_DEK_SEED)
        return "its encryptedDEKSourceType is none of those known";
    value->dek_type = number == KMS_DEK_SEED ? KMS_DEK_SEED : KMS_DEK_KEY;
    return NULL;
}

static const char *take_annotation(struct kms_value *value, struct kms_bytes entry)
{
    struct kms_value_annotation annotation;
    value->annotation_count++;
    return read_entry(entry, &annotation);
}

/* Fields that aren't known yet are passed over, as protobuf wants it. */
static const char *take_field(struct kms_value *value, const struct kms_field *field,
                              unsigned *seen)
{
    if (field->number > FIELD_DEK_TYPE)
        return NULL;
    if (field->type != (field->number == FIELD_DEK_TYPE ? KMS_WIRE_VARINT : KMS_WIRE_LEN))
        return "a field of its EncryptedObject is of another type";
    if (field->number == FIELD_ANNOTATIONS)
        return take_annotation(value, field->bytes);
    if ((*seen & 1U << field->number) != 0)
        return "a field of its EncryptedObject comes twice";
    *seen |= 1U << field->number;

    switch (field->number) {
    case FIELD_DATA:
        value->data = field->bytes;
        return NULL;
    case FIELD_KEY_ID:
        value->key_id = field->bytes;
        return NULL;
    case FIELD_DEK_SOURCE:
        value->dek_source = field->bytes;
        return NULL;
    default:
        return take_dek_type(value, field->varint);
    }
}

/* What kube-apiserver checks at each read, and that nonce and tag are there. */
static const char *check_v2(const struct kms_value *value)
{
    size_t least = GCM_LEN + (value->dek_type == KMS_DEK_SEED ? KMS_VALUE_INFO_LEN : 0);
    if (value->key_id.len == 0 || value->key_id.len > KMS_VALUE_KEY_ID_MAX)
        return "its key_id is empty or longer than 1024 bytes";
    if (!kms_text_is_clean(value->key_id))
        return "its key_id is no clean UTF-8 text";
    if (value->dek_source.len == 0 || value->dek_source.len > KMS_VALUE_DEK_SOURCE_MAX)
        return "its wrapped DEK source is empty or longer than 1024 bytes";
    if (value->data.len < least)
        return "its encrypted data is too short for a nonce and a tag";
    return check_annotations(value->message);
}

static const char *read_v2(struct kms_value *value, struct kms_bytes message)
{
    unsigned seen = 0;
    struct kms_bytes rest = message;
    while (rest.len > 0) {
        struct kms_field field;
        const char *wrong = kms_field_next(&rest, &field);
        if (wrong == NULL)
            wrong = take_field(value, &field, &seen);
        if (wrong != NULL)
            return wrong;
    }
    value->message = message;
    return check_v2(value);
}

/* --- the others --- */

/* envelope.go, TransformFromStorage: the wrapped DEK, its length of 16 bits in front, then data. */
static const char *read_v1(struct kms_value *value, struct kms_bytes rest)
{
    if (rest.len < sizeof(uint16_t))
        return "it is too short for the length of a wrapped DEK";
    size_t dek_len = (size_t)rest.data[0] << 8 | rest.data[1];
    rest = behind(rest, sizeof(uint16_t));
    if (dek_len == 0 || dek_len >= rest.len)
        return "its wrapped DEK is empty, or there is no data behind it";
    value->dek_source = (struct kms_bytes){ .data = rest.data, .len = dek_len };
    value->data = behind(rest, dek_len);
    return NULL;
}

static const char *read_cbc(struct kms_value *value, struct kms_bytes rest)
{
    if (rest.len < (size_t)2 * CBC_BLOCK_LEN || rest.len % CBC_BLOCK_LEN != 0)
        return "its data is no whole number of AES blocks behind an IV";
    value->data = rest;
    return NULL;
}

static const char *read_gcm(struct kms_value *value, struct kms_bytes rest)
{
    if (rest.len < GCM_LEN)
        return "its data is too short for a nonce and a tag";
    value->data = rest;
    return NULL;
}

static const char *read_box(struct kms_value *value, struct kms_bytes rest)
{
    if (rest.len < BOX_LEN)
        return "its data is too short for a nonce and a tag";
    value->data = rest;
    return NULL;
}

static const char reserved[] = "k8s:enc:";

static const struct encrypted_form {
    const char *prefix; /* after @reserved */
    enum kms_value_class class;
    const char *(*read)(struct kms_value *value, struct kms_bytes rest);
} encrypted_forms[] = {
    { "kms:v2:", KMS_VALUE_KMS_V2, read_v2 },
    { "kms:v1:", KMS_VALUE_KMS_V1, read_v1 },
    { "aescbc:v1:", KMS_VALUE_AESCBC, read_cbc },
    { "aesgcm:v1:", KMS_VALUE_AESGCM, read_gcm },
    { "secretbox:v1:", KMS_VALUE_SECRETBOX, read_box },
};

static const char *read_named(struct kms_value *value, const struct encrypted_form *form,
                              struct kms_bytes rest)
{
    const uint8_t *colon = rest.len > 0 ? memchr(rest.data, ':', rest.len) : NULL;
    if (colon == NULL)
        return "the name of its provider or key has no end";
    size_t name_len = (size_t)(colon - rest.data);
    if (name_len == 0)
        return "the name of its provider or key is empty";
    value->provider = (struct kms_bytes){ .data = rest.data, .len = name_len };
    return form->read(value, behind(rest, name_len + 1));
}

static struct kms_value classify_encrypted(struct kms_bytes rest)
{
    for (size_t i = 0; i < sizeof encrypted_forms / sizeof encrypted_forms[0]; i++) {
        const struct encrypted_form *form = &encrypted_forms[i];
        struct kms_bytes prefix = kms_bytes_of(form->prefix);
        if (!starts_with(rest, prefix))
            continue;
        struct kms_value value = { .class = form->class, .prefix = form->class };
        const char *problem = read_named(&value, form, behind(rest, prefix.len));
        if (problem == NULL)
            return value;
        return (struct kms_value){ .class = KMS_VALUE_MALFORMED,
                                   .prefix = form->class,
                                   .problem = problem,
                                   .provider = value.provider };
    }
    return (struct kms_value){ .class = KMS_VALUE_UNKNOWN, .prefix = KMS_VALUE_UNKNOWN };
}

/* As the serializers of k8s.io/apimachinery know their own (pkg/runtime/serializer); JSON may stand
 * behind white space. */
static enum kms_value_class plaintext_form(struct kms_bytes stored)
{
    static const struct kms_bytes protobuf = { (const uint8_t *)"k8s\0", 4 };
    static const struct kms_bytes cbor = { (const uint8_t *)"\xd9\xd9\xf7", 3 };
    if (starts_with(stored, protobuf))
        return KMS_VALUE_PROTOBUF;
    if (starts_with(stored, cbor))
        return KMS_VALUE_CBOR;
    size_t at = 0;
    while (at < stored.len && memchr(" \t\r\n", stored.data[at], 4) != NULL)
        at++;
    return at < stored.len && stored.data[at] == '{' ? KMS_VALUE_JSON : KMS_VALUE_OTHER;
}

struct kms_value kms_value_classify(struct kms_bytes stored)
{
    struct kms_bytes head = kms_bytes_of(reserved);
    if (starts_with(stored, head))
        return classify_encrypted(behind(stored, head.len));
    enum kms_value_class form = plaintext_form(stored);
    return (struct kms_value){ .class = form, .prefix = form, .data = stored };
}

bool kms_value_is_plaintext(const struct kms_value *value)
{
    return value->class >= KMS_VALUE_PROTOBUF && value->class <= KMS_VALUE_OTHER;
}

const char *kms_value_class_name(enum kms_value_class class)
{
    static const char *const names[KMS_VALUE_CLASS_COUNT] = {
        [KMS_VALUE_KMS_V2] = "kms-v2",       [KMS_VALUE_KMS_V1] = "kms-v1",
        [KMS_VALUE_AESCBC] = "aescbc",       [KMS_VALUE_AESGCM] = "aesgcm",
        [KMS_VALUE_SECRETBOX] = "secretbox", [KMS_VALUE_PROTOBUF] = "protobuf",
        [KMS_VALUE_JSON] = "json",           [KMS_VALUE_CBOR] = "cbor",
        [KMS_VALUE_OTHER] = "other",         [KMS_VALUE_UNKNOWN] = "unknown",
        [KMS_VALUE_MALFORMED] = "malformed",
    };
    return names[class];
}
