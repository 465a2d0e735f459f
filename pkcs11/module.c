/* SPDX-License-Identifier: Apache-2.0 */
#include "module.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <p11-kit/p11-kit.h>

#include "rv.h"

struct pkcs11_module {
    CK_FUNCTION_LIST *fn;
    CK_FUNCTION_LIST **configured; /* the list that a module found by name belongs to */
    bool loaded;                   /* through p11-kit */
    bool initialized;              /* by us */
    bool ours;                     /* it was once: nobody else in this process uses it */
    char path[PATH_MAX];
};

bool pkcs11_module_name_is_valid(const char *module)
{
    if (module[0] == '/')
        return strlen(module) < PATH_MAX;
    for (const char *c = module; *c != '\0'; c++) {
        if (!isalnum((unsigned char)*c) && strchr("._-", *c) == NULL)
            return false;
    }
    return module[0] != '\0';
}

static enum kms_code load_failure(const char *module, struct kms_error *err)
{
    const char *reason = p11_kit_message();
    return kms_fail(err, KMS_E_PRECONDITION, "can't load PKCS#11 module '%s': %s", module,
                    reason != NULL ? reason : "no reason given");
}

static void remember_path(struct pkcs11_module *module, const char *fallback)
{
    char *file = p11_kit_module_get_filename(module->fn);
    const char *name = file != NULL ? file : fallback;
    if (realpath(name, module->path) == NULL) {
        strncpy(module->path, name, sizeof(module->path) - 1);
        module->path[sizeof(module->path) - 1] = '\0';
    }
    free(file);
}

static enum kms_code load_by_name(struct pkcs11_module *module, const char *name,
                                  struct kms_error *err)
{
    module->configured = p11_kit_modules_load(NULL, 0);
    if (module->configured == NULL)
        return load_failure(name, err);
    module->fn = p11_kit_module_for_name(module->configured, name);
    if (module->fn == NULL)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "p11-kit has no module named '%s': see `p11-kit list-modules`, or give "
                        "the absolute path of the library",
                        name);
    return KMS_OK;
}

static enum kms_code load(struct pkcs11_module *module, const char *name, struct kms_error *err)
{
    if (name[0] != '/')
        return load_by_name(module, name, err);
    module->fn = p11_kit_module_load(name, 0);
    return module->fn != NULL ? KMS_OK : load_failure(name, err);
}

static struct pkcs11_module *new_module(struct kms_error *err)
{
    struct pkcs11_module *module = calloc(1, sizeof(*module));
    if (module == NULL)
        (void)kms_fail(err, KMS_E_BUSY, "out of memory for a PKCS#11 module");
    return module;
}

enum kms_code pkcs11_module_open(const char *name, struct pkcs11_module **ret_module,
                                 struct kms_error *err)
{
    KMS_CLEANUP(pkcs11_module_close_ptr) struct pkcs11_module *module = new_module(err);
    if (module == NULL)
        return KMS_E_BUSY;
    module->loaded = true;
    enum kms_code rc = load(module, name, err);
    if (rc != KMS_OK)
        return rc;
    remember_path(module, name);
    *ret_module = module;
    module = NULL;
    return KMS_OK;
}

enum kms_code pkcs11_module_open_functions(CK_FUNCTION_LIST *fn, struct pkcs11_module **ret_module,
                                           struct kms_error *err)
{
    struct pkcs11_module *module = new_module(err);
    if (module == NULL)
        return KMS_E_BUSY;
    module->fn = fn;
    (void)snprintf(module->path, sizeof(module->path), "built-in");
    *ret_module = module;
    return KMS_OK;
}

void pkcs11_module_close(struct pkcs11_module *module)
{
    if (module == NULL)
        return;
    pkcs11_module_finalize(module);
    if (module->configured != NULL)
        p11_kit_modules_release(module->configured);
    else if (module->loaded && module->fn != NULL)
        p11_kit_module_release(module->fn);
    free(module);
}

enum kms_code pkcs11_module_initialize(struct pkcs11_module *module, struct kms_error *err)
{
    CK_C_INITIALIZE_ARGS args = { .flags = CKF_OS_LOCKING_OK };
    /* p11-kit passes CKF_OS_LOCKING_OK too, and the x-init-reserved text that some modules need. */
    CK_RV rv = module->loaded ? p11_kit_module_initialize(module->fn)
                              : module->fn->C_Initialize(&args);
    if (rv != CKR_OK && rv != CKR_CRYPTOKI_ALREADY_INITIALIZED)
        return pkcs11_fail(err, "C_Initialize", rv, "starting the PKCS#11 module");
    module->ours = module->ours || rv == CKR_OK;
    module->initialized = module->ours;
    return KMS_OK;
}

void pkcs11_module_finalize(struct pkcs11_module *module)
{
    if (!module->initialized)
        return;
    if (module->loaded)
        (void)p11_kit_module_finalize(module->fn);
    else
        (void)module->fn->C_Finalize(NULL);
    module->initialized = false;
}

CK_FUNCTION_LIST *pkcs11_module_functions(const struct pkcs11_module *module)
{
    return module->fn;
}

const char *pkcs11_module_path(const struct pkcs11_module *module)
{
    return module->path;
}
