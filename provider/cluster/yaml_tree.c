/* SPDX-License-Identifier: Apache-2.0 */
#include "yaml_tree.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum {
    DEPTH_MAX = 32, /* libyaml takes quadratic time in it; a Pod has 12 levels */
    DOCUMENTS_MAX = 32,
    NAME_LEN_MAX = 20, /* of a field; a key in base64 that slipped into its place is longer */
};

enum kms_code(kms_yaml_fault)(const struct kms_yaml_tree *tree, const yaml_node_t *node,
                              struct kms_error *err, const char *fmt, ...)
{
    char text[KMS_ERROR_MSG_MAX];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return kms_fail(err, KMS_E_INVALID, "%s:%zu: %s", tree->file, node->start_mark.line + 1, text);
}

static enum kms_code syntax_fault(const char *file, const yaml_parser_t *parser,
                                  struct kms_error *err)
{
    if (parser->error == YAML_MEMORY_ERROR)
        return kms_fail(err, KMS_E_BUSY, "%s: out of memory", file);
    return kms_fail(err, KMS_E_INVALID, "%s:%zu: not YAML: %s", file, parser->problem_mark.line + 1,
                    parser->problem != NULL ? parser->problem : "no reason given");
}

struct progress {
    size_t documents_max;
    size_t documents;
    size_t depth;
    bool ended;
};

static enum kms_code advance(const char *file, const yaml_event_t *event, struct progress *progress,
                             struct kms_error *err)
{
    yaml_event_type_t type = event->type;
    size_t line = event->start_mark.line + 1;
    progress->ended = type == YAML_STREAM_END_EVENT;
    if (type == YAML_SEQUENCE_END_EVENT || type == YAML_MAPPING_END_EVENT)
        progress->depth--;
    if ((type == YAML_SEQUENCE_START_EVENT || type == YAML_MAPPING_START_EVENT) &&
        ++progress->depth > DEPTH_MAX)
        return kms_fail(err, KMS_E_INVALID, "%s:%zu: nested more than %d levels deep", file, line,
                        DEPTH_MAX);
    if (type == YAML_DOCUMENT_START_EVENT && ++progress->documents > progress->documents_max)
        return kms_fail(err, KMS_E_INVALID, "%s:%zu: %s", file, line,
                        progress->documents_max == 1 ? "a second document: the file must hold one"
                                                     : "too many documents");
    if (progress->ended && progress->documents == 0)
        return kms_fail(err, KMS_E_INVALID, "%s: the file is empty", file);
    return KMS_OK;
}

static enum kms_code open_parser(const char *file, struct kms_bytes text, yaml_parser_t *parser,
                                 struct kms_error *err)
{
    if (yaml_parser_initialize(parser) == 0)
        return kms_fail(err, KMS_E_BUSY, "%s: out of memory", file);
    yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(parser, text.data, text.len);
    return KMS_OK;
}

static enum kms_code check_events(const char *file, struct kms_bytes text, size_t documents_max,
                                  struct kms_error *err)
{
    KMS_CLEANUP(yaml_parser_delete) yaml_parser_t parser = { 0 };
    enum kms_code rc = open_parser(file, text, &parser, err);
    struct progress progress = { .documents_max = documents_max };
    while (rc == KMS_OK && !progress.ended) {
        KMS_CLEANUP(yaml_event_delete) yaml_event_t event = { 0 };
        if (yaml_parser_parse(&parser, &event) == 0)
            return syntax_fault(file, &parser, err);
        rc = advance(file, &event, &progress, err);
    }
    return rc;
}

enum kms_code kms_yaml_load(const char *file, struct kms_bytes text, struct kms_yaml_tree *ret_tree,
                            struct kms_error *err)
{
    enum kms_code rc = check_events(file, text, 1, err);
    if (rc != KMS_OK)
        return rc;
    KMS_CLEANUP(yaml_parser_delete) yaml_parser_t parser = { 0 };
    rc = open_parser(file, text, &parser, err);
    if (rc != KMS_OK)
        return rc;
    yaml_document_t document;
    if (yaml_parser_load(&parser, &document) == 0) /* an alias without its anchor */
        return syntax_fault(file, &parser, err);
    *ret_tree = (struct kms_yaml_tree){ .file = file, .document = document };
    return KMS_OK;
}

static bool is_kind(struct kms_yaml_tree *tree, const char *const *kinds)
{
    const char *kind = kms_yaml_text(kms_yaml_get(tree, kms_yaml_root(tree), "kind"));
    size_t i = 0;
    while (kind != NULL && kinds[i] != NULL && strcmp(kinds[i], kind) != 0)
        i++;
    return kind != NULL && kinds[i] != NULL;
}

/* *ret_tree stays without a root at the end of the stream. */
static enum kms_code load_next(yaml_parser_t *parser, const char *file,
                               struct kms_yaml_tree *ret_tree, struct kms_error *err)
{
    ret_tree->file = file;
    return yaml_parser_load(parser, &ret_tree->document) != 0 ? KMS_OK
                                                              : syntax_fault(file, parser, err);
}

