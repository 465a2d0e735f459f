/* SPDX-License-Identifier: Apache-2.0 */
/* The control file: read again whenever it is another one.  README.md has the grammar.  All but
 * misbehave_control_parse() is called with misbehave_lock() held. */
#ifndef MISBEHAVE_CONTROL_H
#define MISBEHAVE_CONTROL_H

#include <stdbool.h>
#include <stddef.h>

#include <p11-kit/pkcs11.h>

#include "table.h"

enum { MISBEHAVE_PATH = 256, MISBEHAVE_LINE = 256, MISBEHAVE_RULES = 64 };

enum misbehave_personality {
    MISBEHAVE_PLAIN,
    MISBEHAVE_STRICT_FIPS,
    MISBEHAVE_LUNA,
    MISBEHAVE_LUNA_CU,
    MISBEHAVE_CLOUDHSM,
    MISBEHAVE_NETWORK,
};

enum misbehave_action {
    MISBEHAVE_FAIL,
    MISBEHAVE_FAIL_AFTER,
    MISBEHAVE_DELAY,
    MISBEHAVE_HANG,
    MISBEHAVE_CRASH,
    MISBEHAVE_DEAD_UNTIL_FINALIZE,
    MISBEHAVE_DEAD_UNTIL_EXIT,
};

/* What holds until the file says otherwise; each call keeps a copy of its own. */
struct misbehave_manner {
    enum misbehave_personality personality;
    unsigned latency_ms;
    unsigned long session_cap; /* 0: none */
    CK_RV session_cap_rv;
    unsigned long busy_cap; /* 0: none */
    CK_RV busy_rv;
    unsigned long pin_limit; /* 0: wrong PINs are not counted */
    bool absent;
    bool renumber;
    char pin_state[MISBEHAVE_PATH];
    char log[MISBEHAVE_PATH];
    char manufacturer[33]; /* "": the module's own */
};

struct misbehave_rule {
    char text[MISBEHAVE_LINE]; /* the rule's identity: it keeps its count while the line stands */
    int function;              /* enum misbehave_function, or -1: all */
    enum misbehave_action action;
    CK_RV rv;
    unsigned ms;
    unsigned long nth;   /* the first call that it strikes */
    unsigned long count; /* how many from there; 0: all */
    unsigned long seen;  /* calls of @function while the line stood */
};

struct misbehave_config {
    struct misbehave_manner manner;
    char module[MISBEHAVE_PATH];
    char stats[MISBEHAVE_PATH];
    struct misbehave_rule rules[MISBEHAVE_RULES];
    size_t rule_count;
};

/* Fills *ret, or says on which line @text is wrong and why. @text is changed. */
bool misbehave_control_parse(char *text, struct misbehave_config *ret, char *why, size_t why_size);

/* What the file says now.  A file that can't be understood aborts: a test must not go on with half
 * of its faults.  No file, no faults. */
struct misbehave_config *misbehave_control_now(void);

/* The rule of that text, if it still stands. */
const struct misbehave_rule *misbehave_control_find(const char *text);

#endif
