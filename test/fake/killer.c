/* SPDX-License-Identifier: Apache-2.0 */
/* A PKCS#11 module that passes everything on to another one, and ends its process at a chosen call:
 * what kill -9 between any two steps of a command leaves behind.
 *
 *   KILLER_MODULE  the module behind it, an absolute path
 *   KILLER_AT      n: SIGKILL right before the process's n-th call reaches it
 *   KILLER_AFTER   n: SIGKILL right after the n-th call came back
 *   KILLER_CALLS   file that gets the name of each call, a line, before it is made */
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <p11-kit/pkcs11.h>

static CK_FUNCTION_LIST *real;
static CK_FUNCTION_LIST wrapped;
static atomic_ulong calls;
static unsigned long kill_at, kill_after; /* 0: never */
static int calls_fd = -1;

static unsigned long enter(const char *name)
{
    unsigned long number = atomic_fetch_add(&calls, 1) + 1;
    if (calls_fd >= 0) {
        char line[64];
        int len = snprintf(line, sizeof(line), "%s\n", name);
        if (write(calls_fd, line, (size_t)len) != len)
            abort();
    }
    if (number == kill_at)
        (void)raise(SIGKILL);
    return number;
}

static CK_RV leave(unsigned long number, CK_RV rv)
{
    if (number == kill_after)
        (void)raise(SIGKILL);
    return rv;
}

typedef CK_SESSION_HANDLE session;
typedef CK_OBJECT_HANDLE object;
typedef CK_SLOT_ID slot;
typedef CK_MECHANISM *mechanism;
typedef CK_ATTRIBUTE *template;
typedef CK_BYTE *bytes;
typedef unsigned long number;

/* All functions but C_GetFunctionList.  X1..X8 take the name and the types of 1..8 parameters. */
#define EVERY_FUNCTION(X1, X2, X3, X4, X5, X6, X8)                                                 \
    X1(C_Initialize, void *)                                                                       \
    X1(C_Finalize, void *)                                                                         \
    X1(C_GetInfo, CK_INFO *)                                                                       \
    X3(C_GetSlotList, unsigned char, slot *, number *)                                             \
    X2(C_GetSlotInfo, slot, CK_SLOT_INFO *)                                                        \
    X2(C_GetTokenInfo, slot, CK_TOKEN_INFO *)                                                      \
    X3(C_WaitForSlotEvent, CK_FLAGS, slot *, void *)                                               \
    X3(C_GetMechanismList, slot, CK_MECHANISM_TYPE *, number *)                                    \
    X3(C_GetMechanismInfo, slot, CK_MECHANISM_TYPE, CK_MECHANISM_INFO *)                           \
    X4(C_InitToken, slot, bytes, number, bytes)                                                    \
    X3(C_InitPIN, session, bytes, number)                                                          \
    X5(C_SetPIN, session, bytes, number, bytes, number)                                            \
    X5(C_OpenSession, slot, CK_FLAGS, void *, CK_NOTIFY, session *)                                \
    X1(C_CloseSession, session)                                                                    \
    X1(C_CloseAllSessions, slot)                                                                   \
    X2(C_GetSessionInfo, session, CK_SESSION_INFO *)                                               \
    X3(C_GetOperationState, session, bytes, number *)                                              \
    X5(C_SetOperationState, session, bytes, number, object, object)                                \
    X4(C_Login, session, CK_USER_TYPE, bytes, number)                                              \
    X1(C_Logout, session)                                                                          \
    X4(C_CreateObject, session, template, number, object *)                                        \
    X5(C_CopyObject, session, object, template, number, object *)                                  \
    X2(C_DestroyObject, session, object)                                                           \
    X3(C_GetObjectSize, session, object, number *)                                                 \
    X4(C_GetAttributeValue, session, object, template, number)                                     \
    X4(C_SetAttributeValue, session, object, template, number)                                     \
    X3(C_FindObjectsInit, session, template, number)                                               \
    X4(C_FindObjects, session, object *, number, number *)                                         \
    X1(C_FindObjectsFinal, session)                                                                \
    X3(C_EncryptInit, session, mechanism, object)                                                  \
    X5(C_Encrypt, session, bytes, number, bytes, number *)                                         \
    X5(C_EncryptUpdate, session, bytes, number, bytes, number *)                                   \
    X3(C_EncryptFinal, session, bytes, number *)                                                   \
    X3(C_DecryptInit, session, mechanism, object)                                                  \
    X5(C_Decrypt, session, bytes, number, bytes, number *)                                         \
    X5(C_DecryptUpdate, session, bytes, number, bytes, number *)                                   \
    X3(C_DecryptFinal, session, bytes, number *)                                                   \
    X2(C_DigestInit, session, mechanism)                                                           \
    X5(C_Digest, session, bytes, number, bytes, number *)                                          \
    X3(C_DigestUpdate, session, bytes, number)                                                     \
    X2(C_DigestKey, session, object)                                                               \
    X3(C_DigestFinal, session, bytes, number *)                                                    \
    X3(C_SignInit, session, mechanism, object)                                                     \
    X5(C_Sign, session, bytes, number, bytes, number *)                                            \
    X3(C_SignUpdate, session, bytes, number)                                                       \
    X3(C_SignFinal, session, bytes, number *)                                                      \
    X3(C_SignRecoverInit, session, mechanism, object)                                              \
    X5(C_SignRecover, session, bytes, number, bytes, number *)                                     \
    X3(C_VerifyInit, session, mechanism, object)                                                   \
    X5(C_Verify, session, bytes, number, bytes, number)                                            \
    X3(C_VerifyUpdate, session, bytes, number)                                                     \
    X3(C_VerifyFinal, session, bytes, number)                                                      \
    X3(C_VerifyRecoverInit, session, mechanism, object)                                            \
    X5(C_VerifyRecover, session, bytes, number, bytes, number *)                                   \
    X5(C_DigestEncryptUpdate, session, bytes, number, bytes, number *)                             \
    X5(C_DecryptDigestUpdate, session, bytes, number, bytes, number *)                             \
    X5(C_SignEncryptUpdate, session, bytes, number, bytes, number *)                               \
    X5(C_DecryptVerifyUpdate, session, bytes, number, bytes, number *)                             \
    X5(C_GenerateKey, session, mechanism, template, number, object *)                              \
    X8(C_GenerateKeyPair, session, mechanism, template, number, template, number, object *,        \
       object *)                                                                                   \
    X6(C_WrapKey, session, mechanism, object, object, bytes, number *)                             \
    X8(C_UnwrapKey, session, mechanism, object, bytes, number, template, number, object *)         \
    X6(C_DeriveKey, session, mechanism, object, template, number, object *)                        \
    X3(C_SeedRandom, session, bytes, number)                                                       \
    X3(C_GenerateRandom, session, bytes, number)                                                   \
    X1(C_GetFunctionStatus, session)                                                               \
    X1(C_CancelFunction, session)

