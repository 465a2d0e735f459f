/* SPDX-License-Identifier: Apache-2.0 */
#include "attention.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "json.h"
#include "kms/clock.h"

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

void kms_attention_add_age(struct kms_attention *attention, const struct kms_kek_view *view,
                           int64_t max_age_ms, int64_t now_utc_s)
{
    enum { DAY_S = 86400, MS_PER_S = 1000 };
    char name[64], text[KMS_ATTENTION_TEXT_MAX], allowed[KMS_DURATION_LEN + 1];
    int64_t age_s = now_utc_s - view->activation_utc_s;
    bool active = strcmp(view->state, kms_kek_state_name(KMS_KEK_ACTIVE)) == 0;
    if (!active || max_age_ms <= 0 || age_s <= max_age_ms / MS_PER_S)
        return;
    kms_duration_format(max_age_ms, allowed);
    (void)snprintf(name, sizeof(name), "generation %" PRIu32 " (old)", view->generation);
    (void)snprintf(text, sizeof(text),
                   "generation %" PRIu32 " has been active for %" PRId64
                   " days, and policy.max_age is %s: hsm-kms key rotate",
                   view->generation, age_s / DAY_S, allowed);
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
