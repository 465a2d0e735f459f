/* SPDX-License-Identifier: Apache-2.0 */
/* kubeadm's ClusterConfiguration: the kube-apiserver that kubeadm would write a manifest of. */
#ifndef KMS_KUBEADM_H
#define KMS_KUBEADM_H

#include "apiserver.h"
#include "kms/bytes.h"
#include "kms/error.h"

/* Reads the ClusterConfiguration (kubeadm.k8s.io/v1beta3 or v1beta4) among the documents of @text, or
 * in a ConfigMap there, as kubeadm-config in kube-system is.  *ret_apiserver has the extraArgs, as
 * "--name=value", the extraVolumes, and the mount of certificatesDir; what kubeadm adds besides isn't
 * in it, nor are patches.  Messages call the text @file.  KMS_E_INVALID: there is none, or kubeadm
 * would refuse its form; KMS_E_BUSY: no memory.  kms_apiserver_done(). */
KMS_MUST_CHECK enum kms_code kms_kubeadm_parse(const char *file, struct kms_bytes text,
                                               struct kms_apiserver *ret_apiserver,
                                               struct kms_error *err);
/* The same of the file @path; KMS_E_PRECONDITION: it can't be read. */
KMS_MUST_CHECK enum kms_code kms_kubeadm_load(const char *path, struct kms_apiserver *ret_apiserver,
                                              struct kms_error *err);

#endif