#define PASS(name, parameters, arguments)                                                          \
    static CK_RV pass_##name parameters                                                            \
    {                                                                                              \
        unsigned long nth = enter(#name);                                                          \
        return leave(nth, real->name arguments);                                                   \
    }
#define PASS1(name, A) PASS(name, (A a), (a))
#define PASS2(name, A, B) PASS(name, (A a, B b), (a, b))
#define PASS3(name, A, B, C) PASS(name, (A a, B b, C c), (a, b, c))
#define PASS4(name, A, B, C, D) PASS(name, (A a, B b, C c, D d), (a, b, c, d))
#define PASS5(name, A, B, C, D, E) PASS(name, (A a, B b, C c, D d, E e), (a, b, c, d, e))
#define PASS6(name, A, B, C, D, E, F) PASS(name, (A a, B b, C c, D d, E e, F f), (a, b, c, d, e, f))
#define PASS8(name, A, B, C, D, E, F, G, H)                                                        \
    PASS(name, (A a, B b, C c, D d, E e, F f, G g, H h), (a, b, c, d, e, f, g, h))
EVERY_FUNCTION(PASS1, PASS2, PASS3, PASS4, PASS5, PASS6, PASS8)

static void wrap_all(void)
{
    wrapped = *real; /* version, and whatever a later one has */
    wrapped.C_GetFunctionList = C_GetFunctionList;
#define WRAP(name, ...) wrapped.name = pass_##name;
    EVERY_FUNCTION(WRAP, WRAP, WRAP, WRAP, WRAP, WRAP, WRAP)
}

static unsigned long number_of(const char *variable)
{
    const char *text = getenv(variable);
    return text == NULL ? 0 : strtoul(text, NULL, 10);
}

static CK_RV complain(const char *why)
{
    (void)fprintf(stderr, "killer: %s\n", why);
    return CKR_GENERAL_ERROR;
}

static CK_RV load(void)
{
    const char *path = getenv("KILLER_MODULE"), *calls_path = getenv("KILLER_CALLS");
    if (path == NULL)
        return complain("KILLER_MODULE is not set");
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL); /* stays: real points into it */
    if (library == NULL)
        return complain(dlerror());
    CK_C_GetFunctionList get = NULL;
    *(void **)&get = dlsym(library, "C_GetFunctionList");
    if (get == NULL)
        return complain(dlerror());
    if (calls_path != NULL)
        calls_fd = open(calls_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (calls_path != NULL && calls_fd < 0)
        return complain("KILLER_CALLS can't be opened");
    kill_at = number_of("KILLER_AT");
    kill_after = number_of("KILLER_AFTER");
    return get(&real);
}

/* p11-kit loads a module under a lock of its own. */
CK_RV C_GetFunctionList(CK_FUNCTION_LIST **list)
{
    if (real == NULL) {
        CK_RV rv = load();
        if (rv != CKR_OK)
            return rv;
        wrap_all();
    }
    *list = &wrapped;
    return CKR_OK;
}
