/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <yaml.h>

#include "kms/fd.h"
#include "schema.h"

enum {
    FILE_MAX = 256 * 1024, /* bytes: a thousand pins fit */
    DEPTH_MAX = 8,         /* libyaml takes quadratic time in it; the schema has 4 levels */
};

struct reader {
    const char *file;
    yaml_document_t *document;
    struct kms_error *err;
};

/* A mapping: where the schema knows it, how messages call it, what it fills. */
struct place {
    const char *schema; /* "tokens[]" */
    const char *shown;  /* "tokens[0]" */
    void *base;
    size_t line;
};

static enum kms_code KMS_PRINTF(4, 5)
    fault(const struct reader *reader, size_t line, const char *path, const char *fmt, ...)
{
    char text[KMS_ERROR_MSG_MAX];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return kms_fail(reader->err, KMS_E_INVALID, "%s:%zu: %s%s%s", reader->file, line, path,
                    path[0] != '\0' ? ": " : "", text);
}

static size_t line_of(const yaml_node_t *node)
{
    return node->start_mark.line + 1;
}

static void join(char ret_path[static KMS_SCHEMA_PATH_MAX], const char *parent, const char *name)
{
    (void)snprintf(ret_path, KMS_SCHEMA_PATH_MAX, "%s%s%s", parent, parent[0] != '\0' ? "." : "",
                   name);
}

static enum kms_code read_mapping(const struct reader *reader, const yaml_node_t *node,
                                  const struct place *place);

static enum kms_code set_scalar(const struct reader *reader, const struct kms_schema_field *field,
                                const struct kms_schema_value *value, const struct place *at)
{
    struct kms_error why = { 0 };
    enum kms_code rc = kms_schema_set(field, value, at->base, &why);
    if (rc == KMS_OK)
        return KMS_OK;
    if (rc != KMS_E_INVALID)
        return kms_fail(reader->err, rc, "%s: %s", reader->file, why.msg);
    return fault(reader, at->line, at->shown, "%s", why.msg);
}

static enum kms_code read_scalar(const struct reader *reader, const struct kms_schema_field *field,
                                 const yaml_node_t *node, const struct place *at)
{
    if (node->type != YAML_SCALAR_NODE)
        return fault(reader, at->line, at->shown, "expected %s", kms_schema_type_text(field->type));
    struct kms_schema_value value = {
        .text = (const char *)node->data.scalar.value,
        .len = node->data.scalar.length,
        .quoted = node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE,
    };
    if (!value.quoted &&
        (value.len == 0 || strcmp(value.text, "~") == 0 || strcasecmp(value.text, "null") == 0))
        return fault(reader, at->line, at->shown, "has no value");
    return set_scalar(reader, field, &value, at);
}

static enum kms_code check_count(const struct reader *reader, const struct kms_schema_field *field,
                                 size_t count, const struct place *at)
{
    if ((int64_t)count >= field->min && (int64_t)count <= field->max)
        return KMS_OK;
    return fault(reader, at->line, at->shown, "%zu entries are out of range %lld..%lld", count,
                 (long long)field->min, (long long)field->max);
}

static enum kms_code read_item(const struct reader *reader, const struct kms_schema_field *list,
                               const yaml_node_t *node, const struct place *item)
{
    const struct kms_schema_field *scalar = kms_schema_item(list->path);
    if (scalar != NULL)
        return read_scalar(reader, scalar, node, item);
    return read_mapping(reader, node, item);
}

