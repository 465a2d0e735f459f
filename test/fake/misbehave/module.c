/* SPDX-License-Identifier: Apache-2.0 */
/* A PKCS#11 module in front of another one, that misbehaves as a control file tells it: see
 * ../README.md. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include <p11-kit/pkcs11.h>

#include "call.h"
#include "cipher.h"
#include "keys.h"
#include "objects.h"
#include "opening.h"
#include "pins.h"
#include "slots.h"
#include "state.h"
#include "table.h"

/* --- wrappers --- */

/* The words of the table. */
typedef void *pointer;
typedef CK_INFO *info;
typedef unsigned char boolean;
typedef CK_SLOT_ID *slots;
typedef unsigned long number, *number_out;
typedef CK_SLOT_ID slot;
typedef CK_SLOT_INFO *slot_info;
typedef CK_TOKEN_INFO *token_info;
typedef CK_MECHANISM_TYPE *mechanisms;
typedef CK_MECHANISM_INFO *mechanism_info;
typedef CK_BYTE *bytes;
typedef CK_NOTIFY notify;
typedef CK_SESSION_HANDLE session;
typedef CK_SESSION_INFO *session_info;
typedef CK_OBJECT_HANDLE object;
typedef CK_ULONG *handle_out;
typedef CK_ATTRIBUTE *template;
typedef CK_MECHANISM *mechanism;

/* By the first parameter: whom a function is about. */
#define SUBJECT_slot(a) MISBEHAVE_OF_SLOT, a
#define SUBJECT_session(a) MISBEHAVE_OF_SESSION, a
#define SUBJECT_pointer(a) MISBEHAVE_OF_NOTHING, 0
#define SUBJECT_info(a) MISBEHAVE_OF_NOTHING, 0
#define SUBJECT_boolean(a) MISBEHAVE_OF_NOTHING, 0
#define SUBJECT_number(a) MISBEHAVE_OF_NOTHING, 0

#define RUN_pass(name, ...) misbehave_real->name(__VA_ARGS__)
#define RUN_own(name, ...) misbehave_##name(&call, __VA_ARGS__)
/* Nine parameters would be too many: the session is in the call. */
#define RUN8_own(name, a, ...) misbehave_##name(&call, __VA_ARGS__)

#define WRAP(name, subject, parameters, run)                                                       \
    static CK_RV call_##name parameters                                                            \
    {                                                                                              \
        struct misbehave_call call;                                                                \
        CK_RV rv = misbehave_enter(&call, MISBEHAVE_##name, subject);                              \
        if (rv == CKR_OK)                                                                          \
            rv = run;                                                                              \
        return misbehave_leave(&call, rv);                                                         \
    }
#define WRAP1(how, name, A) WRAP(name, SUBJECT_##A(a), (A a), RUN_##how(name, a))
#define WRAP2(how, name, A, B) WRAP(name, SUBJECT_##A(a), (A a, B b), RUN_##how(name, a, b))
#define WRAP3(how, name, A, B, C)                                                                  \
    WRAP(name, SUBJECT_##A(a), (A a, B b, C c), RUN_##how(name, a, b, c))
#define WRAP4(how, name, A, B, C, D)                                                               \
    WRAP(name, SUBJECT_##A(a), (A a, B b, C c, D d), RUN_##how(name, a, b, c, d))
#define WRAP5(how, name, A, B, C, D, E)                                                            \
    WRAP(name, SUBJECT_##A(a), (A a, B b, C c, D d, E e), RUN_##how(name, a, b, c, d, e))
#define WRAP6(how, name, A, B, C, D, E, F)                                                         \
    WRAP(name, SUBJECT_##A(a), (A a, B b, C c, D d, E e, F f), RUN_##how(name, a, b, c, d, e, f))
#define WRAP8(how, name, A, B, C, D, E, F, G, H)                                                   \
    WRAP(name, SUBJECT_##A(a), (A a, B b, C c, D d, E e, F f, G g, H h),                           \
         RUN8_##how(name, a, b, c, d, e, f, g, h))

MISBEHAVE_FUNCTIONS(WRAP1, WRAP2, WRAP3, WRAP4, WRAP5, WRAP6, WRAP8)

/* --- loading --- */

static CK_FUNCTION_LIST wrapped;

static void wrap_all(void)
{
    wrapped = *misbehave_real; /* version, and whatever a later one has */
    wrapped.C_GetFunctionList = C_GetFunctionList;
#define ENTER(how, name, ...) wrapped.name = call_##name;
    MISBEHAVE_FUNCTIONS(ENTER, ENTER, ENTER, ENTER, ENTER, ENTER, ENTER)
}

static CK_RV complain(const char *why)
{
    (void)fprintf(stderr, "misbehave: %s\n", why);
    return CKR_GENERAL_ERROR;
}

static CK_RV load(const char *path)
{
    if (path == NULL || path[0] == '\0')
        return complain("neither MISBEHAVE_MODULE nor the control file's `module` is set");
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL); /* stays: misbehave_real points into it */
    if (library == NULL)
        return complain(dlerror());
    CK_C_GetFunctionList get = NULL;
    *(void **)&get = dlsym(library, "C_GetFunctionList");
    if (get == NULL)
        return complain(dlerror());
    return get(&misbehave_real);
}

/* Whoever loads a module does it by one thread, as p11-kit does. */
CK_RV C_GetFunctionList(CK_FUNCTION_LIST **list)
{
    if (misbehave_real == NULL) {
        misbehave_lock();
        const char *named = misbehave_control_now()->module;
        misbehave_unlock();
        const char *first = getenv("MISBEHAVE_MODULE");
        CK_RV rv = load(first != NULL ? first : named);
        if (rv != CKR_OK)
            return rv;
        wrap_all();
    }
    *list = &wrapped;
    return CKR_OK;
}
