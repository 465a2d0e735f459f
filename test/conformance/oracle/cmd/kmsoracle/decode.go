// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"google.golang.org/protobuf/proto"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2"
	kmstypes "k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2/v2"
)

// storedPrefix is at the head of each value that a KMS v2 provider wrote; the
// provider's name and a colon follow.
const storedPrefix = "k8s:enc:kms:v2:"

// decode is the decode command: it explains one raw etcd value from stdin and,
// given a plugin, decrypts it. It returns the exit status.
func decode(args []string) int {
	fs := flag.NewFlagSet("decode", flag.ExitOnError)
	key := fs.String("key", "", "the etcd key, which is the AAD")
	endpoint := fs.String("endpoint", "", "plugin to decrypt with (optional)")
	show := fs.Bool("plaintext", false, "write the decrypted object to stdout, raw, instead of the JSON summary (needs -endpoint)")
	_ = fs.Parse(args)
	if (*show && *endpoint == "") || (*endpoint != "" && *key == "") {
		fmt.Fprintln(os.Stderr, "-plaintext needs -endpoint, and -endpoint needs -key")
		return 2
	}
	if err := decodeValue(os.Stdin, os.Stdout, *key, *endpoint, *show); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func decodeValue(in io.Reader, out io.Writer, key, endpoint string, show bool) error {
	raw, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	rest, ok := bytes.CutPrefix(raw, []byte(storedPrefix))
	if !ok {
		return fmt.Errorf("no %s prefix: %q", storedPrefix, raw[:min(len(raw), 24)])
	}
	provider, body, ok := bytes.Cut(rest, []byte(":"))
	if !ok {
		return errors.New("no provider name")
	}
	o := &kmstypes.EncryptedObject{}
	if err := proto.Unmarshal(body, o); err != nil {
		return err
	}
	summary := summarize(string(provider), o)
	if endpoint != "" {
		plain, err := decryptObject(endpoint, string(provider), key, o, body)
		if err != nil {
			return err
		}
		if show {
			_, err := out.Write(plain)
			return err
		}
		summary["plaintextLen"] = len(plain)
		summary["plaintextPrefix"] = fmt.Sprintf("%q", plain[:min(12, len(plain))])
	}
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(summary)
}

func summarize(provider string, o *kmstypes.EncryptedObject) map[string]any {
	annotations := map[string]string{}
	for k, v := range o.Annotations {
		annotations[k] = fmt.Sprintf("%q", v)
	}
	m := map[string]any{
		"provider":               provider,
		"keyID":                  o.KeyID,
		"encryptedDEKSource":     hex.EncodeToString(o.EncryptedDEKSource),
		"encryptedDEKSourceType": o.EncryptedDEKSourceType.String(),
		"annotations":            annotations,
		"encryptedDataLen":       len(o.EncryptedData),
	}
	if err := kmsv2.ValidateEncryptedObject(o); err != nil {
		m["invalid"] = err.Error()
	}
	return m
}

// decryptObject reads body as kube-apiserver would read it from etcd; the
// transformer's cache is empty, so the plugin's Decrypt is called.
func decryptObject(endpoint, provider, key string, o *kmstypes.EncryptedObject, body []byte) ([]byte, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	svc, err := kmsv2.NewGRPCService(ctx, endpoint, provider, 3*time.Second)
	if err != nil {
		return nil, err
	}
	state := func() (kmsv2.State, error) {
		return kmsv2.State{EncryptedObjectKeyID: o.KeyID, EncryptedObjectEncryptedDEKSourceType: o.EncryptedDEKSourceType}, nil
	}
	t := kmsv2.NewEnvelopeTransformer(svc, provider, state, "")
	plain, _, err := t.TransformFromStorage(ctx, body, value.DefaultContext(key))
	return plain, err
}