static enum kms_code read_items(const struct reader *reader, const struct kms_schema_field *list,
                                const yaml_node_t *node, const struct place *at, char *items)
{
    size_t count = (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
    for (size_t i = 0; i < count; i++) {
        yaml_node_t *item_node = yaml_document_get_node(reader->document,
                                                        node->data.sequence.items.start[i]);
        char schema[KMS_SCHEMA_PATH_MAX], shown[KMS_SCHEMA_PATH_MAX + 32];
        (void)snprintf(schema, sizeof(schema), "%s[]", list->path);
        (void)snprintf(shown, sizeof(shown), "%s[%zu]", at->shown, i);
        struct place item = { schema, shown, items + i * list->item_size, line_of(item_node) };
        size_t filled = i + 1;
        memcpy((char *)at->base + list->count_offset, &filled, sizeof(filled));
        enum kms_code rc = read_item(reader, list, item_node, &item);
        if (rc != KMS_OK)
            return rc;
        const char *problem = list->check_items != NULL ? list->check_items(items, filled) : NULL;
        if (problem != NULL)
            return fault(reader, item.line, shown, "%s", problem);
    }
    return KMS_OK;
}

static enum kms_code read_list(const struct reader *reader, const struct kms_schema_field *list,
                               const yaml_node_t *node, const struct place *at)
{
    if (node->type != YAML_SEQUENCE_NODE)
        return fault(reader, at->line, at->shown, "expected a list");
    size_t count = (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
    enum kms_code rc = check_count(reader, list, count, at);
    if (rc != KMS_OK || count == 0)
        return rc;
    char *items = calloc(count, list->item_size);
    if (items == NULL)
        return kms_fail(reader->err, KMS_E_BUSY, "%s: out of memory", reader->file);
    memcpy((char *)at->base + list->offset, &items, sizeof(items)); /* kms_config_done() frees */
    return read_items(reader, list, node, at, items);
}

static enum kms_code read_field(const struct reader *reader, const struct kms_schema_field *field,
                                const yaml_node_t *node, const struct place *at)
{
    if (field->type == KMS_SCHEMA_SECTION)
        return read_mapping(reader, node, at);
    if (field->type == KMS_SCHEMA_LIST)
        return read_list(reader, field, node, at);
    return read_scalar(reader, field, node, at);
}

static enum kms_code unknown_field(const struct reader *reader, const yaml_node_t *key,
                                   const struct place *place)
{
    char known[256] = "";
    size_t len = 0;
    for (size_t i = 0; i < kms_schema_field_count; i++) {
        const char *name = kms_schema_name_below(i, place->schema);
        if (name != NULL && len + strlen(name) + 3 < sizeof(known))
            len += (size_t)snprintf(known + len, sizeof(known) - len, "%s%s", len > 0 ? ", " : "",
                                    name);
    }
    char quoted[KMS_SCHEMA_QUOTE_MAX];
    return fault(
        reader, line_of(key), place->shown, "unknown field %s; known here: %s",
        kms_schema_quote((const char *)key->data.scalar.value, key->data.scalar.length, quoted),
        known);
}

/* @seen holds the line on which a row of the schema was met in this mapping; 0: not yet. */
static enum kms_code read_pair(const struct reader *reader, const yaml_node_pair_t *pair,
                               const struct place *place, size_t *seen)
{
    const yaml_node_t *key = yaml_document_get_node(reader->document, pair->key);
    const yaml_node_t *node = yaml_document_get_node(reader->document, pair->value);
    if (key->type != YAML_SCALAR_NODE)
        return fault(reader, line_of(key), place->shown, "expected the name of a field");
    const char *name = (const char *)key->data.scalar.value;
    size_t index = kms_schema_find(place->schema, name);
    if (strlen(name) != key->data.scalar.length || index == kms_schema_field_count)
        return unknown_field(reader, key, place);

    char schema[KMS_SCHEMA_PATH_MAX], shown[KMS_SCHEMA_PATH_MAX];
    join(schema, place->schema, name);
    join(shown, place->shown, name);
    if (seen[index] != 0)
        return fault(reader, line_of(key), shown, "given twice; first on line %zu", seen[index]);
    seen[index] = line_of(key);
    struct place at = { schema, shown, place->base, line_of(key) };
    return read_field(reader, &kms_schema_fields[index], node, &at);
}

static enum kms_code fill_absent(const struct reader *reader, const struct kms_schema_field *field,
                                 const char *name, const struct place *place)
{
    char shown[KMS_SCHEMA_PATH_MAX];
    join(shown, place->shown, name);
    struct place at = { field->path, shown, place->base, place->line };
    if (field->required)
        return fault(reader, place->line, shown, "required, but not given");
    if (field->type == KMS_SCHEMA_SECTION)
        return read_mapping(reader, NULL, &at);
    if (field->fallback == NULL)
        return KMS_OK;
    struct kms_schema_value value = {
        .text = field->fallback,
        .len = strlen(field->fallback),
        .quoted = field->type == KMS_SCHEMA_MODE,
    };
    return set_scalar(reader, field, &value, &at);
}

/* @node is NULL where the file leaves the whole mapping out. */
static enum kms_code read_mapping(const struct reader *reader, const yaml_node_t *node,
                                  const struct place *place)
{
    size_t seen[KMS_SCHEMA_FIELDS_MAX] = { 0 };
    if (node != NULL) {
        if (node->type != YAML_MAPPING_NODE)
            return fault(reader, place->line, place->shown, "expected a mapping");
        for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
             pair < node->data.mapping.pairs.top; pair++) {
            enum kms_code rc = read_pair(reader, pair, place, seen);
            if (rc != KMS_OK)
                return rc;
        }
    }
    for (size_t i = 0; i < kms_schema_field_count; i++) {
        const char *name = kms_schema_name_below(i, place->schema);
        if (name == NULL || seen[i] != 0)
            continue;
        enum kms_code rc = fill_absent(reader, &kms_schema_fields[i], name, place);
        if (rc != KMS_OK)
            return rc;
    }
    return KMS_OK;
}

static enum kms_code syntax_fault(const struct reader *reader, const yaml_parser_t *parser,
                                  struct kms_bytes text)
{
    if (parser->error == YAML_MEMORY_ERROR)
        return kms_fail(reader->err, KMS_E_BUSY, "%s: out of memory", reader->file);
    size_t line = parser->problem_mark.line + 1;
    if (parser->error == YAML_READER_ERROR) { /* comes with an offset only */
        line = 1;
        for (size_t i = 0; i < text.len && i < parser->problem_offset; i++)
            line += text.data[i] == '\n' ? 1 : 0;
    }
    return fault(reader, line, "", "not YAML: %s", parser->problem);
}

static bool event_is_plain(const yaml_event_t *event)
{
    if (event->type == YAML_SCALAR_EVENT)
        return event->data.scalar.anchor == NULL && event->data.scalar.tag == NULL;
    if (event->type == YAML_SEQUENCE_START_EVENT)
        return event->data.sequence_start.anchor == NULL && event->data.sequence_start.tag == NULL;
    if (event->type == YAML_MAPPING_START_EVENT)
        return event->data.mapping_start.anchor == NULL && event->data.mapping_start.tag == NULL;
    return event->type != YAML_ALIAS_EVENT;
}

struct progress {
    size_t documents;
    size_t depth;
};

static void advance(struct progress *progress, yaml_event_type_t type)
{
    if (type == YAML_DOCUMENT_START_EVENT)
        progress->documents++;
    if (type == YAML_SEQUENCE_START_EVENT || type == YAML_MAPPING_START_EVENT)
        progress->depth++;
    if (type == YAML_SEQUENCE_END_EVENT || type == YAML_MAPPING_END_EVENT)
        progress->depth--;
}

static enum kms_code check_event(const struct reader *reader, const yaml_event_t *event,
                                 const struct progress *progress)
{
    size_t line = event->start_mark.line + 1;
    if (!event_is_plain(event))
        return fault(reader, line, "", "anchors, aliases and tags are not supported");
    if (progress->documents > 1)
        return fault(reader, line, "", "a second document: the file must hold one");
    if (progress->depth > DEPTH_MAX)
        return fault(reader, line, "", "nested more than %d levels deep", DEPTH_MAX);
    if (event->type == YAML_STREAM_END_EVENT && progress->documents == 0)
        return fault(reader, 1, "", "the file is empty");
    return KMS_OK;
}

/* The document API resolves anchors and forgets them: the events still show them. */
static enum kms_code check_events(const struct reader *reader, struct kms_bytes text)
{
    KMS_CLEANUP(yaml_parser_delete) yaml_parser_t parser = { 0 };
    if (yaml_parser_initialize(&parser) == 0)
        return kms_fail(reader->err, KMS_E_BUSY, "%s: out of memory", reader->file);
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, text.data, text.len);
    struct progress progress = { 0 };
    for (bool done = false; !done;) {
        KMS_CLEANUP(yaml_event_delete) yaml_event_t event = { 0 };
        if (yaml_parser_parse(&parser, &event) == 0)
            return syntax_fault(reader, &parser, text);
        done = event.type == YAML_STREAM_END_EVENT;
        advance(&progress, event.type);
        enum kms_code rc = check_event(reader, &event, &progress);
        if (rc != KMS_OK)
            return rc;
    }
    return KMS_OK;
}

