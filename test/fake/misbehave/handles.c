/* SPDX-License-Identifier: Apache-2.0 */
#include "handles.h"

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "state.h"

enum { OBJECTS = 4096, BATCH = 64 };

/* An object that the application knows. */
struct object {
    CK_OBJECT_HANDLE shown, real;
    CK_SESSION_HANDLE session; /* that it was seen in, or lives and dies with */
    bool token;
    uint64_t identity; /* of a token object: a hash of what C_Initialize doesn't change */
};

/* A handle that the last epoch gave to one object, and this one will give to another. */
struct promise {
    CK_OBJECT_HANDLE shown;
    uint64_t identity;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* guards what follows */
static bool on;
static struct object objects[OBJECTS];
static size_t object_count;
static struct promise promises[OBJECTS];
static size_t promise_count;
static CK_OBJECT_HANDLE next_shown = 1;

static struct object *by_shown(CK_OBJECT_HANDLE shown)
{
    for (size_t i = 0; i < object_count; i++) {
        if (objects[i].shown == shown)
            return &objects[i];
    }
    return NULL;
}

static struct object *by_real(CK_OBJECT_HANDLE real)
{
    for (size_t i = 0; i < object_count; i++) {
        if (objects[i].real == real)
            return &objects[i];
    }
    return NULL;
}

static void remove_object(struct object *object)
{
    *object = objects[--object_count];
}

/* --- identity --- */

static uint64_t hash(uint64_t sum, const uint8_t *data, CK_ULONG len)
{
    for (CK_ULONG i = 0; i < len; i++)
        sum = (sum ^ data[i]) * 0x100000001b3u; /* FNV-1a */
    return (sum ^ len) * 0x100000001b3u;
}

/* Asks the module behind; an attribute that can't be read counts as empty. */
static void identify(CK_SESSION_HANDLE session, struct object *object)
{
    CK_BBOOL token = CK_FALSE;
    uint8_t class[sizeof(CK_OBJECT_CLASS)], id[64], label[128];
    CK_ATTRIBUTE parts[] = {
        { CKA_CLASS, class, sizeof(class) },
        { CKA_ID, id, sizeof(id) },
        { CKA_LABEL, label, sizeof(label) },
    };
    CK_ATTRIBUTE kind = { CKA_TOKEN, &token, sizeof(token) };
    CK_RV rv = misbehave_real->C_GetAttributeValue(session, object->real, &kind, 1);
    object->token = rv == CKR_OK && token != CK_FALSE;
    object->identity = 0xcbf29ce484222325u;
    for (size_t i = 0; object->token && i < sizeof(parts) / sizeof(parts[0]); i++) {
        rv = misbehave_real->C_GetAttributeValue(session, object->real, &parts[i], 1);
        CK_ULONG len = rv == CKR_OK ? parts[i].ulValueLen : 0;
        object->identity = hash(object->identity, parts[i].pValue, len);
    }
}

/* --- a new epoch --- */

/* Each token object's handle goes to the next one.  Of an epoch that saw none the promises still
 * stand; a lone object gets a number that was never used. */
static void deal_anew(void)
{
    static struct promise seen[OBJECTS];
    size_t count = 0;
    for (size_t i = 0; i < object_count; i++) {
        if (objects[i].token)
            seen[count++] = (struct promise){ objects[i].shown, objects[i].identity };
    }
    if (count == 0)
        return;
    promise_count = count > 1 ? count : 0;
    for (size_t i = 0; i < promise_count; i++)
        promises[i] = (struct promise){ seen[(i + 1) % count].shown, seen[i].identity };
}

void misbehave_handles_begin(bool renumber)
{
    (void)pthread_mutex_lock(&mutex);
    if (on && renumber)
        deal_anew();
    else
        promise_count = 0;
    on = renumber;
    object_count = 0;
    (void)pthread_mutex_unlock(&mutex);
}

/* --- from and to the application --- */

static CK_OBJECT_HANDLE number_for(const struct object *object)
{
    for (size_t i = 0; object->token && i < promise_count; i++) {
        if (promises[i].identity == object->identity && by_shown(promises[i].shown) == NULL)
            return promises[i].shown;
    }
    return next_shown++;
}

static CK_OBJECT_HANDLE add(struct object *object)
{
    (void)pthread_mutex_lock(&mutex);
    const struct object *known = by_real(object->real); /* another thread was first */
    if (known == NULL) {
        if (object_count == OBJECTS)
            misbehave_die("", "more than %d objects", OBJECTS);
        object->shown = number_for(object);
        objects[object_count++] = *object;
        known = object;
    }
    CK_OBJECT_HANDLE shown = known->shown;
    (void)pthread_mutex_unlock(&mutex);
    return shown;
}

CK_OBJECT_HANDLE misbehave_handles_show(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE real)
{
    (void)pthread_mutex_lock(&mutex);
    const struct object *known = by_real(real);
    CK_OBJECT_HANDLE shown = known != NULL ? known->shown : real;
    bool done = !on || known != NULL || real == CK_INVALID_HANDLE;
    (void)pthread_mutex_unlock(&mutex);
    if (done)
        return shown;
    struct object object = { .real = real, .session = session };
    identify(session, &object);
    return add(&object);
}

static void show_all(CK_SESSION_HANDLE session)
{
    CK_OBJECT_HANDLE found[BATCH];
    CK_ULONG count = 0;
    CK_BBOOL yes = CK_TRUE;
    CK_ATTRIBUTE on_token = { CKA_TOKEN, &yes, sizeof(yes) };
    if (misbehave_real->C_FindObjectsInit(session, &on_token, 1) != CKR_OK)
        return;
    CK_OBJECT_HANDLE all[OBJECTS];
    size_t total = 0;
    while (total + BATCH <= OBJECTS &&
           misbehave_real->C_FindObjects(session, found, BATCH, &count) == CKR_OK && count > 0) {
        for (CK_ULONG i = 0; i < count; i++)
            all[total++] = found[i];
    }
    (void)misbehave_real->C_FindObjectsFinal(session);
    for (size_t i = 0; i < total; i++)
        (void)misbehave_handles_show(session, all[i]);
}

/* An old handle is used before the application has looked for its objects.  A session of its own:
 * the application's may be busy finding. */
static void look_around(CK_SESSION_HANDLE session)
{
    CK_SESSION_INFO info;
    CK_SESSION_HANDLE own = CK_INVALID_HANDLE;
    if (misbehave_real->C_GetSessionInfo(session, &info) != CKR_OK)
        return;
    if (misbehave_real->C_OpenSession(info.slotID, CKF_SERIAL_SESSION, NULL, NULL, &own) != CKR_OK)
        return;
    show_all(own);
    (void)misbehave_real->C_CloseSession(own);
}

static bool find_real(CK_OBJECT_HANDLE shown, CK_OBJECT_HANDLE *ret_real)
{
    (void)pthread_mutex_lock(&mutex);
    const struct object *object = on ? by_shown(shown) : NULL;
    bool straight = !on;
    if (straight)
        *ret_real = shown;
    else if (object != NULL)
        *ret_real = object->real;
    (void)pthread_mutex_unlock(&mutex);
    return straight || object != NULL;
}

static bool is_promised(CK_OBJECT_HANDLE shown)
{
    bool found = false;
    (void)pthread_mutex_lock(&mutex);
    for (size_t i = 0; i < promise_count; i++)
        found |= promises[i].shown == shown;
    (void)pthread_mutex_unlock(&mutex);
    return found;
}

CK_OBJECT_HANDLE misbehave_handles_real(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE shown)
{
    CK_OBJECT_HANDLE real = CK_INVALID_HANDLE;
    if (find_real(shown, &real) || !is_promised(shown))
        return real;
    look_around(session);
    (void)find_real(shown, &real);
    return real;
}

/* --- changes --- */

void misbehave_handles_refresh(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE real)
{
    struct object now = { .real = real };
    (void)pthread_mutex_lock(&mutex);
    bool known = by_real(real) != NULL;
    (void)pthread_mutex_unlock(&mutex);
    if (!known)
        return;
    identify(session, &now);
    (void)pthread_mutex_lock(&mutex);
    struct object *object = by_real(real);
    if (object != NULL)
        object->identity = now.identity;
    (void)pthread_mutex_unlock(&mutex);
}

void misbehave_handles_forget(CK_OBJECT_HANDLE real)
{
    (void)pthread_mutex_lock(&mutex);
    struct object *object = by_real(real);
    if (object != NULL)
        remove_object(object);
    (void)pthread_mutex_unlock(&mutex);
}

void misbehave_handles_forget_session(CK_SESSION_HANDLE session)
{
    (void)pthread_mutex_lock(&mutex);
    for (size_t i = 0; i < object_count;) {
        if (!objects[i].token && objects[i].session == session)
            remove_object(&objects[i]);
        else
            i++;
    }
    (void)pthread_mutex_unlock(&mutex);
}
