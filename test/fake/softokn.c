/* SPDX-License-Identifier: Apache-2.0 */
/* NSS's softokn as any PKCS#11 module: it wants a text at C_Initialize, and has its FIPS mode behind
 * another symbol, which p11-kit doesn't look for.
 *
 *   SOFTOKN_DIR   where cert9.db and key4.db are
 *   SOFTOKN_FIPS  set: the FIPS mode */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include <p11-kit/pkcs11.h>

static CK_FUNCTION_LIST *real;
static CK_FUNCTION_LIST fronted;

static CK_RV initialize(void *unused)
{
    (void)unused;
    static char text[4096]; /* softokn keeps no reference, but takes it as writable */
    const char *dir = getenv("SOFTOKN_DIR");
    if (dir == NULL)
        return CKR_ARGUMENTS_BAD;
    (void)snprintf(text, sizeof(text),
                   "configdir='sql:%s' certPrefix='' keyPrefix='' secmod='secmod.db' flags=", dir);
    CK_C_INITIALIZE_ARGS args = { .flags = CKF_OS_LOCKING_OK, .pReserved = text };
    return real->C_Initialize(&args);
}

CK_RV C_GetFunctionList(CK_FUNCTION_LIST **list)
{
    if (real == NULL) {
        void *library = dlopen("libsoftokn3.so", RTLD_NOW | RTLD_LOCAL);
        const char *name = getenv("SOFTOKN_FIPS") != NULL ? "FC_GetFunctionList"
                                                          : "NSC_GetFunctionList";
        void *found = library != NULL ? dlsym(library, name) : NULL;
        CK_C_GetFunctionList get;
        *(void **)&get = found;
        if (found == NULL || get(&real) != CKR_OK)
            return CKR_GENERAL_ERROR;
        fronted = *real;
        fronted.C_GetFunctionList = C_GetFunctionList;
        fronted.C_Initialize = initialize;
    }
    *list = &fronted;
    return CKR_OK;
}