static enum kms_code parse(const char *file, struct kms_bytes text, struct kms_config *config,
                           struct kms_error *err)
{
    struct reader reader = { .file = file, .err = err };
    enum kms_code rc = check_events(&reader, text);
    if (rc != KMS_OK)
        return rc;
    KMS_CLEANUP(yaml_parser_delete) yaml_parser_t parser = { 0 };
    if (yaml_parser_initialize(&parser) == 0)
        return kms_fail(err, KMS_E_BUSY, "%s: out of memory", file);
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, text.data, text.len);
    KMS_CLEANUP(yaml_document_delete) yaml_document_t document = { 0 };
    if (yaml_parser_load(&parser, &document) == 0)
        return syntax_fault(&reader, &parser, text);
    reader.document = &document;
    const yaml_node_t *root = yaml_document_get_root_node(&document);
    struct place place = { .schema = "", .shown = "", .base = config, .line = line_of(root) };
    return read_mapping(&reader, root, &place);
}

static enum kms_code name_tokens(struct kms_config *config, struct kms_error *err)
{
    for (size_t i = 0; i < config->token_count; i++) {
        struct kms_config_token *token = &config->tokens[i];
        char by_place[KMS_TOKEN_NAME_MAX + 1];
        if (token->name == NULL)
            token->name = strdup(kms_schema_token_name(config->tokens, i, by_place));
        if (token->name == NULL)
            return kms_fail(err, KMS_E_BUSY, "out of memory");
    }
    return KMS_OK;
}