enum kms_code kms_yaml_load_kind(const char *file, struct kms_bytes text, const char *const *kinds,
                                 struct kms_yaml_tree *ret_tree, struct kms_error *err)
{
    KMS_CLEANUP(yaml_parser_delete) yaml_parser_t parser = { 0 };
    KMS_CLEANUP(kms_yaml_done) struct kms_yaml_tree found = { 0 };
    enum kms_code rc = check_events(file, text, DOCUMENTS_MAX, err);
    if (rc == KMS_OK)
        rc = open_parser(file, text, &parser, err);
    for (bool more = true; rc == KMS_OK && more;) {
        KMS_CLEANUP(kms_yaml_done) struct kms_yaml_tree next = { 0 };
        rc = load_next(&parser, file, &next, err);
        more = rc == KMS_OK && kms_yaml_root(&next) != NULL;
        if (!more || !is_kind(&next, kinds))
            continue;
        if (kms_yaml_root(&found) != NULL)
            return kms_yaml_fault(&next, kms_yaml_root(&next), err, "a second %s", kinds[0]);
        found = next;
        next = (struct kms_yaml_tree){ 0 };
    }
    if (rc != KMS_OK)
        return rc;
    if (kms_yaml_root(&found) == NULL)
        return kms_fail(err, KMS_E_INVALID, "%s: no document of kind %s", file, kinds[0]);
    *ret_tree = found;
    found = (struct kms_yaml_tree){ 0 };
    return KMS_OK;
}

void kms_yaml_done(struct kms_yaml_tree *tree)
{
    yaml_document_delete(&tree->document);
    *tree = (struct kms_yaml_tree){ 0 };
}

const yaml_node_t *kms_yaml_root(struct kms_yaml_tree *tree)
{
    return yaml_document_get_root_node(&tree->document);
}

const char *kms_yaml_text(const yaml_node_t *node)
{
    if (node == NULL || node->type != YAML_SCALAR_NODE)
        return NULL;
    const char *text = (const char *)node->data.scalar.value;
    return strlen(text) == node->data.scalar.length ? text : NULL;
}

bool kms_yaml_is_null(const yaml_node_t *node)
{
    const char *text = kms_yaml_text(node);
    if (node == NULL)
        return true;
    return text != NULL && node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (text[0] == '\0' || strcmp(text, "~") == 0 || strcasecmp(text, "null") == 0);
}

const yaml_node_t *kms_yaml_get(struct kms_yaml_tree *tree, const yaml_node_t *map, const char *key)
{
    if (map == NULL || map->type != YAML_MAPPING_NODE)
        return NULL;
    for (const yaml_node_pair_t *pair = map->data.mapping.pairs.start;
         pair < map->data.mapping.pairs.top; pair++) {
        const char *text = kms_yaml_text(yaml_document_get_node(&tree->document, pair->key));
        if (text != NULL && strcmp(text, key) == 0)
            return yaml_document_get_node(&tree->document, pair->value);
    }
    return NULL;
}

bool kms_yaml_pair(struct kms_yaml_tree *tree, const yaml_node_t *map, size_t i,
                   const yaml_node_t **ret_key, const yaml_node_t **ret_value)
{
    if (map == NULL || map->type != YAML_MAPPING_NODE ||
        i >= (size_t)(map->data.mapping.pairs.top - map->data.mapping.pairs.start))
        return false;
    const yaml_node_pair_t *pair = &map->data.mapping.pairs.start[i];
    *ret_key = yaml_document_get_node(&tree->document, pair->key);
    *ret_value = yaml_document_get_node(&tree->document, pair->value);
    return true;
}

size_t kms_yaml_count(const yaml_node_t *list)
{
    if (list == NULL || list->type != YAML_SEQUENCE_NODE)
        return 0;
    return (size_t)(list->data.sequence.items.top - list->data.sequence.items.start);
}

const yaml_node_t *kms_yaml_item(struct kms_yaml_tree *tree, const yaml_node_t *list, size_t i)
{
    if (i >= kms_yaml_count(list))
        return NULL;
    return yaml_document_get_node(&tree->document, list->data.sequence.items.start[i]);
}

static size_t find(const char *const *known, const char *key)
{
    size_t i = 0;
    while (known[i] != NULL && strcmp(known[i], key) != 0)
        i++;
    return i;
}

enum kms_code kms_yaml_check_keys(struct kms_yaml_tree *tree, const yaml_node_t *node,
                                  const char *const *known, struct kms_error *err)
{
    unsigned seen = 0; /* bit i: known[i] */
    if (node->type != YAML_MAPPING_NODE)
        return kms_yaml_fault(tree, node, err, "expected a mapping");
    for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         pair < node->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key = yaml_document_get_node(&tree->document, pair->key);
        const char *text = kms_yaml_text(key);
        size_t at = text != NULL ? find(known, text) : 0;
        if (text == NULL || known[at] == NULL)
            return kms_yaml_fault(tree, key, err, "unknown field '%s'",
                                  text != NULL && strlen(text) <= NAME_LEN_MAX ? text : "…");
        if ((seen & 1U << at) != 0)
            return kms_yaml_fault(tree, key, err, "'%s' is given twice", text);
        seen |= 1U << at;
    }
    return KMS_OK;
}
