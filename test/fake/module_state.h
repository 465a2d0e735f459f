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

/* Of C_EncryptInit or C_DecryptInit, one a session. */
struct operation {
    bool active;
    bool encrypts;
    bool blocks; /* by CKM_AES_ECB, one at a time */
    CK_OBJECT_HANDLE key;
    bool padded;        /* by RFC 5649 */
    CK_GCM_PARAMS *gcm; /* the caller's own: NULL unless by AES-GCM */
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
    struct operation operations[SESSIONS];
};

extern struct fake_module *the; /* the one there is */

/* Puts the Cryptoki functions in. */
void fake_module_fill(CK_FUNCTION_LIST *fn);

/* Every Cryptoki function starts and ends so: counts the call, obeys the rules, holds the mutex. */
CK_RV fake_begin(const char *call);
CK_RV fake_end(CK_RV rv);

#define BEGIN(call)                                                                                \
    do {                                                                                           \
        CK_RV begin_rv = fake_begin(call);                                                         \
        if (begin_rv != CKR_OK)                                                                    \
            return fake_end(begin_rv);                                                             \
    } while (0)

#define BEGIN_IN_SESSION(call, session)                                                            \
    do {                                                                                           \
        BEGIN(call);                                                                               \
        if (!fake_is_session(session))                                                             \
            return fake_end(CKR_SESSION_HANDLE_INVALID);                                           \
    } while (0)

/* module_cipher.c. */
CK_RV fake_get_mechanism_list(CK_SLOT_ID slot, CK_MECHANISM_TYPE *list, CK_ULONG *count);
CK_RV fake_get_mechanism_info(CK_SLOT_ID slot, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO *info);
CK_RV fake_encrypt_init(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key);
CK_RV fake_encrypt(CK_SESSION_HANDLE session, unsigned char *data, CK_ULONG data_len,
                   unsigned char *out, CK_ULONG *out_len);
CK_RV fake_decrypt_init(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key);
CK_RV fake_decrypt(CK_SESSION_HANDLE session, unsigned char *data, CK_ULONG data_len,
                   unsigned char *out, CK_ULONG *out_len);

/* All with the mutex held. */
bool fake_is_session(CK_SESSION_HANDLE session);
struct object *fake_object_at(CK_OBJECT_HANDLE handle);
/* RFC 3394, or RFC 5649 if @padded. */
bool fake_key_wrap(bool padded, bool encrypt, const struct attribute *key, const uint8_t *in,
                   CK_ULONG in_len, uint8_t *out, CK_ULONG *ret_len);
void fake_drop_session(CK_SESSION_HANDLE session);
struct attribute *fake_attribute_of(struct object *object, CK_ATTRIBUTE_TYPE type);
void fake_set_attribute(struct object *object, CK_ATTRIBUTE_TYPE type, const void *data,
                        CK_ULONG len);
void fake_set_flag(struct object *object, CK_ATTRIBUTE_TYPE type, bool value);
bool fake_flag_of(struct object *object, CK_ATTRIBUTE_TYPE type);
struct object *fake_new_object(CK_SESSION_HANDLE session, size_t *ret_place);
void fake_end_search(CK_SESSION_HANDLE session);

#endif