static void free_text(char *const *text)
{
    free(*text);
}

static enum kms_code read_file(const char *path, char *buffer, size_t cap, size_t *ret_len,
                               struct kms_error *err)
{
    KMS_CLEANUP(kms_fd_done) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "open", errno, "%s", path);
    struct stat st;
    if (fstat(fd, &st) != 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "fstat", errno, "%s", path);
    if (!S_ISREG(st.st_mode))
        return kms_fail(err, KMS_E_PRECONDITION, "%s: not a regular file", path);
    if (!kms_fd_read(fd, buffer, cap, ret_len))
        return kms_fail_errno(err, KMS_E_PRECONDITION, "read", errno, "%s", path);
    return KMS_OK;
}

enum kms_code kms_config_load(const char *path, struct kms_config *ret_config,
                              struct kms_error *err)
{
    KMS_CLEANUP(free_text) char *buffer = malloc(FILE_MAX + 1);
    if (buffer == NULL)
        return kms_fail(err, KMS_E_BUSY, "%s: out of memory", path);
    size_t len = 0;
    enum kms_code rc = read_file(path, buffer, FILE_MAX + 1, &len, err);
    if (rc != KMS_OK)
        return rc;
    if (len > FILE_MAX)
        return kms_fail(err, KMS_E_INVALID, "%s:1: larger than %d KiB", path, FILE_MAX / 1024);

