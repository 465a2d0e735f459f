/* SPDX-License-Identifier: Apache-2.0 */
/* The PKCS#11 v2.40 types and numbers, from p11-kit. */
#ifndef PKCS11_CRYPTOKI_H
#define PKCS11_CRYPTOKI_H

#include <p11-kit/pkcs11.h>

#endif
