/* SPDX-License-Identifier: Apache-2.0 */
/* Seam 2: a vendor's library as a CK_FUNCTION_LIST. */
#ifndef PKCS11_MODULE_H
#define PKCS11_MODULE_H

#include <stdbool.h>

#include "cryptoki.h"
#include "kms/error.h"

struct pkcs11_module;

/* An absolute path, or the name of a p11-kit module ([A-Za-z0-9._-]). */
bool pkcs11_module_name_is_valid(const char *module);

/* Loads @module through p11-kit: an absolute path, or by configured name; of the other configured
 * modules none is initialised.  Doesn't initialise.  KMS_E_PRECONDITION with the loader's reason. */
KMS_MUST_CHECK enum kms_code pkcs11_module_open(const char *module,
                                                struct pkcs11_module **ret_module,
                                                struct kms_error *err);

/* Plugs in at seam 2: @fn is borrowed, nothing is loaded or unloaded. */
KMS_MUST_CHECK enum kms_code pkcs11_module_open_functions(CK_FUNCTION_LIST *fn,
                                                          struct pkcs11_module **ret_module,
                                                          struct kms_error *err);

/* Finalizes if initialised, then unloads. */
void pkcs11_module_close(struct pkcs11_module *module);
KMS_DEFINE_CLOSE_PTR(struct pkcs11_module *, pkcs11_module_close)

/* C_Initialize with CKF_OS_LOCKING_OK.  A library that is in use in this process already is used, and
 * not finalized by us. */
KMS_MUST_CHECK enum kms_code pkcs11_module_initialize(struct pkcs11_module *module,
                                                      struct kms_error *err);

/* C_Finalize if we initialised; no other thread may be inside the module. */
void pkcs11_module_finalize(struct pkcs11_module *module);

CK_FUNCTION_LIST *pkcs11_module_functions(const struct pkcs11_module *module);

/* The library's file with links resolved; what the login lock is named after. */
const char *pkcs11_module_path(const struct pkcs11_module *module);

#endif
