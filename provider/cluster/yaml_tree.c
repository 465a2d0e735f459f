/* SPDX-License-Identifier: Apache-2.0 */
#include "yaml_tree.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { DEPTH_MAX = 32 }; /* libyaml takes quadratic time in it; a Pod has 12 levels */

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
    if (type == YAML_DOCUMENT_START_EVENT && ++progress->documents > 1)
        return kms_fail(err, KMS_E_INVALID, "%s:%zu: a second document: the file must hold one",
                        file, line);
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

static enum kms_code check_events(const char *file, struct kms_bytes text, struct kms_error *err)
{
    KMS_CLEANUP(yaml_parser_delete) yaml_parser_t parser = { 0 };
    enum kms_code rc = open_parser(file, text, &parser, err);
    struct progress progress = { 0 };
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
    enum kms_code rc = check_events(file, text, err);
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
            return kms_yaml_fault(tree, key, err, "unknown field '%.60s'",
                                  text != NULL ? text : "?");
        if ((seen & 1U << at) != 0)
            return kms_yaml_fault(tree, key, err, "'%s' is given twice", text);
        seen |= 1U << at;
    }
    return KMS_OK;
}
