/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "module.h"
#include "module_state.h"

struct fake_module *the;

/* --- objects --- */

void fake_drop_session(CK_SESSION_HANDLE session)
{
    the->sessions[session] = false;
    fake_end_search(session);
    the->operations[session] = (struct operation){ 0 };
    for (size_t i = 0; i < OBJECTS; i++) {
        if (the->objects[i].used && the->objects[i].session == session)
            the->objects[i].used = false;
    }
}

struct attribute *fake_attribute_of(struct object *object, CK_ATTRIBUTE_TYPE type)
{
    for (size_t i = 0; i < object->count; i++) {
        if (object->attributes[i].type == type)
            return &object->attributes[i];
    }
    return NULL;
}

void fake_set_attribute(struct object *object, CK_ATTRIBUTE_TYPE type, const void *data,
                        CK_ULONG len)
{
    struct attribute *attribute = fake_attribute_of(object, type);
    if (attribute == NULL) {
        assert(object->count < ATTRIBUTES);
        attribute = &object->attributes[object->count++];
    }
    assert(len <= VALUE_MAX);
    attribute->type = type;
    attribute->len = len;
    if (len > 0)
        memcpy(attribute->data, data, len);
}

void fake_set_flag(struct object *object, CK_ATTRIBUTE_TYPE type, bool value)
{
    CK_BBOOL byte = value;
    fake_set_attribute(object, type, &byte, sizeof(byte));
}

bool fake_flag_of(struct object *object, CK_ATTRIBUTE_TYPE type)
{
    const struct attribute *attribute = fake_attribute_of(object, type);
    return attribute != NULL && attribute->data[0] != 0;
}

struct object *fake_new_object(CK_SESSION_HANDLE session, size_t *ret_place)
{
    for (size_t i = 0; i < OBJECTS; i++) {
        if (the->objects[i].used)
            continue;
        memset(&the->objects[i], 0, sizeof(the->objects[i]));
        the->objects[i].used = true;
        the->objects[i].session = session;
        *ret_place = i;
        return &the->objects[i];
    }
    assert(false && "more objects than OBJECTS");
    return NULL;
}

void fake_end_search(CK_SESSION_HANDLE session)
{
    struct search *search = &the->searches[session];
    for (CK_ULONG i = 0; i < search->count; i++)
        free(search->template[i].pValue);
    free(search->template);
    *search = (struct search){ 0 };
}

/* --- for the tests --- */

struct fake_module *fake_module_new(void)
{
    assert(the == NULL);
    the = calloc(1, sizeof(*the));
    assert(the != NULL);
    pthread_mutex_init(&the->mutex, NULL);
    pthread_cond_init(&the->changed, NULL);
    the->behaviour = (struct fake_behaviour){
        .pin = FAKE_PIN,
        .user = CKU_USER,
        .manufacturer = "hsm-kms tests",
        .firmware = 3,
        .library = 7,
        .tokens = 1,
        .tamper_rv = CKR_GENERAL_ERROR,
        .value_len_rv = CKR_ATTRIBUTE_READ_ONLY,
        .key_wrap = CKM_AES_KEY_WRAP,
        .gcm = CKM_AES_GCM,
    };
    fake_module_fill(&the->fn);
    return the;
}

void fake_module_free(struct fake_module *m)
{
    if (m == NULL)
        return;
    assert(m == the);
    for (CK_SESSION_HANDLE session = 0; session < SESSIONS; session++)
        fake_end_search(session);
    pthread_cond_destroy(&m->changed);
    pthread_mutex_destroy(&m->mutex);
    free(m);
    the = NULL;
}

CK_FUNCTION_LIST *fake_module_functions(struct fake_module *m)
{
    return &m->fn;
}

struct fake_behaviour *fake_module_behaviour(struct fake_module *m)
{
    return &m->behaviour;
}

static void add_rule(struct fake_module *m, const struct rule *rule)
{
    for (size_t i = 0; i < RULES; i++) {
        if (m->rules[i].call != NULL)
            continue;
        m->rules[i] = *rule;
        return;
    }
    assert(false && "more rules than RULES");
}

void fake_module_fail_after(struct fake_module *m, const char *call, unsigned skip, CK_RV rv)
{
    pthread_mutex_lock(&m->mutex);
    add_rule(m, &(struct rule){ .call = call, .rv = rv, .skip = skip });
    pthread_mutex_unlock(&m->mutex);
}

void fake_module_fail_next(struct fake_module *m, const char *call, CK_RV rv)
{
    fake_module_fail_after(m, call, 0, rv);
}

void fake_module_fail_always(struct fake_module *m, const char *call, CK_RV rv)
{
    pthread_mutex_lock(&m->mutex);
    for (size_t i = 0; i < RULES; i++) {
        if (m->rules[i].call != NULL && strcmp(m->rules[i].call, call) == 0)
            m->rules[i].call = NULL;
    }
    if (rv != CKR_OK)
        add_rule(m, &(struct rule){ .call = call, .rv = rv, .always = true });
    pthread_mutex_unlock(&m->mutex);
}

unsigned fake_module_calls(struct fake_module *m, const char *call)
{
    unsigned count = 0;
    pthread_mutex_lock(&m->mutex);
    for (size_t i = 0; i < NAMES && m->calls[i].call != NULL; i++)
        count += strcmp(m->calls[i].call, call) == 0 ? m->calls[i].count : 0;
    pthread_mutex_unlock(&m->mutex);
    return count;
}

