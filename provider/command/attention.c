/* SPDX-License-Identifier: Apache-2.0 */
#include "attention.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "json.h"

enum { NAMED_MAX = 5 };

static void add_name(struct kms_attention *attention, const char *name)
{
    size_t len = strlen(attention->names), left = sizeof(attention->names) - len;
    if (attention->count < NAMED_MAX)
        (void)snprintf(attention->names + len, left, "%s%s", len > 0 ? ", " : "", name);
    else if (attention->count == NAMED_MAX)
        (void)snprintf(attention->names + len, left, " and more");
}

void kms_attention_add(struct kms_attention *attention, const char *name, const char *text)
{
    if (attention->texts == NULL)
        attention->texts = kms_must_alloc(json_array());
    kms_json_append(attention->texts, kms_json_text(text));
    add_name(attention, name);
    if (attention->count == 0)
        (void)snprintf(attention->first, sizeof(attention->first), "%s", text);
    attention->count++;
}

static bool wants_it(const struct kms_kek_view *view)
{
    return strcmp(view->state, kms_kek_state_name(KMS_KEK_REFUSED)) == 0 ||
           strcmp(view->state, kms_kek_state_name(KMS_KEK_MISSING)) == 0;
}

void kms_attention_add_kek(struct kms_attention *attention, const struct kms_kek_view *view)
{
    enum { NAME_MAX_LEN = 80, WHY_MAX = 240 };
    char kek[NAME_MAX_LEN], name[NAME_MAX_LEN + 16], text[KMS_ATTENTION_TEXT_MAX];
    if (!wants_it(view))
        return;
    if (view->generation != 0)
        (void)snprintf(kek, sizeof(kek), "generation %" PRIu32, view->generation);
    else
        (void)snprintf(kek, sizeof(kek), "'%.70s'", view->label);
    (void)snprintf(name, sizeof(name), "%s (%.12s)", kek, view->state);
    (void)snprintf(text, sizeof(text), "%s is %.12s%s%.*s", kek, view->state,
                   view->reason[0] != '\0' ? ": " : "", WHY_MAX, view->reason);
    kms_attention_add(attention, name, text);
}

const char *kms_attention_line(const struct kms_attention *attention)
{
    return attention->count == 1 ? attention->first : attention->names;
}

json_t *kms_attention_json(const struct kms_attention *attention)
{
    return attention->texts != NULL ? json_incref(attention->texts) : json_array();
}

void kms_attention_done(struct kms_attention *attention)
{
    json_decref(attention->texts);
    *attention = (struct kms_attention){ 0 };
}
