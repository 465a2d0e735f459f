/* SPDX-License-Identifier: Apache-2.0 */
/* What the halves of the fake module share: module.c is what Cryptoki sees, module_control.c what
 * the tests see. */
#ifndef FAKE_MODULE_STATE_H
#define FAKE_MODULE_STATE_H

#include <pthread.h>

#include "module.h"

enum {
    OBJECTS = 512,
    ATTRIBUTES = 28,
    VALUE_MAX = 300,
    SESSIONS = 256,
    RULES = 16,
    NAMES = 64,
    FIRST_SLOT = 7,
    HANDLE_STEP = 1000,
};

struct attribute {
    CK_ATTRIBUTE_TYPE type;
    CK_ULONG len;
    uint8_t data[VALUE_MAX];
};

struct object {
    bool used;
    CK_SESSION_HANDLE session; /* 0: on the token */
    struct attribute attributes[ATTRIBUTES];
    size_t count;
};

/* Of C_FindObjectsInit, one a session (PKCS#11 v2.40 section 5.7); the template is copied. */
struct search {
    CK_ATTRIBUTE *template;
    CK_ULONG count;
    size_t at;
};

struct rule {
    const char *call;
    CK_RV rv;
    unsigned skip;
    bool always;
};

struct fake_module {
    CK_FUNCTION_LIST fn;
    struct fake_behaviour behaviour;
    pthread_mutex_t mutex; /* guards everything */
    pthread_cond_t changed;
    bool initialized;
    bool logged_in;
    bool sessions[SESSIONS];
    CK_ULONG handle_base;
    struct object objects[OBJECTS];
    struct rule rules[RULES];
    struct {
        const char *call;
        unsigned count;
    } calls[NAMES];
    const char *hold;
    bool held;
    struct search searches[SESSIONS];
};

extern struct fake_module *the; /* the one there is */

/* Puts the Cryptoki functions in. */
void fake_module_fill(CK_FUNCTION_LIST *fn);

/* All with the mutex held. */
void fake_drop_session(CK_SESSION_HANDLE session);
struct attribute *fake_attribute_of(struct object *object, CK_ATTRIBUTE_TYPE type);
void fake_set_attribute(struct object *object, CK_ATTRIBUTE_TYPE type, const void *data,
                        CK_ULONG len);
void fake_set_flag(struct object *object, CK_ATTRIBUTE_TYPE type, bool value);
bool fake_flag_of(struct object *object, CK_ATTRIBUTE_TYPE type);
struct object *fake_new_object(CK_SESSION_HANDLE session, size_t *ret_place);
void fake_end_search(CK_SESSION_HANDLE session);

#endif
