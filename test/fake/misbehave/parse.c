/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control.h"
#include "kms/compiler.h"
#include "rv.h"

enum {
    NETWORK_MS = 2,
    CLOUDHSM_SESSIONS = 1024,
    CLOUDHSM_BUSY = 16,
};

static const char blanks[] = " \t\r";

/* The line that is being read. */
struct line {
    struct misbehave_config *config;
    char *rest;
    char *why;
    size_t why_size;
};

static bool refuse(struct line *line, const char *fmt, ...) KMS_PRINTF(2, 3);
static bool refuse(struct line *line, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(line->why, line->why_size, fmt, args);
    va_end(args);
    return false;
}

/* NULL at the end of the line. */
static char *next_word(struct line *line)
{
    return strtok_r(NULL, blanks, &line->rest);
}

static bool parse_number(struct line *line, const char *word, unsigned long *ret_number)
{
    char *end = NULL;
    errno = 0;
    unsigned long number = word == NULL ? 0 : strtoul(word, &end, 10);
    if (word == NULL || errno != 0 || *end != '\0' || word[0] == '-')
        return refuse(line, "'%s' is no number", word == NULL ? "" : word);
    *ret_number = number;
    return true;
}

static bool parse_rv(struct line *line, const char *word, CK_RV *ret_rv)
{
    if (word == NULL || !misbehave_rv_parse(word, ret_rv))
        return refuse(line, "'%s' is no CK_RV", word == NULL ? "" : word);
    return true;
}

static bool parse_path(struct line *line, char ret_path[static MISBEHAVE_PATH])
{
    const char *word = next_word(line);
    if (word == NULL || word[0] != '/' || strlen(word) >= MISBEHAVE_PATH)
        return refuse(line, "'%s' is no absolute path", word == NULL ? "" : word);
    (void)snprintf(ret_path, MISBEHAVE_PATH, "%s", word);
    return true;
}

/* N [RV] */
static bool parse_cap(struct line *line, unsigned long *ret_cap, CK_RV *ret_rv)
{
    if (!parse_number(line, next_word(line), ret_cap))
        return false;
    const char *word = next_word(line);
    return word == NULL || parse_rv(line, word, ret_rv);
}

/* --- directives --- */

static bool take_module(struct line *line)
{
    return parse_path(line, line->config->module);
}

static bool take_log(struct line *line)
{
    return parse_path(line, line->config->manner.log);
}

static bool take_stats(struct line *line)
{
    return parse_path(line, line->config->stats);
}

static bool take_personality(struct line *line)
{
    static const char *const names[] = {
        [MISBEHAVE_PLAIN] = "plain",       [MISBEHAVE_STRICT_FIPS] = "strict-fips",
        [MISBEHAVE_LUNA] = "luna",         [MISBEHAVE_LUNA_CU] = "luna-cu",
        [MISBEHAVE_CLOUDHSM] = "cloudhsm", [MISBEHAVE_NETWORK] = "network",
    };
    const char *word = next_word(line);
    for (size_t i = 0; word != NULL && i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(names[i], word) != 0)
            continue;
        line->config->manner.personality = (enum misbehave_personality)i;
        return true;
    }
    return refuse(line, "there is no personality '%s'", word == NULL ? "" : word);
}

static bool take_latency(struct line *line)
{
    unsigned long ms = 0;
    if (!parse_number(line, next_word(line), &ms))
        return false;
    line->config->manner.latency_ms = (unsigned)ms;
    return true;
}

static bool take_manufacturer(struct line *line)
{
    char *to = line->config->manner.manufacturer;
    size_t size = sizeof(line->config->manner.manufacturer);
    for (const char *word = next_word(line); word != NULL; word = next_word(line)) {
        size_t len = strlen(to);
        if (len + strlen(word) + 2 > size)
            return refuse(line, "a manufacturer has at most 32 characters");
        (void)snprintf(to + len, size - len, "%s%s", len > 0 ? " " : "", word);
    }
    return to[0] != '\0' || refuse(line, "whose name?");
}

static bool take_sessions(struct line *line)
{
    return parse_cap(line, &line->config->manner.session_cap, &line->config->manner.session_cap_rv);
}

static bool take_busy(struct line *line)
{
    return parse_cap(line, &line->config->manner.busy_cap, &line->config->manner.busy_rv);
}

static bool take_pin_limit(struct line *line)
{
    return parse_number(line, next_word(line), &line->config->manner.pin_limit) &&
           parse_path(line, line->config->manner.pin_state);
}

static bool take_absent(struct line *line)
{
    line->config->manner.absent = true;
    return true;
}

static bool take_renumber(struct line *line)
{
    line->config->manner.renumber = true;
    return true;
}

static const struct directive {
    const char *name;
    bool (*take)(struct line *line);
} directives[] = {
    { "module", take_module },       { "log", take_log },
    { "stats", take_stats },         { "personality", take_personality },
    { "latency", take_latency },     { "manufacturer", take_manufacturer },
    { "sessions", take_sessions },   { "busy", take_busy },
    { "pin-limit", take_pin_limit }, { "absent", take_absent },
    { "renumber", take_renumber },
};

/* --- rules --- */

enum argument { NOTHING, RV, MILLISECONDS };

static const struct action {
    const char *name;
    enum misbehave_action action;
    enum argument argument;
} actions[] = {
    { "fail", MISBEHAVE_FAIL, RV },
    { "fail-after", MISBEHAVE_FAIL_AFTER, RV },
    { "delay", MISBEHAVE_DELAY, MILLISECONDS },
    { "hang", MISBEHAVE_HANG, NOTHING },
    { "crash", MISBEHAVE_CRASH, NOTHING },
    { "dead-until-finalize", MISBEHAVE_DEAD_UNTIL_FINALIZE, RV },
    { "dead-until-exit", MISBEHAVE_DEAD_UNTIL_EXIT, RV },
};

