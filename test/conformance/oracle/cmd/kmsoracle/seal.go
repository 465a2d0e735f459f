// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2"
	kmsservice "k8s.io/kms/pkg/service"
)

// sealedSeed is what seal writes and open reads: a seed, and what the plugin
// made of it when the seed was sealed.
type sealedSeed struct {
	Seed        []byte            `json:"seed"`
	Ciphertext  []byte            `json:"ciphertext"`
	KeyID       string            `json:"keyID"`
	Annotations map[string][]byte `json:"annotations"`
}

// seal is the seal command: it has the plugin wrap a fresh seed and writes
// both to stdout. It returns the exit status.
func seal(args []string) int {
	return withPlugin("seal", args, func(ctx context.Context, svc kmsservice.Service) error {
		seed := randomBytes(seedSize)
		r, err := svc.Encrypt(ctx, newUID(), seed)
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(sealedSeed{seed, r.Ciphertext, r.KeyID, r.Annotations})
	})
}

// open is the open command: it has the plugin unwrap what seal wrote, from
// stdin, and fails unless the seed comes back. It returns the exit status.
func open(args []string) int {
	return withPlugin("open", args, func(ctx context.Context, svc kmsservice.Service) error {
		return openSealed(ctx, svc, os.Stdin)
	})
}

func openSealed(ctx context.Context, svc kmsservice.Service, in io.Reader) error {
	var s sealedSeed
	if err := json.NewDecoder(in).Decode(&s); err != nil {
		return err
	}
	got, err := svc.Decrypt(ctx, newUID(), &kmsservice.DecryptRequest{Ciphertext: s.Ciphertext, KeyID: s.KeyID, Annotations: s.Annotations})
	if err != nil {
		return err
	}
	if !bytes.Equal(got, s.Seed) {
		return errors.New("another seed came back")
	}
	fmt.Println(s.KeyID)
	return nil
}

// keyID is the status command: it writes the key_id of a healthy plugin.
func keyID(args []string) int {
	return withPlugin("status", args, func(ctx context.Context, svc kmsservice.Service) error {
		st, err := svc.Status(ctx)
		if err == nil && st.Healthz != "ok" {
			err = fmt.Errorf("healthz %q", st.Healthz)
		}
		if err == nil {
			fmt.Println(st.KeyID)
		}
		return err
	})
}

// withPlugin dials the plugin of -endpoint for one command.
func withPlugin(command string, args []string, do func(context.Context, kmsservice.Service) error) int {
	fs := flag.NewFlagSet(command, flag.ExitOnError)
	endpoint := fs.String("endpoint", "", "unix:///path or unix:///@abstract (required)")
	timeout := fs.Duration("timeout", 3*time.Second, "call timeout")
	_ = fs.Parse(args)
	if *endpoint == "" {
		fs.Usage()
		return 2
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	svc, err := kmsv2.NewGRPCService(ctx, *endpoint, providerName, *timeout)
	if err == nil {
		err = do(ctx, svc)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, describe(err))
		return 1
	}
	return 0
}
