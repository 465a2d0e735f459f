// SPDX-License-Identifier: Apache-2.0

// Kube-apiserver builds the real kube-apiserver from the published
// k8s.io/kubernetes module. It is upstream's cmd/kube-apiserver/apiserver.go:
// the same imports and the same command.
package main

import (
	"os"
	_ "time/tzdata" // as upstream: a CronJob may name any time zone

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // for the JSON log format
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // for the client-go metrics
	_ "k8s.io/component-base/metrics/prometheus/version"  // for the version metric
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() {
	os.Exit(cli.Run(app.NewAPIServerCommand()))
}
