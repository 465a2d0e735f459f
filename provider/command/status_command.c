/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attention.h"
#include "client.h"
#include "command.h"
#include "json.h"
#include "kek_view.h"
#include "kms/clock.h"
#include "node_view.h"
#include "plugin_choice.h"
#include "text.h"

enum { TIMEOUT_MS = 5000, MS_PER_S = 1000 };

/* Until the plugin starts anew, what was lost stays in sight. */
static void gather_audit(const Hsmkms__Node__V1__Audit *audit, struct kms_attention *attention)
{
    char text[256];
    if (audit == NULL || (audit->ok && audit->lost == 0))
        return;
    if (audit->ok)
        (void)snprintf(text, sizeof(text), "audit log: %" PRIu64 " lines are missing", audit->lost);
    else
        (void)snprintf(text, sizeof(text), "audit log: %.200s", audit->message);
    kms_attention_add(attention, "the audit log", text);
}

static void gather(const Hsmkms__Node__V1__DescribeResponse *description,
                   struct kms_attention *attention)
{
    for (size_t i = 0; i < description->n_keks; i++) {
        const Hsmkms__Node__V1__Kek *kek = description->keks[i];
        const struct kms_kek_view view = { .label = kek->label,
                                           .state = kek->state,
                                           .reason = kek->reason,
                                           .generation = kek->generation,
                                           .activation_utc_s = kek->activation };
        kms_attention_add_kek(attention, &view);
        kms_attention_add_age(attention, &view, description->max_age, description->now / MS_PER_S);
    }
    gather_audit(description->audit, attention);
    for (size_t i = 0; i < description->n_tokens; i++) {
        const Hsmkms__Node__V1__Token *token = description->tokens[i];
        char text[256];
        if (token->name[0] != '\0')
            (void)snprintf(text, sizeof(text), "token '%s': %.200s", token->name, token->problem);
        else
            (void)snprintf(text, sizeof(text), "token '%.80s' is not connected", token->label);
        bool one_is_away = token->name[0] == '\0' && token->label[0] != '\0' && !token->connected;
        if (one_is_away || token->problem[0] != '\0')
            kms_attention_add(attention, text, text);
    }
}

static void print_json(const Hsmkms__Node__V1__DescribeResponse *description)
{
    KMS_CLEANUP(kms_attention_done) struct kms_attention attention = { 0 };
    gather(description, &attention);
    json_t *object = kms_json_open("status");
    kms_node_describe_json(description, object);
    kms_json_set(object, "attention", kms_attention_json(&attention));
    kms_json_print(object);
}

static void print_field(const char *name, const char *text)
{
    (void)printf("%-10s", name);
    kms_text_put(stdout, text[0] != '\0' ? text : "-");
    (void)putchar('\n');
}

static void print_health(const Hsmkms__Node__V1__Health *health)
{
    char since[KMS_RFC3339_LEN + 1];
    kms_time_text(health->since, since, sizeof(since));
    (void)printf("%-10s%s since %s\n", "health", health->ok ? "healthy" : "UNHEALTHY", since);
    if (!health->ok)
        print_field("", health->message);
}

/* Of several: what it is to this node. */
static void use_text(const Hsmkms__Node__V1__Token *token, char *ret_text, size_t size)
{
    char until[KMS_RFC3339_LEN + 1] = "";
    if (token->drained_until != 0)
        kms_time_text(token->drained_until, until, sizeof(until));
    const char *use = token->in_use ? "in use" : "NOT IN USE";
    if (token->drained_until != 0)
        use = "drained until ";
    (void)snprintf(ret_text, size, "%s: %s%s%s%s: ", token->name, use, until,
                   token->resting ? ", resting" : "", token->required ? "" : ", not required");
}

static void print_token(const Hsmkms__Node__V1__Token *token)
{
    char text[512], use[128] = "";
    if (token->name[0] != '\0')
        use_text(token, use, sizeof(use));
    if (token->label[0] == '\0')
        (void)snprintf(text, sizeof(text), "%snot reached yet", use);
    else
        (void)snprintf(text, sizeof(text),
                       "%s%.80s (%.80s %.32s, serial %.32s, firmware %.32s, %s%s%.32s)", use,
                       token->label, token->manufacturer, token->model, token->serial,
                       token->firmware, token->connected ? "connected" : "NOT CONNECTED",
                       token->profile[0] != '\0' ? ", " : "", token->profile);
    print_field("token", text);
    if (token->problem[0] != '\0')
        print_field("", token->problem);
}

