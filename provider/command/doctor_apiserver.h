/* SPDX-License-Identifier: Apache-2.0 */
/* What doctor asks alike of the kube-apiserver that runs, and of the one that kubeadm would start. */
#ifndef KMS_DOCTOR_APISERVER_H
#define KMS_DOCTOR_APISERVER_H

#include "doctor.h"

/* --encryption-provider-config, if that is an absolute path; else NULL.  Borrowed. */
const char *kms_doctor_encryption_flag(const struct kms_apiserver *apiserver);
/* --encryption-provider-config-automatic-reload is on. */
bool kms_doctor_is_reloading(const struct kms_apiserver *apiserver);

/* Where the host has what @apiserver sees at @path; false: nothing of the host's is there.
 * *ret_mount is NULL if it isn't a Pod; of another process than k3s only kms_doctor_reads() is sure. */
KMS_MUST_CHECK bool kms_doctor_to_host(const struct kms_apiserver *apiserver, const char *path,
                                       char ret_path[static KMS_DOCTOR_PATH_MAX],
                                       const struct kms_apiserver_mount **ret_mount);

/* True if @path of kube-apiserver, which a Pod has from the host's @at_host, is the host's @file. */
bool kms_doctor_reads(const struct kms_doctor *doctor, const char *at_host, const char *path,
                      const char *file);

/* Says whether @what, at @path of @apiserver, is the host's at the same path. */
void kms_doctor_look_at_mount(const struct kms_doctor *doctor,
                              const struct kms_apiserver *apiserver, const char *what,
                              const char *path, struct kms_doctor_finding *finding);
/* The socket as kube-apiserver calls it: by its EncryptionConfiguration if we have that.  Borrowed. */
const char *kms_doctor_socket_path(const struct kms_doctor *doctor);
/* The same of the socket, by each name that our providers have for it, and that it is ours. */
void kms_doctor_look_at_sockets(const struct kms_doctor *doctor,
                                const struct kms_apiserver *apiserver, const char *what,
                                struct kms_doctor_finding *finding);

void kms_doctor_check_liveness(const struct kms_doctor *doctor, struct kms_doctor_finding *finding);

#endif