static bool parse_function(struct line *line, const char *word, int *ret_function)
{
    if (strcmp(word, "*") == 0) {
        *ret_function = -1;
        return true;
    }
    for (int i = 0; i < MISBEHAVE_COUNT; i++) {
        if (strcmp(misbehave_names[i], word) != 0)
            continue;
        *ret_function = i;
        return true;
    }
    return refuse(line, "there is no function '%s'", word);
}

static bool parse_action(struct line *line, struct misbehave_rule *rule)
{
    const char *word = next_word(line);
    for (size_t i = 0; word != NULL && i < sizeof(actions) / sizeof(actions[0]); i++) {
        if (strcmp(actions[i].name, word) != 0)
            continue;
        rule->action = actions[i].action;
        unsigned long ms = 0;
        bool good = true;
        if (actions[i].argument == RV)
            good = parse_rv(line, next_word(line), &rule->rv);
        if (actions[i].argument == MILLISECONDS)
            good = parse_number(line, next_word(line), &ms);
        rule->ms = (unsigned)ms;
        return good;
    }
    return refuse(line, "there is no action '%s'", word == NULL ? "" : word);
}

/* [nth N] [count N] [always] [tag WORD] */
static bool parse_when(struct line *line, struct misbehave_rule *rule)
{
    for (const char *word = next_word(line); word != NULL; word = next_word(line)) {
        bool good = true;
        if (strcmp(word, "nth") == 0)
            good = parse_number(line, next_word(line), &rule->nth);
        else if (strcmp(word, "count") == 0)
            good = parse_number(line, next_word(line), &rule->count);
        else if (strcmp(word, "always") == 0)
            rule->count = 0;
        else if (strcmp(word, "tag") == 0)
            good = next_word(line) != NULL || refuse(line, "which tag?");
        else
            good = refuse(line, "'%s' says nothing here", word);
        if (!good)
            return false;
    }
    return rule->nth > 0 || refuse(line, "calls are counted from 1");
}

static bool take_rule(struct line *line, const char *text, const char *function)
{
    struct misbehave_config *config = line->config;
    struct misbehave_rule rule = { .nth = 1, .count = 1 };
    if (config->rule_count == MISBEHAVE_RULES)
        return refuse(line, "more than %d rules", MISBEHAVE_RULES);
    size_t len = strlen(text);
    if (len >= sizeof(rule.text))
        return refuse(line, "more than %zu characters", sizeof(rule.text) - 1);
    memcpy(rule.text, text, len);
    if (!parse_function(line, function, &rule.function) || !parse_action(line, &rule) ||
        !parse_when(line, &rule))
        return false;
    for (size_t i = 0; i < config->rule_count; i++) {
        if (strcmp(config->rules[i].text, rule.text) == 0)
            return refuse(line, "this rule stands twice: give one of them a tag");
    }
    config->rules[config->rule_count++] = rule;
    return true;
}

/* --- the file --- */

static bool take_line(struct line *line, char *text)
{
    char whole[4 * MISBEHAVE_LINE];
    text[strcspn(text, "#")] = '\0';
    (void)snprintf(whole, sizeof(whole), "%s", text);
    const char *first = strtok_r(text, blanks, &line->rest);
    if (first == NULL)
        return true;
    if (first[0] == '*' || strncmp(first, "C_", 2) == 0)
        return take_rule(line, whole, first);
    for (size_t i = 0; i < sizeof(directives) / sizeof(directives[0]); i++) {
        if (strcmp(directives[i].name, first) != 0)
            continue;
        if (!directives[i].take(line))
            return false;
        const char *more = next_word(line);
        return more == NULL || refuse(line, "'%s' says nothing here", more);
    }
    return refuse(line, "there is no directive '%s'", first);
}

static void set_default(unsigned long *cap, unsigned long value)
{
    if (*cap == 0)
        *cap = value;
}

static void fill_in(struct misbehave_manner *manner)
{
    bool cloudhsm = manner->personality == MISBEHAVE_CLOUDHSM;
    if (cloudhsm) {
        set_default(&manner->session_cap, CLOUDHSM_SESSIONS);
        set_default(&manner->busy_cap, CLOUDHSM_BUSY);
    }
    if (manner->personality == MISBEHAVE_NETWORK && manner->latency_ms == 0)
        manner->latency_ms = NETWORK_MS;
    if (manner->session_cap_rv == CKR_OK)
        manner->session_cap_rv = cloudhsm ? CKR_ARGUMENTS_BAD : CKR_SESSION_COUNT;
    if (manner->busy_rv == CKR_OK)
        manner->busy_rv = CKR_FUNCTION_FAILED;
}

bool misbehave_control_parse(char *text, struct misbehave_config *ret, char *why, size_t why_size)
{
    unsigned number = 0;
    char reason[MISBEHAVE_LINE] = "";
    struct line line = { .config = ret, .why = reason, .why_size = sizeof(reason) };
    memset(ret, 0, sizeof(*ret));
    for (char *next = NULL; text != NULL; text = next) {
        next = strchr(text, '\n');
        if (next != NULL)
            *next++ = '\0';
        number++;
        if (take_line(&line, text))
            continue;
        (void)snprintf(why, why_size, "line %u: %s", number, reason);
        return false;
    }
    fill_in(&ret->manner);
    return true;
}