static void print_keks(const Hsmkms__Node__V1__DescribeResponse *description)
{
    static const char *const head[] = { "GEN", "STATE", "ACTIVATION", "KEY_ID", "REASON" };
    enum { COLUMNS = sizeof(head) / sizeof(head[0]) };
    KMS_CLEANUP(kms_table_close_ptr) struct kms_table *table = kms_table_open(COLUMNS);
    for (size_t i = 0; i < COLUMNS; i++)
        kms_table_add(table, head[i]);
    for (size_t i = 0; i < description->n_keks; i++) {
        const Hsmkms__Node__V1__Kek *kek = description->keks[i];
        char generation[16], activation[KMS_RFC3339_LEN + 1];
        (void)snprintf(generation, sizeof(generation), "%" PRIu32, kek->generation);
        kms_time_text(kek->activation, activation, sizeof(activation));
        kms_table_add(table, generation);
        kms_table_add(table, kek->state);
        kms_table_add(table, activation);
        kms_table_add(table, kek->key_id);
        kms_table_add(table, kek->reason);
    }
    (void)putchar('\n');
    kms_table_print(table, stdout);
}

static void print_listed(const Hsmkms__Node__V1__DescribeResponse *description)
{
    char listed[KMS_RFC3339_LEN + 1], text[96];
    if (description->listed == 0) {
        print_field("listed", "never: the token was not reached since the start");
        return;
    }
    kms_time_text(description->listed, listed, sizeof(listed));
    (void)snprintf(text, sizeof(text), "%s, %" PRId64 " s ago", listed,
                   description->now / MS_PER_S - description->listed);
    print_field("listed", text);
}

static void print_audit(const Hsmkms__Node__V1__Audit *audit)
{
    char text[512];
    if (audit == NULL) {
        print_field("audit", "no log is configured");
        return;
    }
    (void)snprintf(text, sizeof(text),
                   "%s%s%.300s, %" PRIu64 " lines since the start, %" PRIu64 " late, %" PRIu64
                   " LOST, %" PRIu64 " not copied",
                   audit->ok ? "written" : "NOT WRITTEN", audit->ok ? "" : ": ", audit->message,
                   audit->written, audit->late, audit->lost, audit->uncopied);
    print_field("audit", text);
}

static const char *mend(const Hsmkms__Node__V1__Health *health)
{
    enum kms_code code = kms_node_health_code(health);
    if (code == KMS_E_UNAVAILABLE) /* the plugin answered, so it's beyond it */
        return "see the plugin's log for what it lacks of its token; it reconnects by itself";
    return kms_command_advice(code);
}

static void print_next(const Hsmkms__Node__V1__DescribeResponse *description)
{
    KMS_CLEANUP(kms_attention_done) struct kms_attention attention = { 0 };
    gather(description, &attention);
    (void)printf("next: ");
    if (!description->health->ok) {
        (void)puts(mend(description->health));
        return;
    }
    if (attention.count == 0) {
        (void)puts("nothing to do; hsm-kms probe tries Encrypt and Decrypt");
        return;
    }
    (void)printf("it is healthy, but look at this: ");
    kms_text_put(stdout, kms_attention_line(&attention));
    (void)puts("; see hsm-kms key list");
}

static void print_text(const Hsmkms__Node__V1__DescribeResponse *description)
{
    char promoted[32] = "nothing yet";
    if (description->promoted != 0)
        (void)snprintf(promoted, sizeof(promoted), "generation %" PRIu32, description->promoted);
    print_field("node", description->node);
    print_field("version", description->version);
    print_health(description->health);
    print_field("ring", description->ring);
    print_field("promoted", promoted);
    print_field("key_id", description->key_id);
    for (size_t i = 0; i < description->n_tokens; i++)
        print_token(description->tokens[i]);
    print_listed(description);
    print_audit(description->audit);
    if (description->n_keks > 0)
        print_keks(description);
    print_next(description);
}

int kms_command_status(int argc, char **argv)
{
    struct argp argp = kms_plugin_choice_argp;
    argp.doc = "Shows what a running plugin says of itself: health, promoted KEK, token, KEKs. "
               "Exits 0 if it is healthy, 2 if not, 1 if it can't be reached.";
    struct kms_plugin_choice plugin = { .json = false };
    if (kms_command_parse(&argp, argc, argv, &plugin) != 0)
        return KMS_EXIT_ERROR;
    char *socket = NULL;
    struct kms_error err = { 0 };
    if (kms_plugin_choice_path(&plugin, &socket, &err) != KMS_OK)
        return kms_command_fail(&err);
    Hsmkms__Node__V1__DescribeResponse *description = NULL;
    enum kms_code rc = kms_client_describe_at(socket, kms_monotonic_ms() + TIMEOUT_MS, &description,
                                              &err);
    if (rc == KMS_OK && description->health == NULL)
        rc = kms_fail(&err, KMS_E_INTERNAL, "the answer lacks the health");
    int code = KMS_EXIT_ERROR;
    if (rc != KMS_OK)
        (void)kms_command_error("%s: %s; %s", socket, err.msg, kms_command_advice(rc));
    else if (plugin.json)
        print_json(description);
    else
        print_text(description);
    if (rc == KMS_OK)
        code = description->health->ok ? KMS_EXIT_OK : KMS_EXIT_FINDINGS;
    if (description != NULL)
        kms_client_free_describe(description);
    free(socket);
    return kms_command_finish(code);
}