    KMS_CLEANUP(kms_config_done) struct kms_config config = { 0 };
    rc = parse(path, (struct kms_bytes){ (const uint8_t *)buffer, len }, &config, err);
    if (rc == KMS_OK)
        rc = name_tokens(&config, err);
    if (rc != KMS_OK)
        return rc;
    /* Each token would choose for itself, and what one wrote all must read. */
    if (config.token_count > 1 && config.profile == KMS_PROFILE_AUTO)
        config.profile = KMS_PROFILE_AES_KW;
    kms_config_set_marks(&config);
    *ret_config = config;
    config = (struct kms_config){ 0 };
    return KMS_OK;
}

void kms_config_done(struct kms_config *config)
{
    for (size_t i = 0; i < config->token_count; i++) {
        struct kms_config_token *token = &config->tokens[i];
        free(token->name);
        free(token->module);
        free(token->uri);
        free(token->pin_file);
        free(token->user);
        for (size_t k = 0; k < token->environment_count; k++)
            free(token->environment[k]);
        free((void *)token->environment);
    }
    free(config->tokens);
    free(config->ring);
    free(config->socket.path);
    free(config->socket.group);
    free(config->socket.allow_uids);
    free(config->state_dir);
    free(config->pins);
    for (size_t i = 0; i < config->adopt_count; i++)
        free(config->adopt[i].label);
    free(config->adopt);
    free(config->audit.path);
    free(config->audit.encrypt);
    free(config->audit.cluster);
    free(config->audit.sinks);
    free(config->audit.syslog);
    for (size_t i = 0; i < config->verify.exempt_count; i++)
        free(config->verify.exempt[i]);
    free((void *)config->verify.exempt);
    *config = (struct kms_config){ 0 };
}

enum kms_code kms_config_vouched(const struct kms_config *config, struct kms_vouched *ret_vouched,
                                 struct kms_error *err)
{
    KMS_CLEANUP(kms_vouched_done)
    struct kms_vouched vouched = {
        .pins = calloc(config->pin_count + 1, sizeof(*vouched.pins)),
        .pin_count = config->pin_count,
        .adoptions = calloc(config->adopt_count + 1, sizeof(*vouched.adoptions)),
        .names = calloc(config->adopt_count + 1, sizeof(*vouched.names)),
        .adoption_count = config->adopt_count,
        .mark = config->vouched,
    };
    if (vouched.pins == NULL || vouched.adoptions == NULL || vouched.names == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    for (size_t i = 0; i < config->pin_count; i++) {
        vouched.pins[i].generation = config->pins[i].generation;
        memcpy(vouched.pins[i].fingerprint, config->pins[i].fingerprint, KMS_FINGERPRINT_LEN);
    }
    for (size_t i = 0; i < config->adopt_count; i++) {
        const struct kms_config_adoption *adopt = &config->adopt[i];
        struct kms_kek_name *name = &vouched.names[i];
        vouched.adoptions[i] = (struct kms_adoption){ adopt->generation, adopt->activation_utc_s };
        (void)snprintf(name->label, sizeof(name->label), "%s",
                       adopt->label != NULL ? adopt->label : "");
        memcpy(name->cka_id, adopt->cka_id.data, adopt->cka_id.len);
        name->cka_id_len = adopt->cka_id.len;
    }
    *ret_vouched = vouched;
    vouched = (struct kms_vouched){ 0 };
    return KMS_OK;
}

enum kms_code kms_config_set_socket_path(struct kms_config *config, const char *path,
                                         struct kms_error *err)
{
    const char *problem = kms_schema_check_socket_path(path);
    if (problem != NULL)
        return kms_fail(err, KMS_E_INVALID, "--socket: %s", problem);
    char *copy = strdup(path);
    if (copy == NULL)
        return kms_fail(err, KMS_E_BUSY, "--socket: out of memory");
    free(config->socket.path);
    config->socket.path = copy;
    return KMS_OK;
}
