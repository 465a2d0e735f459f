// SPDX-License-Identifier: Apache-2.0

// Kmsoracle drives a KMS v2 plugin with the code that kube-apiserver itself
// uses: the gRPC client and envelope transformer of
// k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2 and the loader of
// k8s.io/apiserver/pkg/server/options/encryptionconfig.
//
//	kmsoracle check  -endpoint unix:///path.sock [-concurrency 8 -calls 50]
//	kmsoracle status -endpoint unix:///path.sock
//	kmsoracle seal   -endpoint unix:///path.sock > sealed
//	kmsoracle open   -endpoint unix:///path.sock < sealed
//	kmsoracle decode -key /registry/secrets/ns/name [-endpoint unix:///path.sock] [-plaintext] < raw etcd value
//
// Exit status: 0 it worked or all checks passed, 1 it failed, 2 usage.
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "check":
			os.Exit(check(os.Args[2:]))
		case "status":
			os.Exit(keyID(os.Args[2:]))
		case "seal":
			os.Exit(seal(os.Args[2:]))
		case "open":
			os.Exit(open(os.Args[2:]))
		case "decode":
			os.Exit(decode(os.Args[2:]))
		}
	}
	fmt.Fprintln(os.Stderr, "usage: kmsoracle check|status|seal|open|decode -h")
	os.Exit(2)
}
