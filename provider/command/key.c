/* SPDX-License-Identifier: Apache-2.0 */
#include "command.h"

int kms_command_key(int argc, char **argv)
{
    static const struct kms_command commands[] = {
        { "accept", kms_command_key_accept, "vouch for an imported or knowingly replaced KEK" },
        { "create", kms_command_key_create, "generate the next KEK of the ring" },
        { "rotate", kms_command_key_rotate, "the same as create" },
        { "list", kms_command_key_list, "show the ring's KEKs" },
        { "nodes", kms_command_key_nodes, "compare the nodes of the ring" },
        { "ready", kms_command_key_ready, "whether a node knows a generation" },
        { "describe", kms_command_key_describe, "show what an auditor asks of a KEK" },
        { "prepare", kms_command_key_prepare, "generate a key that can be backed up first" },
        { "commit", kms_command_key_commit, "make a prepared key the next KEK" },
        { "revert", kms_command_key_revert, "make an old KEK's material active again" },
        { "cancel", kms_command_key_cancel, "destroy a KEK before its activation" },
        { "disable", kms_command_key_disable, "stop the use of an old KEK" },
        { "enable", kms_command_key_enable, "undo disable" },
        { "destroy", kms_command_key_destroy, "destroy a disabled KEK for ever" },
        { "transport-key", kms_command_key_transport, "show the key under which keys come in" },
        { "wrap", kms_command_key_wrap, "wrap a raw key for import, offline" },
        { "import", kms_command_key_import, "make a key from elsewhere the next KEK" },
        { "escrow", kms_command_key_escrow, "one KEK on two tokens" },
        { NULL, NULL, NULL },
    };
    return kms_command_dispatch(commands, argc, argv);
}