unsigned fake_module_all_calls(struct fake_module *m)
{
    unsigned count = 0;
    pthread_mutex_lock(&m->mutex);
    for (size_t i = 0; i < NAMES && m->calls[i].call != NULL; i++)
        count += m->calls[i].count;
    pthread_mutex_unlock(&m->mutex);
    return count;
}

unsigned fake_module_sessions(struct fake_module *m)
{
    unsigned count = 0;
    pthread_mutex_lock(&m->mutex);
    for (size_t i = 0; i < SESSIONS; i++)
        count += m->sessions[i];
    pthread_mutex_unlock(&m->mutex);
    return count;
}

unsigned fake_module_session_objects(struct fake_module *m)
{
    unsigned count = 0;
    pthread_mutex_lock(&m->mutex);
    for (size_t i = 0; i < OBJECTS; i++)
        count += m->objects[i].used && m->objects[i].session != 0;
    pthread_mutex_unlock(&m->mutex);
    return count;
}

bool fake_module_is_initialized(struct fake_module *m)
{
    return m->initialized;
}

size_t fake_module_add_kek(struct fake_module *m, const char *label, const uint8_t key[static 32])
{
    static const CK_ATTRIBUTE_TYPE set[] = {
        CKA_TOKEN,  CKA_PRIVATE, CKA_SENSITIVE,        CKA_WRAP,
        CKA_UNWRAP, CKA_LOCAL,   CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE
    };
    static const CK_ATTRIBUTE_TYPE unset[] = { CKA_EXTRACTABLE, CKA_ENCRYPT, CKA_DECRYPT };
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_KEY_TYPE type = CKK_AES;
    CK_ULONG len = 32;
    size_t place = 0;
    pthread_mutex_lock(&m->mutex);
    struct object *object = fake_new_object(0, &place);
    fake_set_attribute(object, CKA_CLASS, &class, sizeof(class));
    fake_set_attribute(object, CKA_KEY_TYPE, &type, sizeof(type));
    fake_set_attribute(object, CKA_VALUE_LEN, &len, sizeof(len));
    fake_set_attribute(object, CKA_VALUE, key, 32);
    fake_set_attribute(object, CKA_LABEL, label, strlen(label));
    uint8_t id[2] = { 0x5A, (uint8_t)place };
    fake_set_attribute(object, CKA_ID, id, sizeof(id));
    for (size_t i = 0; i < sizeof(set) / sizeof(set[0]); i++)
        fake_set_flag(object, set[i], true);
    for (size_t i = 0; i < sizeof(unset) / sizeof(unset[0]); i++)
        fake_set_flag(object, unset[i], false);
    pthread_mutex_unlock(&m->mutex);
    return place;
}

void fake_module_set_bool(struct fake_module *m, size_t place, CK_ATTRIBUTE_TYPE type, bool value)
{
    pthread_mutex_lock(&m->mutex);
    fake_set_flag(&m->objects[place], type, value);
    pthread_mutex_unlock(&m->mutex);
}

void fake_module_set_bytes(struct fake_module *m, size_t place, CK_ATTRIBUTE_TYPE type,
                           const void *data, size_t len)
{
    pthread_mutex_lock(&m->mutex);
    fake_set_attribute(&m->objects[place], type, data, len);
    pthread_mutex_unlock(&m->mutex);
}

void fake_module_drop_attribute(struct fake_module *m, size_t place, CK_ATTRIBUTE_TYPE type)
{
    pthread_mutex_lock(&m->mutex);
    struct attribute *attribute = fake_attribute_of(&m->objects[place], type);
    if (attribute != NULL)
        attribute->type = CKA_VENDOR_DEFINED;
    pthread_mutex_unlock(&m->mutex);
}

void fake_module_remove(struct fake_module *m, size_t place)
{
    pthread_mutex_lock(&m->mutex);
    m->objects[place].used = false;
    pthread_mutex_unlock(&m->mutex);
}

void fake_module_renumber(struct fake_module *m)
{
    pthread_mutex_lock(&m->mutex);
    m->handle_base += HANDLE_STEP;
    pthread_mutex_unlock(&m->mutex);
}

void fake_module_log_out(struct fake_module *m)
{
    pthread_mutex_lock(&m->mutex);
    m->logged_in = false;
    pthread_mutex_unlock(&m->mutex);
}

void fake_module_drop_sessions(struct fake_module *m)
{
    pthread_mutex_lock(&m->mutex);
    for (CK_SESSION_HANDLE i = 1; i < SESSIONS; i++)
        fake_drop_session(i);
    pthread_mutex_unlock(&m->mutex);
}

void fake_module_hold_next(struct fake_module *m, const char *call)
{
    pthread_mutex_lock(&m->mutex);
    m->hold = call;
    pthread_mutex_unlock(&m->mutex);
}

void fake_module_wait_held(struct fake_module *m)
{
    pthread_mutex_lock(&m->mutex);
    while (!m->held)
        pthread_cond_wait(&m->changed, &m->mutex);
    pthread_mutex_unlock(&m->mutex);
}

void fake_module_let_go(struct fake_module *m)
{
    pthread_mutex_lock(&m->mutex);
    m->held = false;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->mutex);
}
